//! Credentials for reqsign's signers.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, UNIX_EPOCH};

use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, SystemClock, TokenError, TokenRequest, TokenSource as _,
    TokenType,
};
use hallpass_reqsign::{BearerCredential, TokenCredentials};
use hallpass_testkit::{FakeTokens, StaticSource};
use reqsign::{Context, ProvideCredential as _, Signer, azure, google};

#[tokio::test]
async fn signers_put_the_token_into_the_header() {
    let tokens = FakeTokens::valid();
    let azure = Signer::new(
        Context::new(),
        TokenCredentials::new(tokens.clone()),
        azure::RequestSigner::new(),
    );
    let google = Signer::new(
        Context::new(),
        TokenCredentials::new(tokens.clone()),
        google::RequestSigner::new("storage"),
    );
    for _ in 0..2 {
        let request = http::Request::get("https://orders.example/invoices/1");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        azure.sign(&mut parts, None).await.unwrap();
        assert_eq!(parts.headers["authorization"], "Bearer fake-1");
        parts.headers.clear();
        google.sign(&mut parts, None).await.unwrap();
        assert_eq!(parts.headers["authorization"], "Bearer fake-1");
        assert!(parts.headers["authorization"].is_sensitive());
    }
    assert_eq!(tokens.calls(), 1);
}

#[tokio::test]
async fn credentials_have_the_expiry_of_the_token() {
    let tokens = FakeTokens::expired_after(Duration::from_secs(600));
    let token = tokens.token(&TokenRequest::new()).await.unwrap();
    let since_epoch = token.expires_at().unwrap().duration_since(UNIX_EPOCH);
    let expected = i64::try_from(since_epoch.unwrap().as_secs()).unwrap();
    let context = Context::new();

    let credentials = TokenCredentials::<azure::Credential>::new(tokens.clone());
    let credential = credentials.provide_credential(&context).await.unwrap();
    let Some(azure::Credential::BearerToken { expires_in, .. }) = credential else {
        panic!("no bearer token");
    };
    assert_eq!(expires_in.unwrap().as_second(), expected);

    let credentials = TokenCredentials::<google::Credential>::new(tokens);
    let credential = credentials.provide_credential(&context).await.unwrap();
    let expires_at = credential.unwrap().token.unwrap().expires_at.unwrap();
    assert_eq!(expires_at.as_second(), expected);
}

async fn failure<C: BearerCredential>(credentials: TokenCredentials<C>) -> reqsign::Error {
    let credential = credentials.provide_credential(&Context::new()).await;
    credential.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_refused() {
    let moment = SystemClock.moment();
    let token = AccessToken::new(TokenType::Dpop, "bound", moment, Duration::from_secs(60));
    let tokens = StaticSource::new(token.unwrap());
    let error = failure(TokenCredentials::<azure::Credential>::new(tokens)).await;
    let source = std::error::Error::source(&error).unwrap();
    let error = source.downcast_ref::<TokenError>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn errors_keep_kind_and_transience_of_the_token_error() {
    for (kind, expected, retryable) in [
        (
            ErrorKind::Configuration,
            reqsign::ErrorKind::ConfigInvalid,
            false,
        ),
        (
            ErrorKind::CredentialsRefused,
            reqsign::ErrorKind::CredentialInvalid,
            false,
        ),
        (
            ErrorKind::RequestRefused,
            reqsign::ErrorKind::PermissionDenied,
            false,
        ),
        (
            ErrorKind::UnusableResponse,
            reqsign::ErrorKind::Unexpected,
            false,
        ),
        (ErrorKind::Unavailable, reqsign::ErrorKind::Unexpected, true),
    ] {
        let tokens = FakeTokens::failing(kind);
        let error = failure(TokenCredentials::<google::Credential>::new(tokens)).await;
        assert_eq!((error.kind(), error.is_retryable()), (expected, retryable));
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.downcast_ref::<TokenError>().unwrap().kind(), kind);
    }
}
