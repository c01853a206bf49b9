//! Every two settings of a builder: both have an effect, or `build` fails and names both. Those of a client also with
//! every authentication method, every grant, and an endpoint that is set or discovered.
//!
//! A new method of a builder needs a row in its table; its pairs are then run like all others.

mod authorizer;
mod blocking;
mod call_setup;
mod camall;
mod expected;
mod grants;
mod management;
mod method;
mod pairs;
mod pkcs11;
mod profiles;
mod redis;
mod resource;
mod rows;
mod run;
#[allow(dead_code)] // Profiles use more of it.
#[path = "../shared/token_server.rs"]
mod server;
#[path = "../shared/settings.rs"]
pub(crate) mod settings;
mod table;
mod testkit;
#[cfg(unix)] // A process inherits a listener.
mod transport;
mod vault;

use std::{collections::BTreeSet, fs};

use self::{
    pairs::assert_complete,
    settings::{crates, sources},
};

/// The public builders, and the file with the table of each, which reads the names of its methods.
const TABLES: &[(&str, &str)] = &[
    (
        "AuthorizationServerBuilder",
        "tests/stories/builders/testkit.rs",
    ),
    ("AuthorizerBuilder", "tests/stories/builders/authorizer.rs"),
    (
        "BlockingTokenSourceBuilder",
        "tests/stories/builders/blocking.rs",
    ),
    ("CacheBuilder", "crates/cache/tests/policies/settings.rs"),
    ("CamallBuilder", "tests/stories/builders/camall.rs"),
    (
        "HttpTransportBuilder",
        "tests/stories/builders/transport.rs",
    ),
    ("Pkcs11SignerBuilder", "tests/stories/builders/pkcs11.rs"),
    ("ProfilesBuilder", "tests/stories/builders/profiles.rs"),
    ("RedisTokenStoreBuilder", "tests/stories/builders/redis.rs"),
    (
        "ResourceDiscoveryBuilder",
        "tests/stories/builders/resource.rs",
    ),
    ("SourceBuilder", "tests/stories/builders.rs"),
    ("TenantsBuilder", "tests/stories/builders/profiles.rs"),
    ("TokenManagementBuilder", "tests/stories/builders.rs"),
    ("VaultSecretBuilder", "tests/stories/builders/vault.rs"),
];

#[test]
fn each_public_builder_has_a_table() {
    let mut found = BTreeSet::new();
    for text in sources(&crates()) {
        let types = text.split("\npub struct ").skip(1);
        let names = types.filter_map(|text| text.split(|c: char| !c.is_alphanumeric()).next());
        let builders = names.filter(|name| name.ends_with("Builder"));
        found.extend(builders.map(str::to_owned));
    }
    let listed = TABLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, listed, "right: `TABLES`; a builder needs one");
    for (name, file) in TABLES {
        let text = fs::read_to_string(crates().join("..").join(file)).unwrap();
        let (_, uses) = text.split_once("\n}\n").unwrap();
        assert!(uses.contains(&format!("\"{name}\"")), "{name} in {file}");
    }
}

#[test]
fn each_method_of_a_client_has_a_row() {
    let client_credentials = rows::client_credentials();
    let token_exchange = rows::token_exchange();
    let sources = client_credentials.iter().map(|row| row.name);
    let sources: BTreeSet<_> = sources
        .chain(token_exchange.iter().map(|row| row.name))
        .collect();
    let management = rows::management();
    let management = management.iter().map(|row| row.name).collect();
    for (builder, rows) in [
        ("SourceBuilder", sources),
        ("TokenManagementBuilder", management),
    ] {
        for type_name in ["Discovery", "Endpoint", builder] {
            let own = rows.iter().filter_map(|row| match row.split_once("::") {
                Some((of, name)) => (of == type_name).then_some(name),
                None => (builder == type_name).then_some(*row),
            });
            assert_complete(own, "endpoint", type_name);
        }
    }
}
