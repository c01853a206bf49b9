//! Threads that block: one token for all of them, from a real token endpoint, on a real API.

use std::{thread, time::Duration};

use hallpass::{
    authorize::Authorizer,
    blocking::{AgentExt as _, BlockingAuthorizer, BlockingTokenSource},
    cache::CachedTokenSource,
};
use hallpass_testkit::{AuthorizationServer, Client};
use tokio::runtime::Builder;

use crate::support::{CANARY, ID, builder};

#[test]
fn threads_share_one_token_request_also_after_a_revocation() {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, CANARY).scopes("orders.read"))
        .api_scope("orders.read");
    let server = runtime.block_on(server.start());
    let source = builder(&server.token_endpoint()).build().unwrap();
    // A token revoked within the first half second of its life is replaced at once.
    let cache = CachedTokenSource::builder(source).min_interval(Duration::ZERO);
    let tokens = BlockingTokenSource::new(cache.build()).unwrap();
    let origin = server.api_url("");
    let authorizer = Authorizer::builder(tokens.source())
        .allow_origin(origin.strip_suffix("/api").unwrap())
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let authorizer = BlockingAuthorizer::new(tokens.clone(), authorizer);
    let agent = ureq::Agent::from(ureq::Agent::config_builder().proxy(None).build());

    for round in 1..=2 {
        thread::scope(|scope| {
            let callers: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        let get = http::Request::get(server.api_url("/orders")).body(());
                        let response = agent.run_with(&authorizer, get.unwrap());
                        response.unwrap().status().as_u16()
                    })
                })
                .collect();
            for caller in callers {
                assert_eq!(caller.join().unwrap(), 200);
            }
        });
        assert_eq!(server.token_request_count(), round);
        server.revoke_all_tokens();
    }
    assert!(tokens.shutdown());
}
