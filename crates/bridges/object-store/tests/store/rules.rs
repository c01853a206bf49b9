//! Rules for adapters, and a refresh and an outage under load.

use std::sync::Arc;

use hallpass_core::{TokenError, TokenSource, async_trait};
use hallpass_object_store::TokenCredentials;
use hallpass_testkit::bridge::{self, Adapter, BoxError, Credential, Rule};
use object_store::{
    CredentialProvider as _, ObjectStore, ObjectStoreExt as _, azure::AzureCredential,
};

use crate::{
    renewal::{LAST_MINUTES, Renewal},
    support::{Store, connector, invoice, store_with_connector, stores_with_credentials},
};

#[derive(Debug)]
struct Credentials(TokenCredentials<AzureCredential>);

#[async_trait]
impl Adapter for Credentials {
    async fn credential(&self) -> Result<Credential, BoxError> {
        match &*self.0.get_credential().await? {
            AzureCredential::BearerToken(token) => Ok(Credential::new(token.clone())),
            _ => Err("another kind of credential".into()),
        }
    }
}

#[tokio::test]
async fn credentials_follow_the_rules_for_adapters() {
    let exceptions = [
        (Rule::ReportsExpiry, "object_store's credentials have none"),
        (Rule::ReportsRefusals, "object_store does not report them"),
    ];
    let create = |source| Credentials(TokenCredentials::new(source));
    assert_eq!(bridge::check(create, &exceptions).await, []);
}

/// A client whose tokens are those that the store saw.
#[derive(Debug)]
struct Connected<S> {
    store: Store,
    client: S,
}

#[async_trait]
impl<S: ObjectStore> Adapter for Connected<S> {
    async fn credential(&self) -> Result<Credential, BoxError> {
        self.client.get(&invoice()).await?;
        let last = self.store.tokens().pop();
        Ok(Credential::new(last.ok_or("the store got no token")?))
    }

    async fn refuse(&self, token: &str) {
        self.store.revoke_text(token);
        let _ = self.client.get(&invoice()).await;
    }
}

#[tokio::test]
async fn a_connector_follows_the_rules_for_adapters() {
    let store = Store::default();
    let url = store.start().await;
    let exceptions = [(Rule::ReportsExpiry, "a request has no place for it")];
    let create = |source: Arc<dyn TokenSource>| {
        store.clear();
        Connected {
            store: store.clone(),
            client: store_with_connector(&url, connector(&url, &source)),
        }
    };
    assert_eq!(bridge::check(create, &exceptions).await, []);
}

/// Reads a hundred times at once; each read succeeds.
async fn read(client: &Arc<dyn ObjectStore>) {
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        reads.spawn(async move { client.get(&invoice()).await.map(drop) });
    }
    for read in reads.join_all().await {
        read.unwrap();
    }
}

/// Creates the stores with credentials and the one with a connector.
fn clients(url: &str, tokens: &Arc<dyn TokenSource>) -> Vec<Arc<dyn ObjectStore>> {
    let mut clients = stores_with_credentials(url, tokens).to_vec();
    clients.push(Arc::new(store_with_connector(url, connector(url, tokens))));
    clients
}

/// Creates a kind of client whose token is in its last minutes, after one read.
async fn expiring(
    kind: usize,
    second: Result<(), TokenError>,
) -> (Store, Arc<dyn ObjectStore>, Arc<Renewal>) {
    let store = Store::default();
    let url = store.start().await;
    let renewal = Renewal::new(second);
    let client = clients(&url, &renewal.cached()).swap_remove(kind);
    client.get(&invoice()).await.unwrap();
    renewal.reach_last_minutes();
    (store, client, renewal)
}

#[tokio::test]
async fn no_read_waits_for_a_refresh() {
    for kind in 0..3 {
        let (store, client, renewal) = expiring(kind, Ok(())).await;
        // The refresh does not end before all of them have.
        read(&client).await;
        assert_eq!(store.tokens(), ["token-1"; 101]);
        renewal.gate.arrived(1).await;
        renewal.gate.open();
        while store.tokens().last().unwrap() != "token-2" {
            client.get(&invoice()).await.unwrap();
        }
        renewal.clock.advance(LAST_MINUTES);
        read(&client).await;
        assert_eq!(
            store.tokens().split_off(store.tokens().len() - 100),
            ["token-2"; 100]
        );
        assert_eq!(renewal.calls(), 2);
    }
}

#[tokio::test]
async fn reads_go_on_while_the_token_server_is_down() {
    for kind in 0..3 {
        let down = TokenError::unavailable("the server is down");
        let (store, client, renewal) = expiring(kind, Err(down)).await;
        renewal.gate.open();
        read(&client).await;
        renewal.gate.arrived(1).await;
        read(&client).await;
        assert_eq!(store.tokens(), ["token-1"; 201]);
        assert_eq!(renewal.calls(), 2);
    }
}
