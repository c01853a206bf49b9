//! A tonic channel whose requests carry tokens, and a service that refuses one of them: `cargo run --example tonic`.

#![allow(missing_docs)]

mod greeter;

use std::{error::Error, sync::Arc};

use hallpass_core::authorize::Authorizer;
use hallpass_tower::TokenLayer;
use tonic::{Code, transport::Endpoint};
use tower::Layer as _;

use greeter::{Issuer, Tokens, greet, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = Arc::new(Issuer::default());
    let (address, _server) = serve(issuer.clone()).await?;
    let origin = format!("http://{address}");

    let authorizer = Authorizer::builder(Arc::new(Tokens(issuer.clone())))
        .allow_origin(&origin)
        .danger_allow_http_on_loopback() // a service has TLS
        .build()?;
    // The channel knows its server; its requests have only a path.
    let layer = TokenLayer::new(authorizer)
        .connected_to(origin.parse()?)
        .grpc();
    let channel = layer.layer(Endpoint::from_shared(origin)?.connect_lazy());

    println!("{}", greet(channel.clone(), "Ada").await?);

    issuer.revoke();
    // The body of a gRPC request is a stream, so the layer does not retry. The caller has the message.
    let answer = match greet(channel.clone(), "Grace").await {
        Err(status) if status.code() == Code::Unauthenticated => {
            println!("the token was refused; once more with a new one");
            greet(channel, "Grace").await?
        }
        answer => answer?,
    };
    println!("{answer}");
    Ok(())
}
