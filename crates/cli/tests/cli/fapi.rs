//! The FAPI 2.0 Security Profile, set by a profile or a flag.

use serde_json::Value;

use crate::{
    peer::OidcProvider,
    support::{User, server, shown, stdout},
};

#[tokio::test(flavor = "multi_thread")]
async fn fapi_profile_gets_a_bound_token_from_a_real_server() {
    let Some(mut peer) = OidcProvider::start(&["--fapi"]).await else {
        return;
    };
    let user = User::new();
    user.prints("keygen --out dpop.pem");
    // The RSA key signs with `PS256`, without a setting.
    let (keys, dpop) = (peer.received("keys").to_owned(), user.path("dpop.pem"));
    user.profile(&format!(
        "[profile.default]\nissuer = '{}'\nopenid_discovery = true\nclient_id = 'key-ps256'\n\
         private_key = 'file:{keys}/ps256.pem'\nkey_id = 'ps256'\ndpop = 'file:{}'\nca_file = '{keys}/ca.crt'\n\
         scope = 'api:read'\nsecurity_profile = 'fapi2'\n",
        peer.received("tls_issuer"),
        dpop.display(),
    ));
    let printed = user.prints("token --format json");
    let message: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(message["token_type"], "DPoP");
    assert_eq!(peer.served().await, 200);

    let report = user.prints("doctor");
    let line = report.lines().find(|line| line.contains(" configuration "));
    let says = "at localhost:";
    assert!(line.unwrap().contains(says), "{report}");
    let held = ", by the FAPI 2.0 Security Profile";
    assert!(line.unwrap().ends_with(held), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fapi_flag_stops_a_weaker_profile_before_the_network() {
    let server = server().await;
    let user = User::of(&server);
    for words in [
        "token --security-profile fapi2",
        "doctor --security-profile fapi2",
    ] {
        let refused = user.run(words).failure().code(3);
        let says = "FAPI 2.0 Security Profile, section 5.3.3.1";
        assert!(shown(&refused).contains(says), "{}", shown(&refused));
    }
    let mut variable = user.hallpass("token");
    let variable = variable.env("HALLPASS_SECURITY_PROFILE", "fapi2").assert();
    assert_eq!(stdout(&variable.failure()), "");
    let unknown = user.run("token --security-profile fapi3").failure();
    assert!(shown(&unknown).contains("possible values: `fapi2`"));
    assert_eq!(server.token_request_count(), 0);
    user.prints("token");
    assert_eq!(server.token_request_count(), 1);
}
