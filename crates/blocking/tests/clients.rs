//! The clients: the token, the retry after a 401, and the limits of both.

#![cfg(all(feature = "reqwest", feature = "ureq"))]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../tests/shared/child.rs"]
mod child;

use std::{env, time::Duration};

use hallpass_blocking::{
    AgentExt as _, BlockingAuthorizer, BlockingRequestBuilderExt as _, BlockingTokenSource, Error,
};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, SystemClock, TokenError, TokenRequest,
    authorize::{ApiRefusal, Authorizer},
};
use hallpass_testkit::{
    ScriptedSource,
    raw::{self, RawServer, Reply},
};
use http::Request;
use reqwest::blocking::Client;
use tokio::runtime::{Builder, Runtime};
use ureq::{Agent, SendBody};

/// An API, and a client's authorizer for it. The n-th token is `t1`, `t2` and so on.
struct Api {
    authorizer: BlockingAuthorizer,
    source: ScriptedSource,
    server: RawServer,
    _runtime: Runtime,
}

impl Api {
    fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let tokens = (1..=3).map(|number| {
            let hour = Duration::from_secs(3_600);
            let token = AccessToken::bearer(&format!("t{number}"), SystemClock.moment(), hour);
            Ok(token.unwrap())
        });
        Self::with_source(ScriptedSource::new(tokens), replies)
    }

    fn with_source(source: ScriptedSource, replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(RawServer::start(replies));
        let cache = CachedTokenSource::builder(source.clone()).min_interval(Duration::ZERO);
        let tokens = BlockingTokenSource::new(cache.build()).unwrap();
        let authorizer = Authorizer::builder(tokens.source())
            .allow_origin(&server.url(""))
            .danger_allow_http_on_loopback()
            .build()
            .unwrap();
        Self {
            authorizer: BlockingAuthorizer::new(tokens, authorizer),
            source,
            server,
            _runtime: runtime,
        }
    }

    /// Returns the `authorization` header of each request.
    fn tokens(&self) -> Vec<String> {
        let requests = self.server.requests();
        let headers = requests.iter().map(|request| {
            let text = String::from_utf8_lossy(request).into_owned();
            let line = text.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("authorization")
                    .then(|| value.to_owned())
            });
            line.unwrap_or_else(|| "none".to_owned())
        });
        headers.collect()
    }
}

fn ok() -> Reply {
    raw::json(200, "[]")
}

fn unauthorized() -> Reply {
    raw::http(
        401,
        &[("www-authenticate", "Bearer error=\"invalid_token\"")],
        "",
    )
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn agent() -> Agent {
    Agent::config_builder().proxy(None).build().into()
}

fn get(url: String) -> Request<()> {
    Request::get(url).body(()).unwrap()
}

#[test]
fn both_clients_send_the_token_and_share_the_fetch() {
    let api = Api::start([ok()]);
    let response = client()
        .get(api.server.url("/a"))
        .send_with(&api.authorizer);
    assert_eq!(response.unwrap().status(), 200);
    let response = agent().run_with(&api.authorizer, get(api.server.url("/b")));
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(api.tokens(), ["Bearer t1", "Bearer t1"]);
    assert_eq!(api.source.calls(), 1);
}

#[test]
fn a_refused_token_is_replaced_and_the_request_retried() {
    let api = Api::start([unauthorized(), ok()]);
    let response = client()
        .get(api.server.url("/a"))
        .send_with(&api.authorizer);
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(api.tokens(), ["Bearer t1", "Bearer t2"]);

    let api = Api::start([unauthorized(), ok()]);
    let post = Request::post(api.server.url("/a")).body("{}").unwrap();
    let response = agent().run_with(&api.authorizer, post);
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(api.tokens(), ["Bearer t1", "Bearer t2"]);
    assert!(
        api.server
            .requests()
            .iter()
            .all(|sent| sent.ends_with(b"{}"))
    );
}

#[test]
fn each_method_is_retried_if_it_is_safe_or_was_not_redirected() {
    let safe = ["GET", "HEAD", "OPTIONS", "TRACE"];
    for method in safe.into_iter().chain(["DELETE", "PATCH", "POST", "PUT"]) {
        let api = Api::start([unauthorized(), ok()]);
        let request = client().request(method.parse().unwrap(), api.server.url("/a"));
        let status = request.send_with(&api.authorizer).unwrap().status();
        let expected = if safe.contains(&method) { 200 } else { 401 };
        assert_eq!(status, expected, "{method}");

        // It follows no redirect.
        let api = Api::start([unauthorized(), ok()]);
        let request = Request::builder().method(method).uri(api.server.url("/a"));
        let response = agent().run_with(&api.authorizer, request.body(()).unwrap());
        assert_eq!(response.unwrap().status(), 200, "{method}");
    }
}

#[test]
fn a_request_that_cannot_be_repeated_is_sent_once() {
    let api = Api::start([unauthorized(), unauthorized(), ok()]);
    let post = client().post(api.server.url("/a")).body("{}");
    let response = post.send_with(&api.authorizer).unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<ApiRefusal>().is_some());

    let reader = &mut &b"{}"[..];
    let post = Request::post(api.server.url("/a")).header("content-length", "2");
    let post = post.body(SendBody::from_reader(reader)).unwrap();
    let response = agent().run_with(&api.authorizer, post).unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<ApiRefusal>().is_some());

    let response = agent().run_with(&api.authorizer, get(api.server.url("/a")));
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(api.tokens(), ["Bearer t1", "Bearer t2", "Bearer t3"]);
}

/// The variable with the address of the test's proxy.
const PROXY: &str = "PROXY_OF_THE_TEST";

#[test]
fn a_request_to_this_machine_skips_a_proxy_of_the_environment() {
    let Ok(proxy) = env::var(PROXY) else {
        let proxy = Api::start([Reply::nothing().then_reset()]);
        let url = proxy.server.url("");
        child::run_alone(
            "a_request_to_this_machine_skips_a_proxy_of_the_environment",
            |child| {
                let child = child.env(PROXY, &url).env("ALL_PROXY", &url);
                child.env_remove("NO_PROXY").env_remove("no_proxy")
            },
        );
        // The one of the client that was given this proxy.
        assert_eq!(proxy.server.request_count(), 1);
        return;
    };
    let api = Api::start([ok()]);
    let agent = Agent::new_with_defaults();
    assert!(agent.config().proxy().unwrap().is_from_env());
    let response = agent.run_with(&api.authorizer, get(api.server.url("/a")));
    assert_eq!(response.unwrap().status(), 200);
    let proxy = ureq::Proxy::new(&proxy).unwrap();
    let agent: Agent = Agent::config_builder().proxy(Some(proxy)).build().into();
    let sent = agent.run_with(&api.authorizer, get(api.server.url("/a")));
    assert!(sent.unwrap_err().token_error().is_none());
    assert_eq!(api.tokens(), ["Bearer t1"]);
}

#[test]
fn a_second_refusal_is_returned() {
    let api = Api::start([unauthorized()]);
    let response = agent().run_with(&api.authorizer, get(api.server.url("/a")));
    let response = response.unwrap();
    let refusal = response.extensions().get::<ApiRefusal>().unwrap();
    assert_eq!(refusal.error(), Some("invalid_token"));
    assert_eq!(api.server.request_count(), 2);
}

#[test]
fn a_request_elsewhere_is_not_sent() {
    let api = Api::start([ok()]);
    let other = Api::start([ok()]);
    let url = other.server.url("/a");
    let by_reqwest = client().get(&url).send_with(&api.authorizer).unwrap_err();
    let by_ureq = agent().run_with(&api.authorizer, get(url)).unwrap_err();
    for error in [by_reqwest, by_ureq] {
        let kind = error.token_error().map(TokenError::kind);
        assert_eq!(kind, Some(ErrorKind::Configuration));
    }
    assert_eq!(other.server.request_count(), 0);
    assert_eq!(api.source.calls(), 0);
}

#[test]
fn a_request_without_a_token_is_not_sent() {
    let down = TokenError::unavailable("the server is down");
    let api = Api::with_source(ScriptedSource::new([Err(down)]), [ok()]);
    let by_reqwest = client()
        .get(api.server.url("/a"))
        .send_with(&api.authorizer);
    let by_ureq = agent().run_with(&api.authorizer, get(api.server.url("/a")));
    let errors: [Error; 2] = [by_reqwest.unwrap_err(), by_ureq.unwrap_err()];
    for error in errors {
        assert_eq!(error.to_string(), "the server is down");
    }
    assert_eq!(api.server.request_count(), 0);
}

#[test]
fn the_clients_own_errors_are_returned() {
    let api = Api::start([Reply::nothing().then_reset()]);
    let by_reqwest = client()
        .get(api.server.url("/a"))
        .send_with(&api.authorizer);
    let by_reqwest = by_reqwest.unwrap_err();
    assert!(by_reqwest.reqwest_error().is_some() && by_reqwest.ureq_error().is_none());
    let by_ureq = agent().run_with(&api.authorizer, get(api.server.url("/a")));
    let by_ureq = by_ureq.unwrap_err();
    assert!(by_ureq.ureq_error().is_some() && by_ureq.token_error().is_none());
}

#[test]
fn a_request_chooses_its_own_token() {
    let api = Api::start([ok()]);
    let refunds = TokenRequest::new().with_scopes("refunds.write".parse().unwrap());
    let post = client().post(api.server.url("/a"));
    post.send_with_request(&api.authorizer, &refunds).unwrap();
    let mut request = get(api.server.url("/a"));
    request.extensions_mut().insert(refunds);
    agent().run_with(&api.authorizer, request).unwrap();
    client()
        .get(api.server.url("/a"))
        .send_with(&api.authorizer)
        .unwrap();
    assert_eq!(api.tokens(), ["Bearer t1", "Bearer t1", "Bearer t2"]);
}

/// reqwest's blocking client would panic here.
#[test]
fn a_request_on_an_async_thread_is_not_sent() {
    let api = Api::start([ok()]);
    let (client, agent) = (client(), agent());
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let by_reqwest = client.get(api.server.url("/a")).send_with(&api.authorizer);
        let by_ureq = agent.run_with(&api.authorizer, get(api.server.url("/a")));
        for error in [by_reqwest.unwrap_err(), by_ureq.unwrap_err()] {
            let kind = error.token_error().map(TokenError::kind);
            assert_eq!(kind, Some(ErrorKind::Configuration));
        }
    });
    assert_eq!(api.server.request_count(), 0);
}
