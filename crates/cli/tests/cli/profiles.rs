//! The sources of settings and their precedence.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_testkit::raw::{self, RawServer};

use crate::support::{ID, SECRET, User, default_profile, profile, server, stderr};

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_selected_by_flag_variable_or_name() {
    let server = server().await;
    let endpoint = server.token_endpoint();
    let user = User::new();
    let asking = |name: &str, scope: &str| {
        profile(name, &endpoint).replace("\"orders.read\"", &format!("\"{scope}\""))
    };
    user.profile(
        &(asking("default", "orders.read") + &asking("w", "orders.write") + &asking("n", "")),
    );
    user.prints("token");
    user.hallpass("token")
        .env("HALLPASS_PROFILE", "w")
        .assert()
        .success();
    user.hallpass("token -p n")
        .env("HALLPASS_PROFILE", "w")
        .assert()
        .success();
    let asked = server.token_requests();
    let scopes: Vec<_> = asked
        .iter()
        .map(|request| request.parameter("scope"))
        .collect();
    assert_eq!(scopes, [Some("orders.read"), Some("orders.write"), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_set_by_variable_or_flag() {
    let server = server().await;
    let user = User::new();
    let good = profile("default", &server.token_endpoint());
    std::fs::write(user.path("good.toml"), good).unwrap();
    std::fs::write(user.path("bad.toml"), "nonsense").unwrap();
    user.hallpass("token")
        .env("HALLPASS_CONFIG", user.path("good.toml"))
        .assert()
        .success();
    user.hallpass("token")
        .env("HALLPASS_CONFIG", user.path("bad.toml"))
        .assert()
        .code(3);
    let flag = format!("token --config {}", user.path("good.toml").display());
    user.hallpass(&flag)
        .env("HALLPASS_CONFIG", user.path("bad.toml"))
        .assert()
        .success();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_overrides_the_profile() {
    let server = server().await;
    let user = User::new();
    user.profile(&profile("default", "https://elsewhere.example/token"));
    let mut command = user.hallpass("token");
    command
        .env("HALLPASS_TOKEN_ENDPOINT", server.token_endpoint())
        .env("HALLPASS_SCOPE", "orders.write")
        .env("HALLPASS_AUTHENTICATION", "client_secret_post")
        .env("HALLPASS_CLIENT_ID", ID)
        .env("HALLPASS_CLIENT_SECRET", SECRET)
        .env_remove("CLIENT_SECRET");
    command.assert().success();
    let asked = server.token_requests().remove(0);
    assert_eq!(asked.parameter("scope"), Some("orders.write"));
    assert_eq!(asked.parameter("client_id"), Some(ID));
}

/// A variable left in a shell must not send a profile's secret elsewhere, nor another secret to its server.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_sent_only_to_its_own_server() {
    let (server, elsewhere) = (server().await, server().await);
    let user = User::of(&server);
    let run = |words: &str, variables: &[(&str, &str)]| {
        let mut command = user.hallpass(words);
        command.envs(variables.iter().copied()).assert()
    };
    let place = elsewhere.token_endpoint();
    let other_server = [("HALLPASS_TOKEN_ENDPOINT", &*place)];
    let other_client = [
        ("HALLPASS_CLIENT_ID", "other"),
        ("HALLPASS_CLIENT_SECRET", "other-s3cr3t"),
    ];
    let other_secret = [("HALLPASS_CLIENT_SECRET", "other-s3cr3t")];
    let by_flag = format!("token --token-endpoint {place}");
    for (words, variables, named) in [
        (
            "token",
            &other_server[..],
            [
                "`HALLPASS_TOKEN_ENDPOINT`",
                "`client_secret` of the profile `default`",
            ],
        ),
        (
            "token",
            &other_client,
            [
                "`HALLPASS_CLIENT_SECRET`",
                "`token_endpoint` of the profile `default`",
            ],
        ),
        (
            "token",
            &other_secret,
            [
                "`HALLPASS_CLIENT_SECRET`",
                "`token_endpoint` of the profile `default`",
            ],
        ),
        (
            &by_flag,
            &[],
            [
                "`--token-endpoint`",
                "`client_secret` of the profile `default`",
            ],
        ),
        (
            "token --client-id other",
            &[],
            ["`--client-id`", "`client_secret` of the profile `default`"],
        ),
    ] {
        for words in [
            words,
            &words
                .replace("token", "doctor")
                .replace("doctor-", "token-"),
        ] {
            let failed = run(words, variables).code(3);
            let message = crate::support::shown(&failed);
            for name in named {
                assert!(message.contains(name), "{words}: {message}");
            }
            assert!(
                message.contains("--danger-allow-mixed-settings"),
                "{message}"
            );
            assert!(!message.contains("s3cr3t"), "{message}");
        }
    }
    assert_eq!(server.token_request_count(), 0);
    assert_eq!(elsewhere.token_request_count(), 0);

    // A profile named on the command line is used unchanged.
    for variables in [&other_server[..], &other_client, &other_secret] {
        run("token -p default --no-cache", variables).success();
    }
    assert_eq!(server.token_request_count(), 3);
    assert_eq!(elsewhere.token_request_count(), 0);

    // A flag allows both, and a variable equal to the profile's setting is not a conflict.
    run(&format!("{by_flag} --danger-allow-mixed-settings"), &[]).success();
    assert_eq!(elsewhere.token_request_count(), 1);
    let mine = server.token_endpoint();
    run("token", &[("HALLPASS_TOKEN_ENDPOINT", &mine)]).success();
    user.profile(&default_profile(&server).replace("CLIENT_SECRET", "HALLPASS_CLIENT_SECRET"));
    run("token --no-cache", &[("HALLPASS_CLIENT_SECRET", SECRET)]).success();
    assert_eq!(server.token_request_count(), 5);
    // Nor is it for a profile that is selected.
    let same = [
        ("HALLPASS_CLIENT_ID", ID),
        ("HALLPASS_CLIENT_SECRET", SECRET),
        ("HALLPASS_TOKEN_ENDPOINT", &mine),
    ];
    for variables in [&same[..2], &same[1..], &same] {
        run("token -p default --no-cache", variables).success();
    }
    assert_eq!(server.token_request_count(), 8);
}

/// The issuer named in assertions and the server that receives them are replaced together.
#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_for_one_server_is_not_sent_to_another() {
    let (one, other) = (
        RawServer::always(raw::json(404, "{}")).await,
        RawServer::always(raw::json(404, "{}")).await,
    );
    let user = User::new();
    user.prints("keygen --out client.pem");
    user.profile(&format!(
        "[profile.key]\ntoken_endpoint = '{}'\nissuer = '{}'\nclient_id = 'orders'\n\
         private_key = 'file:{}'\ndanger_allow_http_on_loopback = true\n",
        one.url("/token"),
        one.url(""),
        user.path("client.pem").display()
    ));
    let asked = |words: &str| {
        let mut command = user.hallpass(words);
        command.env("HALLPASS_PROFILE", "key");
        let (before_one, before_other) = (one.request_count(), other.request_count());
        command.assert().failure();
        (
            one.request_count() > before_one,
            other.request_count() > before_other,
        )
    };
    assert_eq!(asked("token"), (true, false));
    let issuer = other.url("");
    let by_flag = format!("token --issuer {issuer}");
    assert_eq!(asked(&by_flag), (false, false));
    // If that is allowed, only the other server is contacted.
    let mixed = format!("{by_flag} --danger-allow-mixed-settings");
    assert_eq!(asked(&mixed), (false, true));
    let mut named = user.hallpass("token -p key");
    named.env("HALLPASS_ISSUER", &issuer).assert().failure();
    let sent = String::from_utf8(one.requests().pop().unwrap()).unwrap();
    let assertion = sent.split("client_assertion=").nth(1).unwrap();
    let claims = assertion.split(['.', '&']).nth(1).unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims = String::from_utf8(claims).unwrap();
    assert!(
        claims.contains(&format!("\"aud\":\"{}\"", one.url(""))),
        "{claims}"
    );
}

#[test]
fn a_setting_without_effect_is_an_error() {
    let user = User::new();
    let secret = "client_secret = 'env:CLIENT_SECRET'\n";
    let key = "issuer = 'https://login.example'\nprivate_key = 'env:KEY'\n";
    let endpoint = "token_endpoint = 'https://login.example/token'\n";
    for (settings, named) in [
        (
            format!(
                "{endpoint}{secret}private_key = 'env:KEY'\nauthentication = 'client_secret_post'"
            ),
            "`private_key` has no effect: `authentication` is `client_secret_post`; remove it, or set `authentication` to a method that uses it, such as `private_key_jwt`",
        ),
        (
            format!("{endpoint}{secret}{key}authentication = 'private_key_jwt'"),
            "`client_secret` has no effect: `authentication` is `private_key_jwt`",
        ),
        (
            format!("{endpoint}{secret}key_id = '1'"),
            "`key_id` has no effect",
        ),
        (
            format!("{endpoint}{secret}bound_tokens = false"),
            "`bound_tokens` has no effect",
        ),
        (
            format!("{endpoint}{secret}authentication = 'none'"),
            "`client_secret` has no effect",
        ),
        (
            format!("{endpoint}{secret}openid_discovery = true"),
            "`openid_discovery` has no effect",
        ),
        (
            format!("{endpoint}{secret}variables = {{ tenant = 'x' }}"),
            "`variables` has no effect",
        ),
        (
            format!("{endpoint}{secret}danger_token_endpoint_as_audience = true"),
            "`danger_token_endpoint_as_audience` has no effect",
        ),
    ] {
        user.profile(&format!(
            "[profile.default]\nclient_id = 'orders'\n{settings}\n"
        ));
        let message = stderr(&user.run("token").code(3));
        assert!(message.contains(named), "{message}");
    }
}

/// Servers that identify clients by certificates, and expect their own address as the audience.
#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_names_certificate_and_token_endpoint() {
    let server = RawServer::always(raw::json(
        200,
        r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#,
    ))
    .await;
    let user = User::new();
    let keys = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["orders.example".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&keys).unwrap();
    std::fs::write(user.path("key.pem"), keys.serialize_pem()).unwrap();
    std::fs::write(user.path("crt.pem"), certificate.pem()).unwrap();
    let endpoint = server.url("/token");
    let file = |name: &str| format!("file:{}", user.path(name).display());
    user.profile(&format!(
        "[profile.default]\ntoken_endpoint = '{endpoint}'\nclient_id = 'orders'\n\
         private_key = '{}'\ncertificate = '{}'\nauthentication = 'private_key_jwt'\n\
         danger_token_endpoint_as_audience = true\ndanger_allow_http_on_loopback = true\n",
        file("key.pem"),
        file("crt.pem"),
    ));
    user.prints("token");
    let sent = String::from_utf8(server.requests().pop().unwrap()).unwrap();
    let assertion = sent.split("client_assertion=").nth(1).unwrap();
    let parts: Vec<String> = assertion
        .split(['.', '&'])
        .take(2)
        .map(|part| String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert!(parts[0].contains("\"x5t#S256\""), "{}", parts[0]);
    assert!(
        parts[1].contains(&format!("\"aud\":\"{endpoint}\"")),
        "{}",
        parts[1]
    );
    let report = user.prints("doctor");
    assert!(report.contains("identified by its certificate"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_read_from_their_references() {
    let server = server().await;
    let user = User::new();
    let good = profile("default", &server.token_endpoint());
    let file = user.path("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let path = file.to_str().unwrap();
    let command = if cfg!(windows) {
        serde_json::json!(["cmd", "/d", "/c", "type", path])
    } else {
        serde_json::json!(["cat", path])
    };
    for reference in [format!("file:{path}"), format!("command:{command}")] {
        user.profile(&good.replace("\"env:CLIENT_SECRET\"", &format!("'{reference}'")));
        user.prints("token --no-cache");
    }
    let mut from = user.hallpass("token --no-cache --danger-allow-mixed-settings");
    from.env("HALLPASS_CLIENT_SECRET_FROM", format!("file:{path}"))
        .assert()
        .success();
}

// covers: F-99, I-14
#[test]
fn a_secret_in_the_file_is_refused_and_not_printed() {
    let user = User::new();
    for line in [
        format!("client_secret = \"{SECRET}\""),
        format!("client_secret = {SECRET}"),
        format!("client_secret = \"{SECRET}"),
        format!("secret = \"{SECRET}\""),
        format!("timeout = \"{SECRET}\""),
        format!("\"{SECRET}{SECRET}\" = 1"),
    ] {
        user.profile(
            &profile("default", "https://login.example/")
                .replace("client_secret = \"env:CLIENT_SECRET\"", &line),
        );
        for words in [
            "token",
            "token -vv",
            "doctor",
            "doctor --json",
            "exec -- true",
            "request GET https://x.example/",
        ] {
            let message = user.run(words).code(3);
            let message = crate::support::shown(&message);
            assert!(!message.contains("CANARY"), "{line}: {message}");
            assert!(message.contains("line "), "{line}: {message}");
        }
    }
    // The hint lists the supported secret sources.
    user.profile(
        &profile("default", "https://login.example/").replace("env:CLIENT_SECRET", SECRET),
    );
    let message = stderr(&user.run("token").code(3));
    assert!(
        message.contains("env:NAME") && message.contains("file:"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lenient_responses_and_user_agent_have_effect() {
    let odd = r#"{"access_token":"t0ken","expires_in":3600}"#;
    let server = RawServer::always(raw::json(200, odd)).await;
    let user = User::new();
    let good = profile("default", &server.url("/token"));
    user.profile(&good);
    user.run("token --no-cache").code(7);
    user.profile(&format!(
        "{good}lenient_responses = true\nuser_agent = 'orders/1.0'\n"
    ));
    assert_eq!(user.prints("token --no-cache"), "t0ken\n");
    user.run(&format!("request GET {}", server.url("/")))
        .success();
    for sent in &server.requests()[1..] {
        let sent = String::from_utf8_lossy(sent).to_lowercase();
        assert!(sent.contains("user-agent: orders/1.0\r\n"), "{sent}");
    }
}

/// A password manager that waits for the user is started once, and its own error is shown.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_killed_after_its_timeout() {
    let server = server().await;
    let user = User::new();
    let script = user.path("slow.sh");
    std::fs::write(&script, "echo start >> started.log\nexec sleep 60\n").unwrap();
    let reference = format!("command:sh {}", script.display());
    let good = default_profile(&server).replace("env:CLIENT_SECRET", &reference);
    user.profile(&format!("{good}command_timeout = '1s'\n"));
    let message = stderr(&user.run("token").code(3));
    assert!(
        message.contains("did not end within 1s") && message.contains("`command_timeout`"),
        "{message}"
    );
    let starts = std::fs::read_to_string(user.path("started.log")).unwrap();
    assert_eq!(starts.lines().count(), 1);
    user.profile(&(default_profile(&server) + "command_timeout = '1s'\n"));
    let message = stderr(&user.run("token").code(3));
    assert!(
        message.contains("`command_timeout` has no effect"),
        "{message}"
    );
}
