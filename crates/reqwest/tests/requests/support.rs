//! A source that counts, and authorizers for servers on loopback.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hallpass_core::{
    AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::{Authorizer, AuthorizerBuilder},
};
use hallpass_reqwest::{Error, RequestBuilderExt as _, same_origin_redirects};
use hallpass_testkit::raw::RawServer;
use reqwest::{Client, Response};

/// A source that mints `token-1` and, whenever that is dropped, the next.
#[derive(Debug, Default)]
pub(crate) struct Mint {
    dropped: AtomicUsize,
    lenient: bool,
}

impl Mint {
    /// Creates a source for concurrent callers: a token may be dropped that is no longer in use.
    pub(crate) fn lenient() -> Self {
        Self {
            lenient: true,
            ..Self::default()
        }
    }

    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TokenSource for Mint {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let scopes = request.scopes().as_str().replace(' ', "+");
        let text = format!("token-{}{scopes}", self.dropped() + 1);
        Ok(AccessToken::bearer(
            &text,
            SystemClock.moment(),
            Duration::from_secs(3_600),
        )?)
    }

    fn invalidate(&self, token: &AccessToken) {
        let current = format!("token-{}", self.dropped() + 1);
        assert!(self.lenient || token.expose().starts_with(&current));
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn allow(source: Arc<dyn TokenSource>, server: &RawServer) -> AuthorizerBuilder {
    Authorizer::builder(source)
        .allow_origin(&server.url(""))
        .danger_allow_http_on_loopback()
}

pub(crate) fn client() -> Client {
    let builder = Client::builder().no_proxy();
    builder.redirect(same_origin_redirects()).build().unwrap()
}

pub(crate) async fn get(server: &RawServer, authorizer: &Authorizer) -> Result<Response, Error> {
    client().get(server.url("/")).send_with(authorizer).await
}

/// Returns the `Authorization` header of each received request, if any.
pub(crate) fn authorizations(server: &RawServer) -> Vec<Option<String>> {
    let requests = server.requests();
    let header = |request: &Vec<u8>| {
        let text = String::from_utf8_lossy(request).into_owned();
        let line = |line: &str| Some(line.strip_prefix("authorization: ")?.to_owned());
        text.lines().find_map(line)
    };
    requests.iter().map(header).collect()
}
