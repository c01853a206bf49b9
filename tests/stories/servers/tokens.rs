//! The tokens: what they are bound to, how long they are valid, introspection and revocation.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hallpass::{
    AccessToken, TokenError, TokenRequest, TokenSource, TokenType, endpoint::TokenManagement,
    jwt::Dpop,
};
use hallpass_testkit::ManualClock;
use serde_json::Value;

use super::{
    requests::refused,
    running::{Outcome, Running, Seen},
};
use crate::support::fetch;

/// Returns the claims of a token that is a JWT.
pub(super) fn claims(token: &AccessToken) -> Result<Value, Seen> {
    let claims = token.expose().split('.').nth(1);
    let claims = claims.and_then(|claims| BASE64_URL_SAFE_NO_PAD.decode(claims).ok());
    let claims = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    claims.ok_or_else(|| Seen("the token is no JWT".to_owned()))
}

/// Returns the hash of a certificate (RFC 8705 section 3.1), computed by another library.
pub(super) fn thumbprint(path: &Path) -> String {
    let pem = fs::read_to_string(path).unwrap();
    let base64 = pem.lines().filter(|line| !line.starts_with('-'));
    let der = BASE64_STANDARD.decode(base64.collect::<String>()).unwrap();
    BASE64_URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, &der))
}

pub(super) async fn standard_type(peer: &Running) -> Outcome {
    fetch(peer.standard("basic")).await?;
    Ok(())
}

pub(super) async fn dpop(peer: &Running, key: &str) -> Outcome {
    let dpop = Dpop::new(peer.key(key)).unwrap();
    let source = peer.standard("dpop").dpop(dpop.clone());
    let token = fetch(source.resource(peer.resource())).await?;
    assert_eq!(token.token_type(), TokenType::Dpop);
    match claims(&token)?["cnf"]["jkt"].as_str() {
        Some(said) if said == dpop.thumbprint() => Ok(()),
        other => Err(Seen(format!("bound to {other:?}"))),
    }
}

/// Needs a server of its own, which demands nonces: the challenge and the response to it, then the nonce is known.
pub(super) async fn dpop_nonce(peer: &Running) -> Outcome {
    dpop(peer, "es256").await?;
    let peer = peer.another("--dpop-nonce").await;
    let source = peer.standard("dpop");
    let source = source.dpop(Dpop::generate().unwrap()).build().unwrap();
    let mut outcome = Ok(());
    for _ in 0..3 {
        match source.token(&TokenRequest::default()).await {
            Ok(token) => assert_eq!(token.token_type(), TokenType::Dpop),
            Err(error) => outcome = Err(error.into()),
        }
    }
    peer.stop().await;
    outcome
}

pub(super) async fn old_proof(peer: &Running) -> Outcome {
    let clock = ManualClock::new();
    clock.set_wall(SystemTime::now() - Duration::from_secs(600));
    let dpop = Dpop::generate().unwrap().clock(clock);
    let token = fetch(peer.standard("dpop").dpop(dpop)).await;
    let hint = token.as_ref().err().and_then(TokenError::hint);
    let hint = hint.unwrap_or_default().to_owned();
    refused(token, "invalid_dpop_proof")?;
    assert!(hint.contains("clock"), "{hint}");
    Ok(())
}

pub(super) async fn lifetime(peer: &Running) -> Outcome {
    let token = peer.token("basic", peer.basic("basic")).await?;
    if token.lifetime() == Duration::from_secs(600) {
        return Ok(());
    }
    Err(Seen(format!("{:?}", token.lifetime())))
}

fn management(peer: &Running) -> TokenManagement {
    TokenManagement::builder(peer.discovered(), peer.id("basic"), peer.basic("basic"))
        .transport(peer.transport())
        .build()
        .unwrap()
}

pub(super) async fn introspection(peer: &Running) -> Outcome {
    let token = peer.token("basic", peer.basic("basic")).await?;
    let known = management(peer).introspect(&token).await?;
    assert!(known.is_active());
    match (known.scopes().as_str(), known.client_id()) {
        (scopes, Some(id)) if scopes.starts_with("api:read") && id == peer.id("basic") => Ok(()),
        other => Err(Seen(format!("{other:?}"))),
    }
}

pub(super) async fn revocation(peer: &Running) -> Outcome {
    let token = peer.token("basic", peer.basic("basic")).await?;
    let tokens = management(peer);
    tokens.revoke(&token).await?;
    if tokens.introspect(&token).await?.is_active() {
        return Err(Seen("still active".to_owned()));
    }
    Ok(())
}
