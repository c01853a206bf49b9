//! Credentials of the Google Cloud SDK as token sources.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::shared::CANARY;
use axum::{Router, http::header, routing::get};
use google_cloud_auth::{
    credentials::{
        CacheableResource, CredentialsProvider, EntityTag, anonymous, api_key_credentials, mds,
    },
    errors::CredentialsError,
};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{ErrorKind, TokenRequest, TokenSource, TokenSourceExt as _};
use hallpass_google_cloud::{CredentialsSource, SourceCredentials};
use hallpass_testkit::{FakeTokens, ManualClock, leak};
use http::{Extensions, HeaderMap, HeaderValue, header::AUTHORIZATION};
use tokio::net::TcpListener;

#[tokio::test]
async fn tokens_of_the_metadata_server_are_fetched_once() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let token = async move || {
        let number = 1 + counted.fetch_add(1, Ordering::SeqCst);
        let json = format!(
            r#"{{"access_token":"{CANARY}-{number}","expires_in":3600,"token_type":"Bearer"}}"#
        );
        ([(header::CONTENT_TYPE, "application/json")], json)
    };
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    let app = Router::new().route(path, get(token));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });

    let credentials = mds::Builder::default().with_endpoint(url).build().unwrap();
    let clock = ManualClock::new();
    let source = CredentialsSource::new(credentials).clock(clock.clone());
    let tokens = CachedTokenSource::builder(source)
        .clock(clock.clone())
        .build();
    for _ in 0..10 {
        let token = tokens.access_token(&TokenRequest::new()).await.unwrap();
        assert_eq!(token.expose(), format!("{CANARY}-1"));
        assert_eq!(token.lifetime(), Duration::from_secs(10));
        leak::assert_clean(&format!("{token:?}{:?}", tokens.get_ref()), CANARY);
        clock.advance(Duration::from_secs(10));
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

/// Credentials whose token changes with each call, or that fail.
#[derive(Debug)]
struct Fake(Arc<AtomicUsize>, Result<&'static str, CredentialsError>);

impl CredentialsProvider for Fake {
    async fn headers(
        &self,
        _: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let number = 1 + self.0.fetch_add(1, Ordering::SeqCst);
        let scheme = self.1.clone()?;
        let value = HeaderValue::from_str(&format!("{scheme} {CANARY}-{number}")).unwrap();
        Ok(CacheableResource::New {
            entity_tag: EntityTag::new(),
            data: HeaderMap::from_iter([(AUTHORIZATION, value)]),
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn a_cache_calls_the_credentials_every_ten_seconds() {
    let calls = Arc::new(AtomicUsize::new(0));
    let clock = ManualClock::new();
    let source = CredentialsSource::new(Fake(calls.clone(), Ok("Bearer")));
    let source = source.clock(clock.clone());
    let tokens = CachedTokenSource::builder(source)
        .clock(clock.clone())
        .build();
    for number in 1..=3 {
        for _ in 0..10 {
            let token = tokens.access_token(&TokenRequest::new()).await.unwrap();
            assert_eq!(token.expose(), format!("{CANARY}-{number}"));
        }
        assert_eq!(calls.load(Ordering::SeqCst), number);
        clock.advance(Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_request_with_parameters_is_refused() {
    let calls = Arc::new(AtomicUsize::new(0));
    let source = CredentialsSource::new(Fake(calls.clone(), Ok("Bearer")));
    for request in [
        TokenRequest::new().with_scopes("one".parse().unwrap()),
        TokenRequest::new().with_audience("orders").unwrap(),
    ] {
        let error = source.token(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn credentials_without_a_bearer_token_are_refused() {
    let calls = Arc::new(AtomicUsize::new(0));
    for credentials in [
        api_key_credentials::Builder::new(CANARY).build(),
        anonymous::Builder::new().build(),
        Fake(calls.clone(), Ok("DPoP")).into(),
    ] {
        let source = CredentialsSource::new(credentials);
        let error = source.token(&TokenRequest::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        leak::assert_clean(&leak::error_chain(&error), CANARY);
    }
}

#[tokio::test]
async fn errors_of_the_credentials_are_classified() {
    for (transient, kind) in [
        (true, ErrorKind::Unavailable),
        (false, ErrorKind::CredentialsRefused),
    ] {
        let failure = CredentialsError::from_msg(transient, "no metadata server");
        let source = CredentialsSource::new(Fake(Arc::default(), Err(failure)));
        let error = source.token(&TokenRequest::new()).await.unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (kind, transient));
        assert!(error.to_string().contains("no metadata server"));
        let cause = std::error::Error::source(&error).unwrap();
        assert!(cause.is::<CredentialsError>());
    }
}

#[tokio::test]
async fn a_token_error_is_returned_as_it_was() {
    let fails = FakeTokens::failing(ErrorKind::RequestRefused);
    let sent = fails.token(&TokenRequest::new()).await.unwrap_err();
    let source = CredentialsSource::new(SourceCredentials::new(fails));
    let error = source.token(&TokenRequest::new()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (sent.kind(), sent.message())
    );
}
