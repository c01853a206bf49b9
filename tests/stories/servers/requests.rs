//! Scopes, resources, metadata and connections.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hallpass::{ErrorKind, OAuthError, TokenError, TokenRequest, TokenSource, endpoint::Endpoint};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use super::{
    running::{Outcome, Running, Seen},
    tokens::claims,
};
use crate::support::fetch;

/// Checks that the server refuses the request with this code.
pub(super) fn refused<T>(result: Result<T, TokenError>, code: &str) -> Outcome {
    let Err(error) = result else {
        return Err(Seen("accepted".to_owned()));
    };
    assert!(!error.is_transient(), "{error}");
    let said = error.oauth_error().map(OAuthError::code);
    match (said, error.kind()) {
        (Some(said), ErrorKind::RequestRefused) if said == code => {
            assert!(error.hint().is_some(), "{error}");
            Ok(())
        }
        _ => Err(error.into()),
    }
}

pub(super) async fn narrowed(peer: &Running) -> Outcome {
    let request = TokenRequest::new().with_scopes("api:write".parse().unwrap());
    let source = peer.source("basic", peer.basic("basic")).build().unwrap();
    let token = source.token(&request).await?;
    match token.scopes().as_str() {
        "api:write" => Ok(()),
        other => Err(Seen(format!("scopes `{other}`"))),
    }
}

pub(super) async fn no_scope(peer: &Running) -> Outcome {
    let url = peer.token_endpoint();
    let token = fetch(peer.source_at(url, "basic", peer.basic("basic"))).await?;
    match token.scopes().as_str() {
        "api:read api:write" => Ok(()),
        other => Err(Seen(format!("scopes `{other}`"))),
    }
}

pub(super) async fn unknown_scope(peer: &Running) -> Outcome {
    let request = TokenRequest::new().with_scopes("unknown".parse().unwrap());
    let source = peer.source("basic", peer.basic("basic")).build().unwrap();
    refused(source.token(&request).await, "invalid_scope")
}

/// Passes if the server drops the unknown scope: our error then names it.
pub(super) async fn missing_scope(peer: &Running) -> Outcome {
    let source = peer.source("basic", peer.basic("basic"));
    let source = source.scope("api:read unknown").require_granted_scopes();
    let error = fetch(source).await.expect_err("an unknown scope");
    assert_eq!(error.kind(), ErrorKind::RequestRefused, "{error}");
    match error.to_string() {
        text if text.contains("without the required `unknown`") => Ok(()),
        text => Err(Seen(text)),
    }
}

pub(super) async fn unknown_grant(peer: &Running) -> Outcome {
    let source = peer.source("basic", peer.basic("basic"));
    let token = fetch(source.grant_type("urn:example:unknown")).await;
    refused(token, "unsupported_grant_type")
}

pub(super) async fn resource(peer: &Running) -> Outcome {
    let source = peer.source("basic", peer.basic("basic"));
    let token = fetch(source.resource(peer.resource())).await?;
    let audience = &claims(&token)?["aud"];
    if audience == peer.resource() || audience[0] == peer.resource() {
        return Ok(());
    }
    Err(Seen(format!("audience {audience}")))
}

pub(super) async fn unknown_resource(peer: &Running) -> Outcome {
    let source = peer.source("basic", peer.basic("basic"));
    let token = fetch(source.resource("https://nobody.example/")).await;
    refused(token, "invalid_target")
}

async fn metadata(peer: &Running, endpoint: Endpoint) -> Outcome {
    let source = peer.source_at(endpoint, "basic", peer.basic("basic"));
    fetch(source.scope("api:read")).await?;
    Ok(())
}

pub(super) async fn oauth_metadata(peer: &Running) -> Outcome {
    let found = Endpoint::discover(peer.issuer()).transport(peer.transport());
    metadata(peer, found.build().unwrap()).await
}

pub(super) async fn openid_metadata(peer: &Running) -> Outcome {
    let found = Endpoint::discover(peer.issuer()).transport(peer.transport());
    metadata(peer, found.openid_location().build().unwrap()).await
}

/// Counts connections in front of the server: three requests, one connection.
pub(super) async fn one_connection(peer: &Running) -> Outcome {
    let rest = peer.token_endpoint().strip_prefix("https://localhost:");
    let (port, path) = rest.unwrap().split_once('/').unwrap();
    let server = format!("127.0.0.1:{port}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let forward = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let url = format!("https://localhost:{front}/{path}");
    let source = peer
        .source_at(url, "basic", peer.basic("basic"))
        .scope("api:read")
        .build()
        .unwrap();
    for _ in 0..3 {
        source.token(&TokenRequest::default()).await?;
    }
    forward.abort();
    match connections.load(Ordering::SeqCst) {
        1 => Ok(()),
        several => Err(Seen(format!("{several} connections"))),
    }
}
