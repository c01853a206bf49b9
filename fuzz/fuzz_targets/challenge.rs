//! The `WWW-Authenticate` header, in one line or in several: parsing any text ends, within its bounds.

#![no_main]

use std::time::Duration;

use hallpass_core::{
    AccessToken, Moment, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::{Authorizer, Challenge, Decision, RequestHead, Target},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use libfuzzer_sys::fuzz_target;

const TOKEN: &str = "0123456789abcdef";

struct NoTokens;

#[async_trait]
impl TokenSource for NoTokens {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Err(TokenError::configuration("no tokens"))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("www-authenticate", value);
        }
    }
    let challenges = Challenge::all(&headers);
    assert!(challenges.len() <= 16);
    for challenge in &challenges {
        assert!(!challenge.scheme().is_empty() && challenge.scheme().is_ascii());
    }

    // The text of a refusal contains no token, even if the header repeats it.
    let moment = Moment::new(
        hallpass_core::Timestamp::default(),
        std::time::SystemTime::UNIX_EPOCH,
    );
    let token = AccessToken::bearer(TOKEN, moment, Duration::from_secs(60)).unwrap();
    let authorizer =
        Authorizer::builder(std::sync::Arc::new(NoTokens)).allow_origin("https://api.example");
    let authorizer = authorizer.build().unwrap();
    let target = Target::new("https", "api.example", None);
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        let permit = authorizer.permit(
            RequestHead::new(&Method::GET, Some(target), "/", &HeaderMap::new()),
            None,
        );
        let mut permit = permit.unwrap().unwrap();
        match permit.evaluate_response(&token, status, &headers) {
            Decision::Retry(refusal) | Decision::Refused(refusal) => {
                let shown = format!("{refusal} {refusal:?}");
                assert!(!shown.contains(TOKEN));
                assert!(!refusal.to_string().contains(char::is_control));
            }
            _ => assert_eq!(status, StatusCode::FORBIDDEN),
        }
    }
});
