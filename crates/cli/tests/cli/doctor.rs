//! `hallpass doctor`.

use std::time::Duration;

use serde_json::Value;

use crate::support::{ID, MISSING, SECRET, User, default_profile, profile, server, stderr, stdout};

fn steps(report: &Value) -> Vec<(&str, &str)> {
    let steps = report["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            (
                step["name"].as_str().unwrap(),
                step["status"].as_str().unwrap(),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_profile_passes_every_step() {
    let server = server().await;
    let user = User::of(&server);
    let report: Value = serde_json::from_str(&user.prints("doctor --json")).unwrap();
    assert_eq!(
        (&report["ok"], &report["exit_code"]),
        (&true.into(), &0.into())
    );
    assert_eq!(
        steps(&report),
        [
            ("configuration", "ok"),
            ("secret", "ok"),
            ("dns", "ok"),
            ("tcp", "ok"),
            ("tls", "skipped"),
            ("clock", "ok"),
            ("metadata", "skipped"),
            ("authentication", "ok"),
            ("token", "ok"),
            ("scopes", "ok"),
            ("lifetime", "ok"),
            ("binding", "skipped"),
            ("store", "skipped"),
        ]
    );
    let plain = user.prints("doctor");
    assert!(
        plain.is_ascii() && plain.starts_with("ok   configuration   profile `default` of "),
        "{plain}"
    );
    // Ticks are printed only on terminals, regardless of the locale.
    let mut unicode = user.hallpass("doctor");
    let piped = stdout(&unicode.env("LANG", "en_GB.UTF-8").assert().success());
    assert_eq!(piped, plain);
    // Every run fetched its own token: nothing was cached, and nothing was read from the cache.
    assert_eq!(server.token_request_count(), 3);
    assert!(!user.cache().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failed_step_sets_the_exit_code() {
    let server = server().await;
    let user = User::new();
    let good = default_profile(&server);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (profile, failed, code) in [
        ("nonsense".to_owned(), "configuration", 3),
        (good.replace("client_id", "client"), "configuration", 3),
        (
            good.replace("danger_allow", "# danger_allow"),
            "configuration",
            3,
        ),
        (good.replace("env:CLIENT_SECRET", MISSING), "secret", 3),
        (
            profile("default", "https://no-such-host.invalid/token"),
            "dns",
            5,
        ),
        (
            profile("default", &format!("http://{free}/token")),
            "tcp",
            5,
        ),
        (
            profile(
                "default",
                &server.token_endpoint().replace("http:", "https:"),
            ),
            "tls",
            5,
        ),
        (good.replace(ID, "nobody"), "authentication", 4),
        (good.replace("orders.read", "unknown"), "token", 4),
    ] {
        user.profile(&profile);
        let run = user.run("doctor --json --timeout 2s").code(code);
        let report: Value = serde_json::from_str(&stdout(&run)).unwrap();
        let steps = steps(&report);
        let at = steps.iter().position(|(name, _)| *name == failed).unwrap();
        assert_eq!(steps[at], (failed, "failed"), "{report:#}");
        assert!(
            steps[..at].iter().all(|(_, status)| *status != "failed"),
            "{report:#}"
        );
        assert!(
            steps[at + 1..]
                .iter()
                .all(|(_, status)| *status == "skipped"),
            "{report:#}"
        );
        assert_eq!(report["exit_code"], code);
        assert_eq!(stderr(&run), "");
        let plain = stdout(&user.run("doctor --timeout 2s").code(code));
        assert!(plain.contains(&format!("FAIL {failed}")), "{plain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_lifetime_is_a_warning() {
    let server = server().await;
    let user = User::of(&server);
    server.set_lifetime(Duration::from_secs(30));
    let report: Value = serde_json::from_str(&user.prints("doctor --json")).unwrap();
    assert_eq!(steps(&report)[10], ("lifetime", "warning"));
    assert!(report["steps"][10]["remedy"].is_string());
    assert!(!report.to_string().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_secret_fails_the_authentication_step() {
    let server = server().await;
    let user = User::of(&server);
    server.rotate_secret(ID, "another");
    let report = stdout(&user.run("doctor").code(4));
    let line = report
        .lines()
        .find(|line| line.contains(" authentication "));
    let line = line.unwrap();
    assert!(
        line.starts_with("FAIL") && line.contains("client_secret_basic, the default"),
        "{report}"
    );
    assert!(
        report.ends_with("skip not checked     token, scopes, lifetime, binding\n"),
        "{report}"
    );
    let report = stdout(
        &user
            .run("doctor --authentication client_secret_post")
            .code(4),
    );
    assert!(
        report.contains("FAIL authentication  client_secret_post: "),
        "{report}"
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_world_readable_secret_file_is_a_warning() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let server = server().await;
    let user = User::new();
    let file = user.path("secret");
    fs::write(&file, SECRET).unwrap();
    let reference = format!("file:{}", file.display());
    user.profile(&default_profile(&server).replace("env:CLIENT_SECRET", &reference));
    for (mode, status) in [(0o644, "warning"), (0o640, "ok"), (0o600, "ok")] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let report: Value = serde_json::from_str(&user.prints("doctor --json")).unwrap();
        assert_eq!(steps(&report)[1], ("secret", status), "{report:#}");
        let warned = report.to_string().contains("`chmod o= ");
        assert_eq!(warned, status == "warning");
    }
}

/// A secret as it comes out of a `.env` file, a Kubernetes `Secret` or an editor. The extra characters may belong to
/// it, so the request is sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_altered_secret_is_a_warning() {
    let server = server().await;
    let user = User::of(&server);
    for (secret, says) in [
        ("\"CANARY\"", "is wrapped in quotation marks"),
        (" CANARY", "begins or ends with white space"),
        ("Q0FOQVJZLUNBTkFSWQ==", "looks like text in base64"),
        ("{\"secret\":\"CANARY\"}", "looks like JSON"),
        ("CLIENT_SECRET=CANARY", "looks like `NAME=value`"),
    ] {
        let mut doctor = user.hallpass("doctor --json");
        let report = stdout(&doctor.env("CLIENT_SECRET", secret).assert().code(4));
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(steps(&report)[1], ("secret", "warning"), "{report:#}");
        let detail = report["steps"][1]["detail"].as_str().unwrap();
        assert!(detail.ends_with(says), "{detail}");
        assert!(!report.to_string().contains("CANARY"), "{report:#}");
    }
}

/// Milliseconds or a time instead of seconds, and a token whose own claim differs.
#[tokio::test(flavor = "multi_thread")]
async fn an_unusual_lifetime_is_a_warning() {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use hallpass_testkit::raw::{self, RawServer};

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let expires = now.unwrap().as_secs() + 900;
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let jwt = [
        part(r#"{"alg":"RS256"}"#),
        part(&format!("{{\"exp\":{expires}}}")),
        part("x"),
    ];
    let jwt = jwt.join(".");
    let answer = |token: &str, seconds: u64| {
        raw::json(
            200,
            format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds}}}"#),
        )
    };
    for (answer, status, says) in [
        (
            answer("t0ken", 900_000),
            "warning",
            "is a number of seconds",
        ),
        (
            answer("t0ken", 1_764_236_100),
            "warning",
            "is a number of seconds",
        ),
        (
            answer(&jwt, 3_600),
            "warning",
            "but the token's `exp` claim is 4",
        ),
        (answer(&jwt, 900), "ok", "valid for 15m"),
    ] {
        let server = RawServer::always(answer).await;
        let user = User::new();
        let good = profile("default", &server.url("/token"));
        user.profile(&good);
        let report: Value = serde_json::from_str(&user.prints("doctor --json")).unwrap();
        assert_eq!(steps(&report)[10], ("lifetime", status), "{report:#}");
        assert!(report["steps"][10].to_string().contains(says), "{report:#}");
        user.profile(&format!("{good}max_lifetime = '10m'\n"));
        let report: Value = serde_json::from_str(&user.prints("doctor --json")).unwrap();
        assert_eq!(steps(&report)[10], ("lifetime", "ok"), "{report:#}");
    }
}
