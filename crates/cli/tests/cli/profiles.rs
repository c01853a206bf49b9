//! Where settings come from.

use crate::support::{ID, SECRET, User, profile, server, stderr};

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_chosen_by_flag_variable_or_name() {
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
async fn a_file_may_be_named_by_variable_and_by_flag() {
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
async fn the_environment_goes_over_the_profile() {
    let server = server().await;
    let user = User::new();
    user.profile(&profile("default", "https://elsewhere.example/token"));
    let mut command = user.hallpass("token");
    command
        .env("HALLPASS_TOKEN_ENDPOINT", server.token_endpoint())
        .env("HALLPASS_SCOPE", "orders.write")
        .env("HALLPASS_AUTHENTICATION", "form")
        .env("HALLPASS_CLIENT_SECRET", SECRET)
        .env_remove("CLIENT_SECRET");
    command.assert().success();
    let asked = server.token_requests().remove(0);
    assert_eq!(asked.parameter("scope"), Some("orders.write"));
    assert_eq!(asked.parameter("client_id"), Some(ID));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_read_where_the_reference_says() {
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
    let mut from = user.hallpass("token --no-cache");
    from.env("HALLPASS_CLIENT_SECRET_FROM", format!("file:{path}"))
        .assert()
        .success();
}

// covers: F-99, I-14
#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
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
            let told = user.run(words).code(3);
            let told = crate::support::shown(&told);
            assert!(!told.contains("CANARY"), "{line}: {told}");
            assert!(told.contains("line "), "{line}: {told}");
        }
    }
    // The hint says where a secret may be.
    user.profile(
        &profile("default", "https://login.example/").replace("env:CLIENT_SECRET", SECRET),
    );
    let told = stderr(&user.run("token").code(3));
    assert!(
        told.contains("env:NAME") && told.contains("file:"),
        "{told}"
    );
}
