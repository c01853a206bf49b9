//! The command against a certified authorization server that shares no code with ours.

use serde_json::Value;

use crate::{
    peer::OidcProvider,
    support::{User, stderr, stdout},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_real_server_issues_tokens_and_passes_the_doctor() {
    let Some(mut peer) = OidcProvider::start(&["--ttl", "600"]).await else {
        return;
    };
    let user = User::new();
    let keys = std::path::Path::new(peer.received("keys"));
    let profile = |name: &str, endpoint: &str, id: &str, way: &str| {
        format!(
            "[profile.{name}]\ntoken_endpoint = '{endpoint}'\nclient_id = '{id}'\nclient_secret = 'env:PEER_SECRET'\n\
             authentication = '{way}'\nscope = ['api:read', 'api:write']\ndanger_allow_http_on_loopback = true\n\
             ca_file = '{}'\n",
            keys.join("ca.crt").display()
        )
    };
    let plain = peer.received("token_endpoint");
    user.profile(
        &(profile("odd", plain, "basic:odd id", "client_secret_basic")
            + &profile("post", plain, "post-odd", "client_secret_post")
            + &profile(
                "tls",
                peer.received("tls_token_endpoint"),
                "basic",
                "client_secret_basic",
            )),
    );
    for (name, id) in [("odd", "basic:odd id"), ("post", "post-odd")] {
        let secret = peer.client_secret(id).to_owned();
        let mut command = user.hallpass("token --format json -p");
        let printed = stdout(
            &command
                .arg(name)
                .env("PEER_SECRET", secret)
                .assert()
                .success(),
        );
        let message: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(message["scope"], "api:read api:write");
        assert!(message["expires_in"].as_u64().unwrap() > 590);
        assert_eq!(peer.served().await, 200);
        // The next run sends no request.
        let mut again = user.hallpass("token -p");
        let again = again.arg(name).assert().success();
        assert_eq!(stdout(&again).trim_end(), message["access_token"]);
    }

    let secret = peer.client_secret("basic").to_owned();
    let mut doctor = user.hallpass("doctor --json -p tls");
    let report = stdout(&doctor.env("PEER_SECRET", &secret).assert().success());
    let report: Value = serde_json::from_str(&report).unwrap();
    let tls = &report["steps"][4];
    // Its certificates are valid for two days.
    assert_eq!(
        (&tls["name"], &tls["status"]),
        (&"tls".into(), &"warning".into())
    );
    assert!(
        tls["detail"].as_str().unwrap().contains("expires in 1 day"),
        "{tls}"
    );
    assert_eq!(peer.served().await, 200);

    let mut wrong = user.hallpass("token -p tls");
    let wrong = wrong.env("PEER_SECRET", "wrong").assert().code(4);
    assert!(
        stderr(&wrong).contains("invalid_client"),
        "{}",
        stderr(&wrong)
    );

    // Without its authority the server is not trusted, and nothing is sent.
    let file = std::fs::read_to_string(user.config()).unwrap();
    user.profile(&file.replace("ca_file", "# ca_file"));
    let mut strange = user.hallpass("doctor -p tls");
    let strange = stdout(&strange.env("PEER_SECRET", &secret).assert().code(3));
    assert!(
        strange.contains("FAIL tls") && strange.contains("`ca_file`"),
        "{strange}"
    );
}
