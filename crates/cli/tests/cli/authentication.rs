//! Clients that authenticate without sending a secret, and servers that are discovered from their issuer.

use std::{fs, path::Path};

use assert_cmd::assert::Assert;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use crate::{
    peer::OidcProvider,
    support::{SECRET, User, shown, stderr, stdout},
};

/// A profile for the real server.
fn profile(peer: &OidcProvider, name: &str, id: &str, more: &str) -> String {
    format!(
        "[profile.{name}]\nissuer = '{}'\nclient_id = '{id}'\nscope = 'api:read'\n\
         danger_allow_http_on_loopback = true\n{more}\n",
        peer.received("issuer")
    )
}

fn key(peer: &OidcProvider, name: &str) -> String {
    let path = Path::new(peer.received("keys")).join(format!("{name}.pem"));
    format!("private_key = 'file:{}'\nkey_id = '{name}'", path.display())
}

fn line<'a>(report: &'a str, step: &str) -> &'a str {
    let found = report
        .lines()
        .find(|line| line.contains(&format!(" {step} ")));
    found.unwrap_or_else(|| panic!("{step}: {report}"))
}

// covers: C-39, C-41, C-45, C-47, C-53
#[tokio::test(flavor = "multi_thread")]
async fn the_real_server_accepts_keys_secrets_and_no_method() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let user = User::new();
    let padded = format!("{}\nalgorithm = 'PS256'", key(&peer, "ps256"));
    let signing = "client_secret = 'env:PEER_SECRET'\nauthentication = 'client_secret_jwt'";
    user.profile(
        &(profile(&peer, "es", "key-es256", &key(&peer, "es256"))
            + &profile(&peer, "ps", "key-ps256", &padded)
            + &profile(&peer, "hs", "secret-jwt", signing)
            + &profile(
                &peer,
                "open",
                "none",
                "authentication = 'none'\nopenid_discovery = true",
            )
            + &profile(&peer, "wrong", "key-es256", &key(&peer, "es384"))),
    );
    let secret = peer.client_secret("secret-jwt").to_owned();
    let run = |words: &str| -> Assert {
        let mut command = user.hallpass(words);
        command.env("PEER_SECRET", &secret).assert()
    };
    for (name, secret, way) in [
        (
            "es",
            "contains a key for ES256",
            "private_key_jwt with ES256, key identifier `es256`, supported by the server",
        ),
        (
            "ps",
            "contains a key for PS256",
            "private_key_jwt with PS256, key identifier `ps256`, supported by the server",
        ),
        (
            "hs",
            "env:PEER_SECRET can be read",
            "client_secret_jwt with HS256, supported by the server",
        ),
        (
            "open",
            "the method uses no credential",
            "by its network, supported by the server",
        ),
    ] {
        let token = stdout(&run(&format!("token -p {name}")).success());
        assert!(token.trim_end().len() > 20, "{name}: {token}");
        let report = stdout(&run(&format!("doctor -p {name}")).success());
        assert!(line(&report, "secret").ends_with(secret), "{report}");
        assert!(line(&report, "authentication").ends_with(way), "{report}");
        let metadata = line(&report, "metadata");
        assert!(
            metadata.ends_with(peer.received("token_endpoint")),
            "{report}"
        );
    }
    for _ in 0..8 {
        assert_eq!(peer.served().await, 200);
    }
    let wrong = run("token --no-cache -p wrong").code(4);
    assert!(
        stderr(&wrong).contains("check that the server knows the key"),
        "{}",
        stderr(&wrong)
    );
    let slash = fs::read_to_string(user.config())
        .unwrap()
        .replace("'\nclient_id", "/'\nclient_id");
    user.profile(&slash);
    let other = run("doctor -p es").code(3);
    assert!(
        line(&stdout(&other), "metadata").contains("another issuer"),
        "{}",
        stdout(&other)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_alone_are_enough() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let user = User::new();
    let pem = Path::new(peer.received("keys")).join("eddsa.pem");
    let as_client = |words: &str| {
        let mut command = user.hallpass(words);
        command
            .env("HALLPASS_ISSUER", peer.received("issuer"))
            .env("HALLPASS_CLIENT_ID", "key-eddsa")
            .env("HALLPASS_KEY_ID", "eddsa")
            .args(["--danger-allow-http-on-loopback", "--no-cache"]);
        command
    };
    let printed = as_client("token")
        .env("HALLPASS_PRIVATE_KEY_FILE", &pem)
        .assert()
        .success();
    assert!(stdout(&printed).trim_end().len() > 20);
    // The key itself in a variable, which is not passed on.
    let text = fs::read_to_string(&pem).unwrap();
    let mut exec = as_client("exec");
    exec.env("HALLPASS_PRIVATE_KEY", &text).args(["--", "env"]);
    let environment = stdout(&exec.assert().success());
    assert!(environment.contains("ACCESS_TOKEN="), "{environment}");
    assert!(!environment.contains("PRIVATE"), "{environment}");
}

// covers: C-63
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_and_a_certificate_are_used_together() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let user = User::new();
    let keys = Path::new(peer.received("keys"));
    let file = |name: &str| format!("file:{}", keys.join(name).display());
    let secret_only = format!(
        "[profile.default]\nissuer = '{}'\nclient_id = 'secret-and-certificate'\nscope = 'api:read'\n\
         ca_file = '{}'\nclient_secret = 'env:PEER_SECRET'\nresource = 'https://orders.example/api'\n",
        peer.received("tls_issuer"),
        keys.join("ca.crt").display(),
    );
    let certificate = format!(
        "certificate = '{}'\nprivate_key = '{}'\n",
        file("client.crt"),
        file("client.key")
    );
    let both = format!("{secret_only}{certificate}authentication = 'client_secret_post'\n");
    let secret = peer.client_secret("secret-and-certificate").to_owned();
    let run = |words: &str| user.hallpass(words).env("PEER_SECRET", &secret).assert();
    user.profile(&both);
    let report = stdout(&run("doctor").success());
    assert!(
        line(&report, "authentication").contains("client_secret_post, with a certificate in TLS"),
        "{report}"
    );
    assert!(
        line(&report, "binding").contains("bound to a certificate (`cnf`)"),
        "{report}"
    );
    // A token that is bound to the certificate is not cached between runs.
    for _ in 0..2 {
        run("token").success();
    }
    for _ in 0..3 {
        assert_eq!(peer.served().await, 200);
    }
    // The server wants both.
    user.profile(&(secret_only.clone() + "authentication = 'client_secret_post'\n"));
    assert_eq!(stdout(&run("token").code(4)), "");
    assert_eq!(peer.served().await, 400);
    user.profile(&both.replace("client_secret_post", "tls_client_auth"));
    assert!(shown(&run("token").code(3)).contains("`client_secret` has no effect"));

    user.profile(&format!("{secret_only}{certificate}"));
    let unclear = shown(&run("token").code(3));
    assert!(
        unclear.contains("both `client_secret` and `certificate` are set")
            && unclear.contains("set `authentication`"),
        "{unclear}"
    );
    user.profile(&both.replace("client.key", "server.key"));
    let mixed = shown(&run("token").code(3));
    assert!(mixed.contains("do not belong together"), "{mixed}");
    user.profile(&(both.replace("certificate = ", "# ")));
    assert!(shown(&run("token").code(3)).contains("`private_key` has no effect"));
}

// covers: C-63, C-65
#[tokio::test(flavor = "multi_thread")]
async fn the_real_server_accepts_client_certificates() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let user = User::new();
    let keys = Path::new(peer.received("keys"));
    let profile = |name: &str, id: &str, file: &str, more: &str| {
        format!(
            "[profile.{name}]\nissuer = '{}'\nclient_id = '{id}'\nscope = 'api:read'\nca_file = '{}'\n\
             certificate = 'file:{}'\nprivate_key = 'file:{}'\n{more}\n",
            peer.received("tls_issuer"),
            keys.join("ca.crt").display(),
            keys.join(format!("{file}.crt")).display(),
            keys.join(format!("{file}.key")).display(),
        )
    };
    let own = "authentication = 'self_signed_tls_client_auth'";
    user.profile(
        &(profile("ca", "mtls", "client", "")
            + &profile("own", "mtls-self-signed", "self-signed", own)
            + &profile("wrong", "mtls", "client-other", "")
            + &profile("mixed", "mtls", "client", "").replace("client.key", "server.key")
            + &profile("loose", "mtls", "client", "bound_tokens = false")),
    );
    for (name, way) in [
        ("ca", "tls_client_auth"),
        ("own", "self_signed_tls_client_auth"),
    ] {
        let report = stdout(&user.run(&format!("doctor -p {name}")).success());
        let secret = line(&report, "secret");
        assert!(
            secret.contains("contains a certificate and its key, expires in"),
            "{report}"
        );
        assert!(line(&report, "authentication").contains(way), "{report}");
        // A token bound to the certificate is not cached for a run that may have another one.
        for _ in 0..2 {
            user.run(&format!("token -p {name}")).success();
        }
        for _ in 0..3 {
            assert_eq!(peer.served().await, 200);
        }
    }
    assert!(!user.cache().exists() || !user.prints("cache list").contains("own"));
    for _ in 0..2 {
        user.run("token -p loose").success();
    }
    assert_eq!(peer.served().await, 200);
    assert_eq!(user.prints("cache list").lines().count(), 1);
    let wrong = user.run("token --no-cache -p wrong").code(4);
    assert!(
        stderr(&wrong).contains("invalid_client"),
        "{}",
        stderr(&wrong)
    );
    let mixed = user.run("doctor -p mixed").code(3);
    assert!(stdout(&mixed).contains("FAIL secret"), "{}", stdout(&mixed));
}

/// A profile that sends no request.
fn offline(more: &str) -> String {
    format!(
        "[profile.default]\nclient_id = 'orders'\ntoken_endpoint = 'https://login.example/t'\n{more}\n"
    )
}

// covers: F-99, F-105
#[test]
fn missing_and_invalid_credentials_are_named() {
    let user = User::new();
    fs::write(
        user.path("key.pem"),
        format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"),
    )
    .unwrap();
    fs::write(user.path("jwt"), SECRET).unwrap();
    // {"alg":"none"}
    fs::write(
        user.path("svid"),
        format!("eyJhbGciOiJub25lIn0.e30.{SECRET}"),
    )
    .unwrap();
    let key = format!("private_key = 'file:{}'", user.path("key.pem").display());
    let jwt = format!("assertion = 'file:{}'", user.path("jwt").display());
    for (more, says) in [
        (
            "authentication = 'private_key_jwt'".to_owned(),
            "the client's private key is not set",
        ),
        (
            "authentication = 'workload_identity'".to_owned(),
            "the platform's assertion is not set",
        ),
        (
            "authentication = 'spiffe_jwt'".to_owned(),
            "the platform's assertion is not set",
        ),
        (
            format!(
                "authentication = 'spiffe_jwt'\nassertion = 'file:{}'",
                user.path("svid").display()
            ),
            "its `alg` is none of the signature algorithms",
        ),
        (
            "authentication = 'client_secret_jwt'".to_owned(),
            "the client secret is not set",
        ),
        (
            "authentication = 'key'".to_owned(),
            "expected one of `client_secret_post`",
        ),
        (format!("private_key = '{SECRET}'"), "`private_key`"),
        (key.clone(), "the issuer, the audience"),
        (
            format!("{key}\n{jwt}"),
            "both `private_key` and `assertion`",
        ),
        (
            format!("{key}\nissuer = 'https://login.example'\nalgorithm = 'HS256'"),
            "`algorithm`",
        ),
        (format!("{key}\nissuer = 'https://login.example'"), "key: "),
        (jwt, "is not a JWT"),
        (
            format!("provider = 'camall'\n{key}\nissuer = 'https://login.example'"),
            "camall.io supports no client authentication",
        ),
    ] {
        user.profile(&offline(&more));
        for words in ["token -vv", "doctor"] {
            let run = user.run(words).code(3);
            let shown = shown(&run);
            assert!(shown.contains(says), "{says}: {shown}");
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
    user.profile("[profile.default]\nissuer = 'http://login.example'\nclient_id = 'orders'\nauthentication = 'none'\n");
    let run = user.run("token").code(3);
    assert!(stderr(&run).contains("issuer: "), "{}", stderr(&run));
}

// covers: C-56
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_warns_of_a_method_that_is_not_listed() {
    let server = MockServer::start().await;
    let document = json!({
        "issuer": server.uri(),
        "token_endpoint": format!("{}/token", server.uri()),
        "token_endpoint_auth_methods_supported": ["client_secret_jwt", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256"],
    });
    Mock::given(path("/.well-known/oauth-authorization-server"))
        .respond_with(ResponseTemplate::new(200).set_body_json(document))
        .mount(&server)
        .await;
    let token = json!({ "access_token": "t0k3n", "token_type": "Bearer", "expires_in": 600 });
    Mock::given(path("/token"))
        .respond_with(ResponseTemplate::new(200).set_body_json(token))
        .mount(&server)
        .await;
    let user = User::new();
    for (way, says) in [
        (
            "client_secret_basic",
            "it lists `client_secret_jwt`, `private_key_jwt`",
        ),
        ("client_secret_jwt", "set `algorithm`"),
    ] {
        user.profile(&format!(
            "[profile.default]\nissuer = '{}'\nclient_id = 'orders'\nclient_secret = 'env:LONG'\n\
             authentication = '{way}'\ndanger_allow_http_on_loopback = true\n",
            server.uri()
        ));
        let mut doctor = user.hallpass("doctor --json");
        let long = SECRET.repeat(2);
        let report = stdout(&doctor.env("LONG", &long).assert().success());
        let report: Value = serde_json::from_str(&report).unwrap();
        let mut steps = report["steps"].as_array().unwrap().iter();
        let step = steps.find(|step| step["name"] == "authentication").unwrap();
        assert_eq!(step["status"], "warning", "{step}");
        assert!(step["remedy"].as_str().unwrap().contains(says), "{step}");
    }
}
