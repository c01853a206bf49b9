//! Rules for adapters.

use std::{sync::Arc, time::SystemTime};

use hallpass_core::{TokenSource, async_trait};
use hallpass_reqsign::TokenCredentials;
use hallpass_testkit::bridge::{self, Adapter, BoxError, Credential, Rule};
use opendal::Operator;
use reqsign::{Context, ProvideCredential as _, Signer, azure, google};

use crate::{INVOICE, fetch, storage::Storage, with_fetch};

#[derive(Debug)]
struct Subject<T>(T);

#[async_trait]
impl Adapter for Subject<TokenCredentials<google::Credential>> {
    async fn credential(&self) -> Result<Credential, BoxError> {
        let credential = self.0.provide_credential(&Context::new()).await?;
        let token = credential.and_then(|credential| credential.token);
        let token = token.ok_or("no token")?;
        let expires_at: SystemTime = token.expires_at.ok_or("no expiry")?.as_system_time();
        let credential = Credential::new(&token.access_token).expires_at(expires_at);
        Ok(credential.shown(token))
    }
}

#[async_trait]
impl Adapter for Subject<TokenCredentials<azure::Credential>> {
    async fn credential(&self) -> Result<Credential, BoxError> {
        let credential = self.0.provide_credential(&Context::new()).await?;
        let credential = credential.ok_or("no credential")?;
        let azure::Credential::BearerToken { token, expires_in } = &credential else {
            return Err("another kind of credential".into());
        };
        let expires_at = expires_in.ok_or("no expiry")?.as_system_time();
        Ok(Credential::new(token)
            .expires_at(expires_at)
            .shown(&credential))
    }
}

const NO_REFUSALS: (Rule, &str) = (Rule::ReportsRefusals, "reqsign does not report them");

#[tokio::test]
async fn credentials_follow_the_rules_for_adapters() {
    let google = |source| Subject(TokenCredentials::<google::Credential>::new(source));
    assert_eq!(bridge::check(google, &[NO_REFUSALS]).await, []);
    let azure = |source| Subject(TokenCredentials::<azure::Credential>::new(source));
    assert_eq!(bridge::check(azure, &[NO_REFUSALS]).await, []);
}

#[async_trait]
impl Adapter for Subject<Signer<google::Credential>> {
    async fn credential(&self) -> Result<Credential, BoxError> {
        let request = http::Request::get("https://storage.example/invoices/1");
        let (mut head, ()) = request.body(())?.into_parts();
        self.0.sign(&mut head, None).await?;
        let header = &head.headers["authorization"];
        let token = header.to_str()?.strip_prefix("Bearer ").ok_or("no token")?;
        Ok(Credential::new(token).shown(header))
    }
}

// Paused, since a call that waits for another one times out.
#[tokio::test(start_paused = true)]
async fn a_signer_follows_the_rules_except_for_its_cache() {
    let create = |source: Arc<dyn TokenSource>| {
        let credentials = TokenCredentials::new(source);
        let signer = google::RequestSigner::new("storage");
        Subject(Signer::new(Context::new(), credentials, signer))
    };
    let exceptions = [
        (
            Rule::UsesNewTokens,
            "a signer keeps a credential until it is about to expire",
        ),
        (
            Rule::ServesCallsIndependently,
            "a signer asks for one credential at a time",
        ),
        (Rule::ReportsExpiry, "a request has no place for it"),
        NO_REFUSALS,
    ];
    assert_eq!(bridge::check(create, &exceptions).await, []);
}

/// A service whose tokens are those that the storage server saw.
#[derive(Debug)]
struct Fetching<'a> {
    storage: &'a Storage,
    service: Operator,
}

#[async_trait]
impl Adapter for Fetching<'_> {
    async fn credential(&self) -> Result<Credential, BoxError> {
        self.service.read(INVOICE).await?;
        let last = self.storage.last_token();
        Ok(Credential::new(last.ok_or("the server got no token")?))
    }

    async fn refuse(&self, token: &str) {
        self.storage.revoke_text(token);
        let _ = self.service.read(INVOICE).await;
    }
}

#[tokio::test]
async fn an_http_client_follows_the_rules_for_adapters() {
    let storage = Storage::start().await;
    let exceptions = [(Rule::ReportsExpiry, "a request has no place for it")];
    for kind in 0..2 {
        let create = |source: Arc<dyn TokenSource>| {
            storage.clear();
            let [azblob, gcs] = with_fetch(storage.url(), fetch(storage.url(), &source));
            Fetching {
                storage: &storage,
                service: if kind == 0 { azblob } else { gcs },
            }
        };
        assert_eq!(bridge::check(create, &exceptions).await, []);
    }
}
