//! A 403 that may stand for a refused token.

use http::header::WWW_AUTHENTICATE;

use super::*;

const ORIGIN: &str = "https://api.example";

fn authorizer(source: Arc<Numbered>) -> Authorizer {
    let builder = Authorizer::builder(source).allow_origin(ORIGIN);
    let builder = builder.treat_forbidden_as_refused("https://API.example:443");
    builder.build().unwrap()
}

/// Calls an API that answers 403 unless the token's number is `accepted`, and returns the number of attempts.
async fn call(authorizer: &Authorizer, accepted: Option<usize>) -> usize {
    let mut permit = permit(authorizer, ORIGIN).unwrap().unwrap();
    let mut token = permit.token().await.unwrap();
    let mut attempts = 1;
    loop {
        let good = accepted.is_some_and(|number| token.expose() == format!("CANARY-{number}"));
        let status = if good {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        };
        let decision = permit.evaluate_response(&token, status, &HeaderMap::new());
        if !matches!(decision, Decision::Retry(_)) {
            return attempts;
        }
        let Some(other) = permit.replacement(&token).await.unwrap() else {
            return attempts;
        };
        token = other;
        attempts += 1;
    }
}

// covers: C-35
#[tokio::test]
async fn a_bad_token_is_replaced_after_a_403() {
    let source = Arc::new(Numbered::default());
    let authorizer = authorizer(source.clone());
    assert_eq!(call(&authorizer, Some(0)).await, 1);
    assert_eq!(call(&authorizer, Some(1)).await, 2);
    assert_eq!(call(&authorizer, Some(1)).await, 1);
    assert_eq!(source.number.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_missing_permission_costs_one_token() {
    let source = Arc::new(Numbered::default());
    let authorizer = authorizer(source.clone());
    assert_eq!(call(&authorizer, None).await, 2);
    for _ in 0..100 {
        assert_eq!(call(&authorizer, None).await, 1);
        // Another resource of the same API accepts the token.
        assert_eq!(call(&authorizer, Some(1)).await, 1);
    }
    assert_eq!(source.number.load(Ordering::SeqCst), 1);
}

/// A source that counts reports, and returns the same token again.
#[derive(Default)]
struct Stubborn(AtomicUsize);

#[async_trait]
impl TokenSource for Stubborn {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let minute = Duration::from_secs(60);
        Ok(AccessToken::bearer("same", SystemClock.moment(), minute)?)
    }

    fn invalidate(&self, _: &AccessToken) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_token_that_is_returned_again_is_dropped_once() {
    let source = Arc::new(Stubborn::default());
    let authorizer = Authorizer::builder(source.clone()).allow_origin(ORIGIN);
    let authorizer = authorizer.treat_forbidden_as_refused(ORIGIN);
    let authorizer = authorizer.build().unwrap();
    for _ in 0..3 {
        assert_eq!(call(&authorizer, None).await, 1);
    }
    assert_eq!(source.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_403_with_a_reason_or_elsewhere_drops_nothing() {
    let source = Arc::new(Numbered::default());
    let named = authorizer(source.clone());
    let mut headers = HeaderMap::new();
    let reason = "Bearer error=\"insufficient_scope\"";
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(reason));
    let mut named = permit(&named, ORIGIN).unwrap().unwrap();
    let token = named.token().await.unwrap();
    let decision = named.evaluate_response(&token, StatusCode::FORBIDDEN, &headers);
    assert!(matches!(decision, Decision::Refused(refusal) if refusal.is_insufficient_scope()));

    let default = Authorizer::builder(source.clone()).allow_origin(ORIGIN);
    assert_eq!(call(&default.build().unwrap(), None).await, 1);
    assert_eq!(source.number.load(Ordering::SeqCst), 0);
}

#[test]
fn an_origin_that_is_not_allowed_cannot_be_named() {
    let wrong = builder().allow_origin(ORIGIN);
    let wrong = wrong.treat_forbidden_as_refused("https://b.example");
    let error = wrong.build().unwrap_err().to_string();
    let expected = "treat_forbidden_as_refused: `https://b.example` is not an allowed origin";
    assert!(error.contains(expected), "{error}");
    // The order of the calls does not matter.
    let right = builder().treat_forbidden_as_refused(ORIGIN);
    assert!(right.allow_origin(ORIGIN).build().is_ok());
}
