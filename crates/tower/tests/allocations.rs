//! A hit allocates nothing beyond one more header of the header map.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{convert::Infallible, hint::black_box, sync::Arc, time::Duration};

use hallpass_core::{
    AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::Authorizer,
};
use hallpass_tower::TokenLayer;
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use tower::{Layer as _, Service, service_fn};

/// A source with a ready token, like a cache.
struct CachedToken(AccessToken);

#[async_trait]
impl TokenSource for CachedToken {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Ok(self.0.clone())
    }

    fn ready_token(&self, _: &TokenRequest) -> Option<AccessToken> {
        Some(self.0.clone())
    }
}

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

fn poll_once<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_hit_allocates_nothing() {
    let moment = SystemClock.moment();
    let token = AccessToken::bearer("t", moment, Duration::from_secs(60)).unwrap();
    let authorizer = Authorizer::builder(Arc::new(CachedToken(token)))
        .allow_origin("https://other.example")
        .allow_origin("https://api.example")
        .build()
        .unwrap();
    let api = service_fn(|request: Request<()>| {
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
        std::future::ready(Ok::<_, Infallible>(Response::new(())))
    });
    let mut service = TokenLayer::new(authorizer.clone()).layer(api);
    let mut again = TokenLayer::new(authorizer).retry_cloned().layer(api);
    let requests: Vec<_> = (0..4)
        .map(|_| Request::get("https://api.example/orders").body(()).unwrap())
        .collect();
    let [one, two, three, four] = requests.try_into().unwrap();
    // One-time initialization of tracing and the like happens here.
    poll_once(service.call(four)).unwrap();

    // The control: one header in an empty map.
    let mut map = HeaderMap::new();
    let header = HeaderValue::from_static("Bearer t");
    let one_header = allocations(|| drop(black_box(map.insert(AUTHORIZATION, header))));
    assert!(one_header > 0);

    let hit = allocations(|| drop(black_box(poll_once(service.call(one)).unwrap())));
    assert_eq!(hit, one_header);

    // If the map has room, nothing at all.
    let mut roomy = two;
    roomy.headers_mut().reserve(8);
    let hit = allocations(|| drop(black_box(poll_once(service.call(roomy)).unwrap())));
    assert_eq!(hit, 0);

    // The copy for a retry is a copy of the header map, which is empty here.
    let hit = allocations(|| drop(black_box(poll_once(again.call(three)).unwrap())));
    assert_eq!(hit, one_header);
}
