use std::time::Duration;

use hallpass_core::{SecretError, SecretSource};
use hallpass_testkit::{
    ManualClock, RotatingSecret,
    leak::{self, Capture},
    raw::{self, RawServer, Reply},
};
use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

use super::*;

const PATH: &str = "/v1/secret/data/orders/client";
const SECOND: Duration = Duration::from_secs(1);

fn builder(address: &str, token: impl SecretSource + 'static) -> VaultSecretBuilder {
    VaultSecret::builder(address, token, "secret", "orders/client", "key")
        .danger_allow_http_on_loopback()
}

fn token() -> RotatingSecret {
    RotatingSecret::new("hvs.CANARY-token")
}

/// Returns a response as in the documentation of the KV engine's API.
fn found(value: &str, version: u32) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "request_id": "0c2b4c2e", "lease_id": "", "renewable": false, "lease_duration": 0,
        "data": {
            "data": { "key": value, "other": 17, "empty": "" },
            "metadata": {
                "created_time": "2018-03-22T02:24:06.945319214Z", "custom_metadata": null,
                "deletion_time": "", "destroyed": false, "version": version,
            },
        },
        "wrap_info": null, "warnings": null, "auth": null,
    }))
}

fn deleted(deletion_time: &str, destroyed: bool) -> ResponseTemplate {
    ResponseTemplate::new(404).set_body_json(json!({
        "data": {
            "data": null,
            "metadata": { "deletion_time": deletion_time, "destroyed": destroyed, "version": 4 },
        },
    }))
}

fn refusal(status: u16, errors: &[&str]) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({ "errors": errors }))
}

async fn vault(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let mock = Mock::given(method("GET")).and(path(PATH));
    mock.respond_with(answer).mount(&server).await;
    server
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

#[tokio::test]
async fn a_field_is_requested_as_the_api_specifies() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/gate/v1/team/kv/data/a%20b/c"))
        .and(header("x-vault-token", "hvs.CANARY-token"))
        .and(header("x-vault-request", "true"))
        .and(header("x-vault-namespace", "team-orders"))
        .respond_with(found("s3cr3t \"ü\"\n", 4))
        .mount(&server)
        .await;
    let address = format!("{}/gate/", server.uri());
    let source = VaultSecret::builder(address, token(), "team/kv/", "a b/c", "key")
        .namespace("team-orders")
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    // One trailing line end is removed, as with a file.
    assert_eq!(source.secret().await.unwrap().expose(), "s3cr3t \"ü\"");
}

// covers: F-34, F-55, F-99, F-100
#[tokio::test]
async fn each_refusal_has_a_remedy_and_shows_no_secret() {
    let ok = || ResponseTemplate::new(200);
    for (answer, expect, transient) in [
        (
            refusal(400, &["missing client token CANARY"]),
            "mount, path and namespace",
            false,
        ),
        (
            refusal(403, &["permission denied CANARY"]),
            "policy allows `read`",
            false,
        ),
        (refusal(404, &[]), "does not exist", false),
        (
            deleted("2026-03-22T02:36:43.986212308Z", false),
            "was deleted in its newest version, 4",
            false,
        ),
        (
            deleted("", true),
            "was destroyed in its newest version, 4",
            false,
        ),
        (
            refusal(412, &["required index state not present"]),
            "has not replicated",
            true,
        ),
        (
            refusal(429, &["request rate limit exceeded"]),
            "limits the request rate",
            true,
        ),
        (refusal(473, &[]), "on standby", true),
        (
            refusal(500, &["1 error occurred: CANARY"]),
            "a server error",
            true,
        ),
        (refusal(503, &["Vault is sealed"]), "is sealed", true),
        (refusal(418, &["CANARY"]), "HTTP 418", false),
        (ok().set_body_string("<html>CANARY"), "no secret;", false),
        (
            ok().set_body_string(r#"{"data":{"data":{"key":CANARY"#),
            "no secret;",
            false,
        ),
        (
            ok().set_body_json(json!({"data":null})),
            "no secret;",
            false,
        ),
        (
            ok().set_body_json(json!({"data":{"data":null}})),
            "does not exist",
            false,
        ),
        (
            ok().set_body_json(json!({"data":{"data":{"x":"CANARY"}}})),
            "has no field `key`",
            false,
        ),
        (
            ok().set_body_string(r#"{"data":{"data":{"key":"CANARY","\u006bey":"CANARY-2"}}}"#),
            "no secret;",
            false,
        ),
        (
            ok().set_body_json(json!({"data":{"key":"CANARY"}})),
            "KV version 2",
            false,
        ),
        (
            ok().set_body_json(json!({"data":{"data":{"key":["CANARY"]}}})),
            "not a string",
            false,
        ),
        (
            ok().set_body_json(json!({"data":{"data":{"key":""}}})),
            "is empty",
            false,
        ),
        (
            ok().set_body_string("CANARY".repeat(200_000)),
            "longer than",
            false,
        ),
    ] {
        let server = vault(answer).await;
        let source = builder(&server.uri(), token()).build().unwrap();
        let error = source.secret().await.unwrap_err();
        let shown = leak::error_chain(&error);
        assert!(shown.contains(expect), "{expect}: {shown}");
        assert!(shown.contains("`secret/orders/client`"), "{shown}");
        assert_eq!(error.is_transient(), transient, "{shown}");
        leak::assert_clean(&shown, "CANARY");
    }
}

// covers: F-45
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = vault(found("CANARY", 1)).await;
    let location = format!("{}{PATH}", elsewhere.uri());
    let server = vault(ResponseTemplate::new(307).insert_header("location", location)).await;
    let source = builder(&server.uri(), token()).build().unwrap();
    let error = source.secret().await.unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
    assert_eq!(requests(&elsewhere).await, 0);
}

#[tokio::test]
async fn an_unreachable_or_slow_server_is_not_a_refusal() {
    let slow = RawServer::always(Reply::bytes("HTTP/1.1 200 OK\r\n").then_stall()).await;
    let cut = RawServer::always(
        Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nCANARY").then_close(),
    );
    let cut = cut.await;
    for (address, expect) in [
        (slow.url(""), "could not be read within 200ms"),
        (cut.url(""), "the connection was lost"),
        (raw::refused_url().unwrap(), "the connection failed"),
    ] {
        let source = builder(&address, token()).timeout(Duration::from_millis(200));
        let error = source.build().unwrap().secret().await.unwrap_err();
        let shown = leak::error_chain(&error);
        assert!(error.is_transient() && shown.contains(expect), "{shown}");
        leak::assert_clean(&shown, "CANARY");
    }
}

#[tokio::test]
async fn a_wrong_scheme_is_named_with_host_and_port() {
    let plain = MockServer::start().await;
    // The alert `protocol_version`, and Go's response to plain HTTP.
    let alert = RawServer::always(Reply::bytes(b"\x15\x03\x03\x00\x02\x02\x46").then_close()).await;
    let go = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let go = RawServer::always(Reply::bytes(go).then_close()).await;
    for (url, expect) in [
        (
            plain.uri().replace("http:", "https:"),
            "does not speak TLS; check the port in the address; if it speaks plain HTTP, use `http://` and `danger_allow_http_on_loopback`",
        ),
        (
            alert.url(""),
            "does not speak plain HTTP; use `https://` in the address",
        ),
        (
            go.url(""),
            "does not speak plain HTTP; use `https://` in the address",
        ),
    ] {
        let source = builder(&url, token()).build().unwrap();
        let error = source.secret().await.unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(expect) && !error.is_transient(), "{shown}");
        let place = url.split("//").nth(1).unwrap().trim_end_matches('/');
        assert!(shown.contains(&format!("from `{place}`")), "{shown}");
    }
}

// covers: F-110
#[tokio::test]
async fn a_rotated_token_is_read_again_and_used_once() {
    let server = MockServer::start().await;
    Mock::given(header("x-vault-token", "new"))
        .respond_with(found("s3cr3t", 1))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .respond_with(refusal(403, &["permission denied"]))
        .mount(&server)
        .await;
    let token = RotatingSecret::new("old");
    let source = builder(&server.uri(), token.clone()).build().unwrap();
    source.secret().await.unwrap_err();
    assert_eq!((requests(&server).await, token.refusals()), (1, 1));
    token.rotate_after_reading("new");
    assert_eq!(source.secret().await.unwrap().expose(), "s3cr3t");
    assert_eq!((requests(&server).await, token.refusals()), (3, 2));
}

// covers: F-110
#[tokio::test]
async fn a_new_version_is_found_on_expiry_or_after_a_refusal() {
    let clock = ManualClock::new();
    let server = vault(found("first", 1)).await;
    let source = builder(&server.uri(), token())
        .lifetime(60 * SECOND)
        .clock(clock.clone());
    let source = source.build().unwrap();
    for _ in 0..10 {
        assert_eq!(source.secret().await.unwrap().expose(), "first");
    }
    assert_eq!((requests(&server).await, source.epoch()), (1, 0));
    let answers = async |answer| {
        server.reset().await;
        Mock::given(path(PATH))
            .respond_with(answer)
            .mount(&server)
            .await;
    };
    answers(found("second", 2)).await;
    let first = source.secret().await.unwrap();
    source.refused(&first);
    assert_eq!(source.secret().await.unwrap().expose(), "second");
    answers(found("third", 3)).await;
    clock.advance(60 * SECOND);
    assert_eq!(source.secret().await.unwrap().expose(), "third");
    assert_eq!(source.epoch(), 2);
    // While Vault is sealed, the cached secret is used.
    answers(refusal(503, &["Vault is sealed"])).await;
    clock.advance(60 * SECOND);
    assert_eq!(source.secret().await.unwrap().expose(), "third");
    assert_eq!(requests(&server).await, 1);
}

/// The secret itself was not refused.
#[tokio::test]
async fn an_expired_token_leaves_the_cached_secret() {
    let server = vault(found("s3cr3t", 1)).await;
    let token = token();
    let source = builder(&server.uri(), token.clone()).lifetime(Duration::ZERO);
    let source = source.build().unwrap();
    let secret = source.secret().await.unwrap();
    let answers = async |answer| {
        server.reset().await;
        let mock = Mock::given(path(PATH)).respond_with(answer);
        mock.mount(&server).await;
    };
    answers(refusal(403, &["permission denied"])).await;
    assert_eq!(source.secret().await.unwrap().expose(), "s3cr3t");
    token.fail(SecretError::new("the file is missing"));
    assert_eq!(source.secret().await.unwrap().expose(), "s3cr3t");
    assert_eq!(requests(&server).await, 1);

    source.refused(&secret);
    let error = source.secret().await.unwrap_err();
    assert!(error.is_inaccessible(), "{error}");
    assert_eq!(error.to_string(), "Vault's token: the file is missing");
    token.rotate("new");
    assert!(source.secret().await.unwrap_err().is_inaccessible());
    // A deleted secret is no longer used.
    answers(found("s3cr3t", 1)).await;
    source.secret().await.unwrap();
    answers(deleted("2026-03-22T02:36:43.986212308Z", false)).await;
    assert!(!source.secret().await.unwrap_err().is_inaccessible());
}

// covers: F-99, F-101
#[tokio::test]
async fn neither_secret_nor_token_is_shown_or_traced() {
    let capture = Capture::start();
    let server = vault(found("CANARY-secret", 7)).await;
    let unbuilt = builder(&server.uri(), token());
    let unbuilt_shown = format!("{unbuilt:?}");
    let source = unbuilt.build().unwrap();
    let secret = source.secret().await.unwrap();
    assert!(leak::find(secret.expose(), "CANARY").is_some());
    let shown = format!("{unbuilt_shown} {source:?} {source:#?} {secret:?}");
    let text = capture.text();
    for text in [&shown, &text] {
        leak::assert_clean(text, "CANARY-secret");
        leak::assert_clean(text, "hvs.CANARY-token");
    }
    assert!(
        text.contains("version=7") && text.contains("over plain HTTP"),
        "{text}"
    );
    assert!(text.contains("hyper_util"), "nothing was traced");
}

#[tokio::test]
async fn settings_are_found_as_by_the_vault_command() {
    let server = MockServer::start().await;
    for (token, namespace) in [("from-file", None), ("from-variable", Some("team"))] {
        let mut mock = Mock::given(path(PATH)).and(header("x-vault-token", token));
        if let Some(namespace) = namespace {
            mock = mock.and(header("x-vault-namespace", namespace));
        }
        mock.respond_with(found(token, 1)).mount(&server).await;
    }
    let home = crate::folder::Folder::new();
    home.write(".vault-token", "from-file\n");
    let names = || ["secret", "orders/client", "key"].map(str::to_owned);
    let from = |variables: &[(&str, &str)], home: Option<&std::path::Path>| {
        let look_up = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| std::ffi::OsString::from(value))
        };
        VaultSecretBuilder::from_settings(look_up, home.map(Into::into), names())
    };
    let address = ("VAULT_ADDR", server.uri());
    let address = (address.0, address.1.as_str());
    let variable = [
        address,
        ("VAULT_TOKEN", "from-variable"),
        ("VAULT_NAMESPACE", "team"),
    ];
    let file = [address, ("VAULT_TOKEN", "")];
    for (variables, expect) in [(&variable[..], "from-variable"), (&file, "from-file")] {
        let source = from(variables, Some(home.path())).unwrap();
        let source = source.danger_allow_http_on_loopback().build().unwrap();
        assert_eq!(source.secret().await.unwrap().expose(), expect);
        let hint = source.0.get_ref().authority_hint();
        assert!(hint.contains("`VAULT_CACERT`"), "{hint}");
    }
    // Plain HTTP needs its own setting here too.
    let error = from(&file, Some(home.path())).unwrap().build().unwrap_err();
    assert!(error.to_string().contains("plain HTTP"), "{error}");
    let error = from(&file, None).unwrap_err().to_string();
    assert!(error.contains("no token for Vault"), "{error}");
    let folder = home.path().display().to_string();
    for (path, expect) in [
        ("/no/such/file", "is missing"),
        (&folder, "is not a regular file"),
    ] {
        let wrong = [address, ("VAULT_CACERT", path)];
        let error = from(&wrong, Some(home.path())).unwrap_err().to_string();
        let expect = format!("`VAULT_CACERT` names {expect}");
        assert!(error.contains(&expect), "{error}");
    }
    assert!(from(&[], Some(home.path())).unwrap().build().is_ok());
}

#[test]
fn a_timeout_of_zero_is_a_build_error() {
    let built = builder("https://vault.example", token()).timeout(Duration::ZERO);
    let error = built.build().unwrap_err().to_string();
    assert_eq!(error, "Vault's `timeout` must be greater than zero");
}

// covers: C-02
#[test]
fn an_unusable_address_is_a_build_error() {
    let build = |address: &str| {
        let builder = VaultSecret::builder(address, token(), "secret", "orders/client", "key");
        builder.build().map(drop).map_err(|error| error.to_string())
    };
    build("https://vault.example:8200").unwrap();
    for (address, expect) in [
        ("vault.example/CANARY", "not an absolute URL"),
        ("http://127.0.0.1:8200", "plain HTTP"),
        ("ftp://CANARY.example", "neither"),
        ("https://me:CANARY@vault.example", "user name or password"),
        ("https://vault.example/?token=CANARY", "query"),
    ] {
        let error = build(address).unwrap_err();
        assert!(
            error.contains(expect) && !error.contains("CANARY"),
            "{error}"
        );
    }
    let allowed = |address: &str| builder(address, token()).build();
    for fine in [
        "http://127.0.0.1:8100",
        "http://[::1]:8200",
        "http://localhost:8200",
        "http://localhost.:8200",
    ] {
        assert!(allowed(fine).is_ok(), "{fine}");
    }
    for far in [
        "http://vault.example",
        "http://127.0.0.1.example",
        "http://10.0.0.1",
    ] {
        // The hint omits the setting, which is set and would not help.
        let error = allowed(far).unwrap_err().to_string();
        assert!(
            error.contains("to another machine") && !error.contains("danger"),
            "{error}"
        );
    }
    let error = build("http://localhost:8200").unwrap_err();
    assert!(error.contains("`danger_allow_http_on_loopback`"), "{error}");
    for (mount, path) in [
        ("", "a"),
        ("a", ""),
        ("a", "b/../c"),
        ("..", "c"),
        ("a", "b//c"),
    ] {
        let source = VaultSecret::builder("https://vault.example", token(), mount, path, "key");
        let error = source.build().unwrap_err().to_string();
        assert!(error.contains("mount or path"), "{mount} {path}: {error}");
    }
    let roots = builder("https://vault.example", token()).add_root_certificates_pem("CANARY");
    let error = roots.build().unwrap_err().to_string();
    assert!(
        error.contains("not PEM certificates") && !error.contains("CANARY"),
        "{error}"
    );
}
