//! Tokens that need a proof for each request.

use std::time::SystemTime;

use http::{Method, header::WWW_AUTHENTICATE};

use super::*;
use crate::{Proof, ProofRequest, Prover};

/// A prover whose proof is a description of its request.
#[derive(Debug, Default)]
struct Plain {
    kept: Mutex<Vec<String>>,
    broken: bool,
}

#[async_trait]
impl Prover for Plain {
    async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        if self.broken {
            return Err(TokenError::unavailable("the key is away"));
        }
        let nonce = request.nonce().unwrap_or("none");
        let token = request.expose_token().unwrap();
        let text = format!("{} {} {token} {nonce}", request.method(), request.url());
        let proof = Proof::new(text, SystemTime::UNIX_EPOCH)?;
        Ok(match request.nonce() {
            Some(nonce) => proof.with_nonce(nonce),
            None => proof,
        })
    }

    fn store_nonce(&self, request: &ProofRequest<'_>, nonce: &str) {
        let kept = format!("{} {nonce}", request.origin());
        self.kept.lock().unwrap().push(kept);
    }
}

/// A source that numbers its tokens and attaches its prover.
struct BoundSource(AtomicUsize, Arc<Plain>);

#[async_trait]
impl TokenSource for BoundSource {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let text = format!("token-{}", self.0.load(Ordering::SeqCst));
        let lifetime = Duration::from_secs(60);
        let token = AccessToken::new(TokenType::Dpop, &text, SystemClock.moment(), lifetime)?;
        Ok(token.with_prover(self.1.clone()))
    }

    fn invalidate(&self, _: &AccessToken) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Returns a permit, a token for it, and its prover.
async fn bound() -> (Permit, AccessToken, Arc<Plain>) {
    let prover = Arc::new(Plain::default());
    let source = Arc::new(BoundSource(AtomicUsize::new(0), prover.clone()));
    let authorizer = Authorizer::builder(source).allow_origin("https://API.example:443");
    let permit = permit(&authorizer.build().unwrap(), "https://api.example");
    let permit = permit.unwrap().unwrap();
    let token = permit.token().await.unwrap();
    (permit, token, prover)
}

async fn proof(permit: &mut Permit, token: &AccessToken, path: &str) -> String {
    let proof = permit.proof(token, &Method::GET, path).await;
    let proof = proof.unwrap().unwrap();
    proof.header_value().to_str().unwrap().to_owned()
}

fn answer(challenge: &'static str, nonce: Option<&'static str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    if let Some(nonce) = nonce {
        headers.insert("dpop-nonce", HeaderValue::from_static(nonce));
    }
    headers
}

const DEMAND: &str = r#"Bearer, DPoP error="use_dpop_nonce", algs="ES256""#;

// covers: C-66, C-68
#[tokio::test]
async fn a_proof_is_for_the_origin_that_was_allowed() {
    for (path, url) in [
        ("/orders?a=b", "https://api.example/orders"),
        ("/", "https://api.example/"),
        ("*", "https://api.example"),
        ("", "https://api.example"),
    ] {
        let (mut permit, token, _) = bound().await;
        assert_eq!(token.header_value(), "DPoP token-0");
        let proof = proof(&mut permit, &token, path).await;
        assert_eq!(proof, format!("GET {url} token-0 none"));
    }
}

#[tokio::test]
async fn a_bearer_token_takes_no_proof() {
    let mut permit = permit(&api(), "https://api.example").unwrap().unwrap();
    let token = permit.token().await.unwrap();
    let proof = permit.proof(&token, &Method::GET, "/").await;
    assert!(proof.unwrap().is_none());
    // A challenge for another scheme is ignored.
    let decision = permit.evaluate_response(
        &token,
        StatusCode::UNAUTHORIZED,
        &answer(DEMAND, Some("one")),
    );
    assert!(
        matches!(decision, Decision::Retry(_)),
        "its bare challenge counts: {decision:?}"
    );
    assert!(
        !permit
            .replacement(&token)
            .await
            .unwrap()
            .unwrap()
            .is_same(&token)
    );
}

// covers: C-70, C-71, C-72
#[tokio::test]
async fn a_demand_for_a_nonce_keeps_the_token() {
    let (mut permit, token, prover) = bound().await;
    proof(&mut permit, &token, "/orders").await;
    for nonce in ["one", "two"] {
        let decision = permit.evaluate_response(
            &token,
            StatusCode::UNAUTHORIZED,
            &answer(DEMAND, Some(nonce)),
        );
        assert!(matches!(decision, Decision::Retry(_)), "{decision:?}");
        let again = permit.replacement(&token).await.unwrap().unwrap();
        assert!(again.is_same(&token));
        let proof = proof(&mut permit, &again, "/orders").await;
        assert!(proof.ends_with(&format!("token-0 {nonce}")), "{proof}");
    }
    let good = answer("", Some("three"));
    assert_eq!(
        permit.evaluate_response(&token, StatusCode::OK, &good),
        Decision::Pass
    );
    let kept = ["one", "two", "three"].map(|nonce| format!("https://api.example {nonce}"));
    assert_eq!(*prover.kept.lock().unwrap(), kept);
}

#[tokio::test]
async fn a_retry_with_a_nonce_is_observed() {
    let source = BoundSource(AtomicUsize::new(0), Arc::default());
    let builder = Authorizer::builder(source).allow_origin("https://api.example");
    let (builder, lines) = events::observed(builder);
    let permit = permit(&builder.build().unwrap(), "https://api.example");
    let mut permit = permit.unwrap().unwrap();
    let token = permit.token().await.unwrap();
    proof(&mut permit, &token, "/").await;
    let demand = answer(DEMAND, Some("one"));
    permit.evaluate_response(&token, StatusCode::UNAUTHORIZED, &demand);
    permit.replacement(&token).await.unwrap().unwrap();
    assert_eq!(
        *lines.lock().unwrap(),
        ["orders call_retried https://api.example"]
    );
}

// covers: C-70, C-72
#[tokio::test]
async fn a_demand_that_brings_nothing_new_is_handed_on() {
    for (status, nonce) in [
        (StatusCode::UNAUTHORIZED, None),
        (StatusCode::FORBIDDEN, Some("one")),
    ] {
        let (mut permit, token, _) = bound().await;
        proof(&mut permit, &token, "/").await;
        let Decision::Refused(refusal) =
            permit.evaluate_response(&token, status, &answer(DEMAND, nonce))
        else {
            panic!("{status}");
        };
        assert_eq!(refusal.error(), Some("use_dpop_nonce"));
        assert!(
            permit.token().await.unwrap().is_same(&token),
            "it was not dropped"
        );
    }
    let (mut permit, token, _) = bound().await;
    proof(&mut permit, &token, "/").await;
    let demand = answer(DEMAND, Some("one"));
    let decision = permit.evaluate_response(&token, StatusCode::UNAUTHORIZED, &demand);
    assert!(matches!(decision, Decision::Retry(_)));
    proof(&mut permit, &token, "/").await;
    let decision = permit.evaluate_response(&token, StatusCode::UNAUTHORIZED, &demand);
    assert!(matches!(decision, Decision::Refused(_)), "{decision:?}");
}

// covers: C-35, C-68
#[tokio::test]
async fn what_is_said_of_the_token_counts_in_its_own_scheme() {
    for (challenge, dropped, error) in [
        (
            r#"DPoP error="invalid_token", algs="ES256""#,
            true,
            Some("invalid_token"),
        ),
        (r#"DPoP algs="ES256""#, true, None),
        (
            r#"DPoP error="invalid_dpop_proof""#,
            false,
            Some("invalid_dpop_proof"),
        ),
        (r#"Bearer error="invalid_token""#, false, None),
        (
            r#"Bearer error="invalid_token", DPoP error="insufficient_scope""#,
            false,
            Some("insufficient_scope"),
        ),
    ] {
        let (mut permit, token, _) = bound().await;
        proof(&mut permit, &token, "/").await;
        let decision =
            permit.evaluate_response(&token, StatusCode::UNAUTHORIZED, &answer(challenge, None));
        let refusal = match decision {
            Decision::Retry(refusal) if dropped => refusal,
            Decision::Refused(refusal) if !dropped => refusal,
            other => panic!("{challenge}: {other:?}"),
        };
        assert_eq!(refusal.error(), error, "{challenge}");
        assert_eq!(
            permit.token().await.unwrap().is_same(&token),
            !dropped,
            "{challenge}"
        );
    }
}

// covers: C-72
#[tokio::test]
async fn without_a_proof_nothing_is_sent() {
    let prover = Arc::new(Plain {
        broken: true,
        ..Plain::default()
    });
    let (mut permit, token, _) = bound().await;
    let token = token.with_prover(prover);
    let error = permit.proof(&token, &Method::GET, "/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// A clock that a prover advances.
#[derive(Clone, Debug)]
struct Moved(Arc<AtomicUsize>);

impl Moved {
    fn advance(&self, seconds: usize) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl crate::Clock for Moved {
    fn now(&self) -> crate::Timestamp {
        crate::Timestamp::from_origin(Duration::from_secs(self.0.load(Ordering::SeqCst) as u64))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// A prover that takes this many seconds for a proof.
#[derive(Debug)]
struct Slow(Moved, usize);

#[async_trait]
impl Prover for Slow {
    async fn prove(&self, _: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        self.0.advance(self.1);
        Proof::new("proof".into(), SystemTime::UNIX_EPOCH)
    }
}

// covers: F-66
#[tokio::test]
async fn a_token_that_expires_while_its_proof_is_made_is_not_sent() {
    for (seconds, sent) in [(59, true), (60, false)] {
        let clock = Moved(Arc::new(AtomicUsize::new(1_000)));
        let source = Numbered::default();
        let authorizer = Authorizer::builder(source).clock(clock.clone());
        let authorizer = authorizer.allow_origin("https://api.example").build();
        let permit = permit(&authorizer.unwrap(), "https://api.example");
        let mut permit = permit.unwrap().unwrap();
        let minute = Duration::from_secs(60);
        let token = AccessToken::new(TokenType::Dpop, "t", clock.moment(), minute).unwrap();
        let token = token.with_prover(Arc::new(Slow(clock, seconds)));
        assert!(!permit.is_expired(&token));
        let proof = permit.proof(&token, &Method::GET, "/").await;
        assert_eq!(proof.is_ok(), sent, "{seconds}");
        if let Err(error) = proof {
            assert!(error.is_transient(), "{error}");
        }
    }
}
