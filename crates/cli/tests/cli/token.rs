//! `hallpass token` in each of its formats, and `hallpass inspect` of what it prints.

use serde_json::{Value, json};

use crate::support::{ID, SECRET, User, server, shown, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_printed_in_each_format() {
    let server = server().await;
    let user = User::of(&server);
    let text = user.prints("token");
    let token = text.trim_end();
    assert_eq!(text, format!("{token}\n"));
    assert_eq!(
        user.prints("token --format header"),
        format!("Authorization: Bearer {token}\n")
    );

    let value: Value = serde_json::from_str(&user.prints("token -f json")).unwrap();
    assert_eq!(
        (&value["access_token"], &value["scope"]),
        (&json!(token), &json!("orders.read"))
    );
    assert!((3_500..=3_600).contains(&value["expires_in"].as_u64().unwrap()));

    let env = user.prints("token --format env --name API_TOKEN");
    assert!(
        env.starts_with(&format!("API_TOKEN={token}\nAPI_TOKEN_EXPIRES_AT=20")),
        "{env}"
    );
    assert_eq!(server.token_request_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_gets_the_requested_version() {
    let server = server().await;
    let user = User::of(&server);
    for version in [
        "client.authentication.k8s.io/v1",
        "client.authentication.k8s.io/v1beta1",
    ] {
        let info = json!({ "apiVersion": version, "kind": "ExecCredential", "spec": { "interactive": false } });
        let mut command = user.hallpass("token --format exec-credential");
        let printed = stdout(
            &command
                .env("KUBERNETES_EXEC_INFO", info.to_string())
                .assert()
                .success(),
        );
        let credential: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(credential["apiVersion"], version);
        assert_eq!(credential["kind"], "ExecCredential");
        assert_eq!(
            credential["status"]["token"],
            user.prints("token").trim_end()
        );
        let until = credential["status"]["expirationTimestamp"]
            .as_str()
            .unwrap();
        assert!(until.ends_with('Z') && until.len() == 20, "{until}");
    }
    let mut command = user.hallpass("token --format exec-credential");
    let old = command.env(
        "KUBERNETES_EXEC_INFO",
        r#"{"apiVersion":"client.authentication.k8s.io/v1alpha1"}"#,
    );
    old.assert().code(3).stdout("");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_alone_is_enough() {
    let server = server().await;
    let user = User::new();
    let mut ours = user.hallpass("token --danger-allow-http-on-loopback");
    ours.env("HALLPASS_TOKEN_ENDPOINT", server.token_endpoint())
        .env("HALLPASS_CLIENT_ID", ID)
        .env("HALLPASS_CLIENT_SECRET", SECRET);
    ours.assert().success();
    let mut camall = user.hallpass("token --danger-allow-http-on-loopback --no-cache");
    camall
        .env("CAMALL_TOKEN_ENDPOINT", server.token_endpoint())
        .env("CAMALL_CLIENT_ID", ID)
        .env("CAMALL_CLIENT_SECRET", SECRET)
        .env("CAMALL_SCOPE", "orders.write");
    camall.assert().success();
    let asked = server.token_requests();
    assert_eq!(asked[0].parameter("scope"), None);
    // camall.io's method: the credentials in the form.
    assert_eq!(asked[1].parameter("client_secret"), Some(SECRET));
    assert_eq!(asked[1].parameter("scope"), Some("orders.write"));
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_override_the_profile() {
    let server = server().await;
    let user = User::of(&server);
    user.prints(
        "token --scope orders.write --parameter tenant=blue --audience urn:a --authentication client_secret_post",
    );
    let asked = server.token_requests().remove(0);
    assert_eq!(asked.parameter("scope"), Some("orders.write"));
    assert_eq!(asked.parameter("tenant"), Some("blue"));
    assert_eq!(asked.parameter("audience"), Some("urn:a"));
    assert_eq!(asked.parameter("client_secret"), Some(SECRET));
}

// covers: I-14
#[tokio::test(flavor = "multi_thread")]
async fn inspect_reads_standard_input_only() {
    let user = User::new();
    // {"alg":"RS256"} . {"iss":"https://login.example","exp":1}
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJleHAiOjF9.c2ln";
    let said = stdout(&user.hallpass("inspect").write_stdin(jwt).assert().success());
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["verified"], &said["header"]["alg"]),
        (&json!(false), &json!("RS256"))
    );
    assert!(
        said["times"]["exp"]
            .as_str()
            .unwrap()
            .starts_with("1970-01-01T00:00:01Z, "),
        "{said}"
    );

    let said = stdout(
        &user
            .hallpass("inspect")
            .write_stdin("CANARY")
            .assert()
            .success(),
    );
    assert!(
        said.contains("opaque") && !said.contains("CANARY"),
        "{said}"
    );

    for words in [
        format!("inspect {jwt}"),
        format!("inspect -{jwt}"),
        format!("inspect --token={jwt}"),
    ] {
        let refused = user.run(&words).code(2);
        assert!(stderr(&refused).contains("hallpass token | hallpass inspect"));
        assert!(!shown(&refused).contains("eyJ"), "{}", shown(&refused));
    }
    user.hallpass("inspect").write_stdin("").assert().code(2);
    user.hallpass("inspect")
        .write_stdin("x".repeat(300_000))
        .assert()
        .code(2);
    user.hallpass("inspect")
        .write_stdin(vec![0xff])
        .assert()
        .code(2);
}

/// A stranger wrote the token: characters that control a terminal are not printed.
#[test]
fn inspect_escapes_control_characters() {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

    let claims = "{\"name\":\"a\u{9b}31m\u{202e}\"}";
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let jwt = format!("{}.{}.c2ln", part("{}"), part(claims));
    let user = User::new();
    let said = user.hallpass("inspect").write_stdin(jwt).assert().success();
    let said = stdout(&said);
    assert!(said.contains(r"a\u009b31m\u202e"), "{said}");
    assert!(!said.contains(['\u{9b}', '\u{202e}']), "{said}");
}
