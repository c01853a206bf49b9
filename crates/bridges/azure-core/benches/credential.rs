//! The cost of a cached token as a credential of the Azure SDK, compared with a static credential: alone, and in a call.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../turns.rs"]
mod turns;

use std::{hint::black_box, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    Result,
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        AsyncRawResponse, ClientOptions, Context, HttpClient, Method, Pipeline, Request,
        StatusCode, Transport, headers::Headers, policies::auth::BearerTokenAuthorizationPolicy,
    },
};
use hallpass_azure_core::{RefusedTokenPolicy, SourceCredential};
use hallpass_cache::CachedTokenSource;
use hallpass_testkit::FakeTokens;

const SCOPE: &str = "https://vault.azure.net/.default";

/// The SDK has no static credential: this one does the least that the trait allows.
#[derive(Debug)]
struct Static(AccessToken);

#[async_trait]
impl TokenCredential for Static {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> Result<AccessToken> {
        Ok(self.0.clone())
    }
}

/// A service in this process, so that a call costs little more than the SDK's pipeline.
#[derive(Debug)]
struct Service;

#[async_trait]
impl HttpClient for Service {
    async fn execute_request(&self, _: &Request) -> Result<AsyncRawResponse> {
        let headers = Headers::new();
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, headers, ""))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tokens = Arc::new(CachedTokenSource::builder(FakeTokens::valid()).build());
    let ours = SourceCredential::new(tokens.clone());
    let theirs = Static(ours.get_token(&[SCOPE], None).await.unwrap());
    let (ours, theirs): (Arc<dyn TokenCredential>, Arc<dyn TokenCredential>) =
        (Arc::new(ours), Arc::new(theirs));

    let credential = async |credential: &Arc<dyn TokenCredential>| {
        black_box(credential.get_token(&[SCOPE], None).await.unwrap());
    };
    turns::compare(
        "credential",
        1_000,
        async || credential(&ours).await,
        async || credential(&theirs).await,
    )
    .await;
    turns::allocations(
        "credential",
        async || credential(&ours).await,
        async || credential(&theirs).await,
    );

    let mut options = options();
    let theirs = client(theirs, options.clone());
    options.per_call_policies = vec![Arc::new(RefusedTokenPolicy::new(tokens))];
    let ours = client(ours, options);
    turns::compare(
        "call with the policy",
        100,
        async || call(&ours).await,
        async || call(&theirs).await,
    )
    .await;
}

fn options() -> ClientOptions {
    ClientOptions {
        transport: Some(Transport::new(Arc::new(Service))),
        ..ClientOptions::default()
    }
}

fn client(credential: Arc<dyn TokenCredential>, options: ClientOptions) -> Pipeline {
    let auth = BearerTokenAuthorizationPolicy::new(credential, [SCOPE]);
    let per_try: Vec<Arc<dyn azure_core::http::policies::Policy>> = vec![Arc::new(auth)];
    Pipeline::new(None, None, options, Vec::new(), per_try, None)
}

async fn call(client: &Pipeline) {
    let url = "https://vault.example/keys".parse().unwrap();
    let mut request = Request::new(url, Method::Get);
    let sent = client.send(&Context::new(), &mut request, None).await;
    black_box(sent.unwrap());
}
