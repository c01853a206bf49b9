//! Every two settings of a builder: both have an effect, or `build` fails and names both. Those of a client also with
//! every authentication method, every grant, and an endpoint that is set or discovered.
//!
//! A new method of a builder needs a row in its table; its pairs are then run like all others.

mod authorizer;
mod blocking;
mod camall;
mod expected;
mod grants;
mod management;
mod method;
mod pairs;
mod pkcs11;
mod profiles;
mod resource;
mod rows;
mod run;
#[allow(dead_code)] // Profiles use more of it.
#[path = "../shared/token_server.rs"]
mod server;
#[path = "../shared/settings.rs"]
mod settings;
mod table;
mod testkit;
mod vault;

use std::collections::BTreeSet;

use self::pairs::assert_complete;

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
