//! A real tonic server and client.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../examples/greeter/mod.rs"]
mod greeter;
#[path = "grpc/trailers.rs"]
mod trailers;

use std::{error::Error as _, sync::Arc};

use hallpass_core::{ErrorKind, TokenError, TokenRequest, TokenSource, authorize::Authorizer};
use hallpass_testkit::ScriptedSource;
use hallpass_tower::{TokenLayer, TokenService};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tower::Layer as _;

use greeter::{Issuer, Tokens, greet, serve};

fn channel(source: Arc<dyn TokenSource>, origin: &str) -> TokenService<Channel> {
    let authorizer = Authorizer::builder(source).allow_origin(origin);
    let authorizer = authorizer.danger_allow_http_on_loopback().build().unwrap();
    let layer = TokenLayer::new(authorizer).connected_to(origin.parse().unwrap());
    layer.layer(
        Endpoint::from_shared(origin.to_owned())
            .unwrap()
            .connect_lazy(),
    )
}

// covers: C-32, C-35
#[tokio::test]
async fn a_call_has_a_token_and_a_refused_one_is_dropped() {
    let issuer = Arc::new(Issuer::default());
    let (address, server) = serve(issuer.clone()).await.unwrap();
    let origin = format!("http://{address}");
    let channel = channel(Arc::new(Tokens(issuer.clone())), &origin);
    assert_eq!(greet(channel.clone(), "Ada").await.unwrap(), "hello Ada");

    issuer.revoke();
    let status = greet(channel.clone(), "Ada").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(greet(channel.clone(), "Ada").await.unwrap(), "hello Ada");

    // The control: without the layer there is no token.
    let bare = channel.into_inner();
    assert_eq!(
        greet(bare, "Ada").await.unwrap_err().code(),
        Code::Unauthenticated
    );
    server.abort();
}

#[tokio::test]
async fn a_call_without_a_token_fails_and_is_not_sent() {
    let origin = "http://127.0.0.1:9";
    let down = TokenError::unavailable("the server is down");
    let source = Arc::new(ScriptedSource::new([Err(down)]));
    let status = greet(channel(source, origin), "Ada").await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unknown, "the server is down")
    );
    let error = status
        .source()
        .unwrap()
        .downcast_ref::<TokenError>()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_call_chooses_its_token_by_its_method() {
    let issuer = Arc::new(Issuer::default());
    let (address, server) = serve(issuer.clone()).await.unwrap();
    let origin = format!("http://{address}");
    let (paths, chosen) = std::sync::mpsc::channel();
    let paths = std::sync::Mutex::new(paths);
    let authorizer = Authorizer::builder(Tokens(issuer))
        .allow_origin_by(&origin, move |call| {
            let path = call.path().to_owned();
            paths.lock().unwrap().send(path).unwrap();
            Ok(TokenRequest::default())
        })
        .danger_allow_http_on_loopback();
    let layer = TokenLayer::new(authorizer.build().unwrap());
    let channel = Endpoint::from_shared(origin.clone()).unwrap();
    let layer = layer.connected_to(origin.parse().unwrap());
    let channel = layer.layer(channel.connect_lazy());
    assert_eq!(greet(channel, "Ada").await.unwrap(), "hello Ada");
    assert_eq!(
        chosen.try_iter().collect::<Vec<_>>(),
        ["/greeter.Greeter/Greet"]
    );
    server.abort();
}
