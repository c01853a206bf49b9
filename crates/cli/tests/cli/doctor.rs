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
async fn all_is_well() {
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
        ]
    );
    let plain = user.prints("doctor");
    assert!(
        plain.is_ascii() && plain.starts_with("ok   configuration   profile `default` of "),
        "{plain}"
    );
    let mut unicode = user.hallpass("doctor");
    let ticks = stdout(&unicode.env("LANG", "en_GB.UTF-8").assert().success());
    if cfg!(windows) {
        // The locale says nothing there of who reads a pipe.
        assert_eq!(ticks, plain);
    } else {
        assert!(
            ticks.starts_with("✓ configuration") && ticks.contains("\n- tls"),
            "{ticks}"
        );
    }
    // Each looked for itself: nothing was kept, nothing taken from what is kept.
    assert_eq!(server.token_request_count(), 3);
    assert!(!user.cache().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_step_that_fails_decides_and_has_a_remedy() {
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
        (good.replace(ID, "nobody"), "token", 4),
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
async fn what_may_not_last_is_a_warning() {
    let server = server().await;
    let user = User::of(&server);
    server.set_lifetime(Duration::from_secs(30));
    let report: Value = serde_json::from_str(&user.prints("doctor --json")).unwrap();
    assert_eq!(steps(&report)[10], ("lifetime", "warning"));
    assert!(report["steps"][10]["remedy"].is_string());
    assert!(!report.to_string().contains(SECRET));
}
