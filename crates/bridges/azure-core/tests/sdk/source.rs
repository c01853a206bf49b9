//! Credentials of the Azure SDK as token sources.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::shared::{CANARY, SCOPE};
use async_trait::async_trait;
use azure_core::{
    Error,
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind as AzureKind,
    http::StatusCode,
    time::OffsetDateTime,
};
use hallpass_azure_core::{CredentialSource, SourceCredential};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    Clock as _, ErrorKind, ScopeSet, TokenRequest, TokenSource, TokenSourceExt as _,
};
use hallpass_testkit::{FakeTokens, ManualClock, leak};

/// A credential whose tokens name their scopes and expire after this many seconds by a clock.
#[derive(Debug)]
struct Fake {
    clock: ManualClock,
    lifetime: i64,
    calls: AtomicUsize,
}

#[async_trait]
impl TokenCredential for Fake {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let seconds = azure_core::time::Duration::seconds(self.lifetime);
        let expires_on = OffsetDateTime::from(self.clock.wall()) + seconds;
        let text = format!("{CANARY}.{}", scopes.join("."));
        Ok(AccessToken::new(text, expires_on))
    }
}

fn source(lifetime: i64) -> (Arc<Fake>, CredentialSource, ManualClock) {
    let clock = ManualClock::new();
    let fake = Arc::new(Fake {
        clock: clock.clone(),
        lifetime,
        calls: AtomicUsize::new(0),
    });
    let source = CredentialSource::new(fake.clone(), "one".parse().unwrap());
    (fake, source.clock(clock.clone()), clock)
}

#[tokio::test]
async fn a_token_has_the_requested_scopes_and_its_expiry() {
    let (_, source, clock) = source(3_600);
    for (requested, granted) in [("", "one"), ("b a", "a b")] {
        let scopes: ScopeSet = requested.parse().unwrap();
        let request = TokenRequest::new().with_scopes(scopes);
        let token = source.token(&request).await.unwrap();
        assert_eq!(
            token.expose(),
            format!("{CANARY}.{}", granted.replace(' ', "."))
        );
        assert_eq!(token.scopes(), &granted.parse().unwrap());
        assert_eq!(token.lifetime(), Duration::from_secs(3_600));
        assert_eq!(token.requested_at(), clock.moment());
    }
}

#[tokio::test]
async fn a_cache_calls_the_credential_once_for_each_lifetime() {
    let (fake, source, clock) = source(3_600);
    let tokens = CachedTokenSource::builder(source)
        .clock(clock.clone())
        .build();
    for calls in 1..=2 {
        for _ in 0..10 {
            tokens.access_token(&TokenRequest::new()).await.unwrap();
        }
        assert_eq!(fake.calls.load(Ordering::SeqCst), calls);
        clock.advance(Duration::from_secs(3_600));
    }
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    for lifetime in [0, -1, i64::from(i32::MIN)] {
        let (_, source, _) = source(lifetime);
        let error = source.token(&TokenRequest::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse);
        leak::assert_clean(&leak::error_chain(&error), CANARY);
    }
}

#[tokio::test]
async fn what_a_credential_cannot_express_is_refused() {
    let (fake, source, _) = source(3_600);
    for request in [
        TokenRequest::new()
            .with_resource("https://orders.example")
            .unwrap(),
        TokenRequest::new().with_audience("orders").unwrap(),
        TokenRequest::new().with_parameter("claims", "{}").unwrap(),
    ] {
        let error = source.token(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
    let source = CredentialSource::new(fake.clone(), ScopeSet::EMPTY);
    let error = source.token(&TokenRequest::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(fake.calls.load(Ordering::SeqCst), 0);
}

/// A credential that fails, with the error in the one that azure_identity returns.
#[derive(Debug)]
struct Fails(fn() -> Error);

#[async_trait]
impl TokenCredential for Fails {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Err((self.0)().with_context("the attempt failed")).map_err(|error| {
            Error::with_error(
                AzureKind::Credential,
                error,
                "ClientSecretCredential failed",
            )
        })
    }
}

fn response(status: StatusCode) -> Error {
    let kind = AzureKind::HttpResponse {
        status,
        error_code: None,
        raw_response: None,
    };
    Error::with_message(kind, "AADSTS7000215")
}

#[tokio::test]
async fn errors_of_a_credential_are_classified() {
    type Case = (fn() -> Error, ErrorKind, bool, Option<u16>);
    let cases: [Case; 9] = [
        (
            || response(StatusCode::BadRequest),
            ErrorKind::RequestRefused,
            false,
            Some(400),
        ),
        (
            || response(StatusCode::Unauthorized),
            ErrorKind::CredentialsRefused,
            false,
            Some(401),
        ),
        (
            || response(StatusCode::Forbidden),
            ErrorKind::CredentialsRefused,
            false,
            Some(403),
        ),
        (
            || response(StatusCode::TooManyRequests),
            ErrorKind::Unavailable,
            true,
            Some(429),
        ),
        (
            || response(StatusCode::BadGateway),
            ErrorKind::Unavailable,
            true,
            Some(502),
        ),
        (
            || io::Error::from(io::ErrorKind::ConnectionReset).into(),
            ErrorKind::Unavailable,
            true,
            None,
        ),
        (
            || Error::with_message(AzureKind::Connection, "no route"),
            ErrorKind::Unavailable,
            true,
            None,
        ),
        (
            || Error::with_message(AzureKind::DataConversion, "no JSON"),
            ErrorKind::UnusableResponse,
            true,
            None,
        ),
        (
            || Error::with_message(AzureKind::Credential, "az login"),
            ErrorKind::CredentialsRefused,
            false,
            None,
        ),
    ];
    for (create, kind, transient, status) in cases {
        let source = CredentialSource::new(Arc::new(Fails(create)), SCOPE.parse().unwrap());
        let error = source.token(&TokenRequest::new()).await.unwrap_err();
        let seen = (
            error.kind(),
            error.is_transient(),
            error.status().map(|status| status.as_u16()),
        );
        assert_eq!(seen, (kind, transient, status), "{error}");
        assert!(error.to_string().contains("ClientSecretCredential failed"));
        assert!(std::error::Error::source(&error).unwrap().is::<Error>());
    }
}

#[tokio::test]
async fn a_token_error_is_returned_as_it_was() {
    let fails = FakeTokens::failing(ErrorKind::Unavailable);
    let sent = fails.token(&TokenRequest::new()).await.unwrap_err();
    let credential = Arc::new(SourceCredential::new(fails));
    let source = CredentialSource::new(credential, SCOPE.parse().unwrap());
    let error = source.token(&TokenRequest::new()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (sent.kind(), sent.message())
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn debug_output_shows_no_token() {
    let (_, source, _) = source(3_600);
    let token = source.token(&TokenRequest::new()).await.unwrap();
    assert!(leak::find(token.expose(), CANARY).is_some());
    leak::assert_clean(&format!("{source:?}{token:?}"), CANARY);
}
