use hallpass_core::ErrorKind;
use hallpass_testkit::{
    ManualClock,
    raw::{self, RawServer, Reply},
};

use super::*;

struct Client {
    server: RawServer,
    keys: ServerKeys,
    transport: HttpTransport,
    clock: ManualClock,
}

impl Client {
    async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let rules = AddressRules {
            allow_http_on_loopback: true,
            refuse_local: None,
        };
        Self {
            server: RawServer::start(replies).await,
            keys: ServerKeys::new(rules),
            transport: HttpTransport::builder().build().unwrap(),
            clock: ManualClock::new(),
        }
    }

    async fn read(&self, unknown: Option<&Arc<str>>) -> Result<Arc<str>, TokenError> {
        let uri = self.server.url("/jwks");
        let keys = self.keys.keys(&uri, unknown, &self.transport, &self.clock);
        keys.await
    }
}

#[tokio::test]
async fn a_cancelled_read_does_not_stop_the_next_one() {
    let stalled = Reply::nothing().then_stall();
    let client = Client::start([raw::json(200, "one"), stalled, raw::json(200, "two")]).await;
    let old = client.read(None).await.unwrap();
    let arrived = async {
        while client.server.request_count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = client.read(Some(&old)) => panic!("the server does not respond"),
        () = arrived => {}
    }
    let new = client.read(Some(&old)).await.unwrap();
    assert_eq!((&*new, client.server.request_count()), ("two", 3));
}

#[tokio::test]
async fn a_failed_read_for_an_unknown_key_is_repeated() {
    let failure = raw::json(503, "{}");
    let client = Client::start([raw::json(200, "one"), failure, raw::json(200, "two")]).await;
    let old = client.read(None).await.unwrap();
    for _ in 0..2 {
        let error = client.read(Some(&old)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    // Known keys are still used.
    assert_eq!(&*client.read(None).await.unwrap(), "one");
    assert_eq!(client.server.request_count(), 2);
    client.clock.advance(RETRY_DELAY);
    assert_eq!(&*client.read(Some(&old)).await.unwrap(), "two");
    assert_eq!(client.server.request_count(), 3);
}
