//! Exit codes and messages of failures.

use hallpass_testkit::raw::{self, RawServer};

use crate::support::{
    MISSING, User, default_profile, fault, profile, server, shown, stderr, stdout,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_failure_has_its_code() {
    let server = server().await;
    let user = User::of(&server);
    for (answer, code, says) in [
        ("invalid_client", 4, "invalid_client"),
        ("invalid_scope", 4, "invalid_scope"),
        ("status_503", 5, "HTTP 503"),
        ("status_204", 7, "HTTP 204"),
        ("redirect_to_nowhere", 3, "redirect"),
    ] {
        server.start_outage(fault(answer));
        let failed = user.run("token").code(code).stdout("");
        let told = stderr(&failed);
        assert!(
            told.starts_with("hallpass: ") && told.contains(says),
            "{answer}: {told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_up_wrongly_is_code_3() {
    let server = server().await;
    let user = User::new();
    let endpoint = server.token_endpoint();
    let good = default_profile(&server);
    for (profile, says) in [
        (String::new(), "nothing says which server to ask"),
        (
            good.replace("client_id", "clientid"),
            "did you mean `client_id`?",
        ),
        (good.replace("env:CLIENT_SECRET", "env:NOT_SET"), "NOT_SET"),
        (good.replace("env:CLIENT_SECRET", MISSING), "/no/such/file"),
        (good.replace("danger_allow", "# danger_allow"), "plain HTTP"),
        (
            good.clone() + "ca_file = \"/no/such/file\"",
            "/no/such/file",
        ),
        (good.clone() + "proxy = \"nonsense\"", "proxy"),
        (
            good.replace(
                &format!("token_endpoint = \"{endpoint}\""),
                "provider = \"auth0\"",
            ),
            "domain",
        ),
        (
            good.replace(
                &format!("token_endpoint = \"{endpoint}\""),
                "provider = \"aut0\"",
            ),
            "did you mean `auth0`?",
        ),
    ] {
        user.profile(&profile);
        let failed = user.run("token").code(3).stdout("");
        assert!(
            stderr(&failed).contains(says),
            "{says}: {}",
            stderr(&failed)
        );
    }
    assert_eq!(server.token_request_count(), 0);
}

#[test]
fn profiles_and_files_that_are_not_there_are_named() {
    let user = User::new();
    for (words, says) in [
        ("token -p prod", "there is no file"),
        ("token --config nowhere.toml", "nowhere.toml"),
        ("token --config .", "is no regular file"),
    ] {
        let failed = user.run(words).code(3);
        assert!(stderr(&failed).contains(says), "{}", stderr(&failed));
    }
    user.profile(&profile("prod", "https://login.example/"));
    let failed = user.run("token -p prd").code(3);
    assert!(
        stderr(&failed).contains("did you mean `prod`?"),
        "{}",
        stderr(&failed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verbose_tells_causes_and_steps() {
    let server = RawServer::always(raw::http(200, &[("content-type", "text/html")], "<p>")).await;
    let user = User::new();
    user.profile(&profile("default", &server.url("/token")));
    let short = stderr(&user.run("token").code(7));
    let long = stderr(&user.run("token -v").code(7));
    assert_eq!(short.lines().count(), 1, "{short}");
    assert!(
        long.contains("token fetch started") && long.contains(&short),
        "{long}"
    );

    // A port without a listener.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    user.profile(&profile("default", &format!("http://{free}/token")));
    let long = stderr(&user.run("token -v --timeout 1s").code(5));
    assert!(long.contains("  caused by: "), "{long}");
}

#[test]
fn colours_are_for_terminals() {
    let user = User::new();
    assert!(!shown(&user.run("token").code(3)).contains('\u{1b}'));
    let mut forced = user.hallpass("token");
    assert!(shown(&forced.env("CLICOLOR_FORCE", "1").assert().code(3)).contains('\u{1b}'));
    let mut no_colour = user.hallpass("token");
    let shown = shown(
        &no_colour
            .env("CLICOLOR_FORCE", "0")
            .env("NO_COLOR", "1")
            .assert()
            .code(3),
    );
    assert!(!shown.contains('\u{1b}'));
}

#[test]
fn a_wrong_command_line_is_code_2() {
    let user = User::new();
    for words in [
        "",
        "tokn",
        "token --scop",
        "request GET",
        "completions tcsh",
        "token --format yaml",
    ] {
        user.run(words).code(2).stdout("");
    }
    user.run("--help").code(0);
    user.run("--version").code(0);
    user.run("request --help").code(0);
}

/// `| head`: the reader closes the pipe before the end is written.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::{
        io::Read as _,
        process::{Command, Stdio},
    };

    for words in [&["completions", "zsh"][..], &["man"]] {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("hallpass"))
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut told = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut told)
            .unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), told.as_str()), (Some(0), ""));
    }
}

/// Windows PowerShell 5 writes UTF-8 with a byte order mark, and UTF-16 when its output is redirected.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_windows_powershell_is_read_or_told() {
    let server = server().await;
    let user = User::new();
    let text = default_profile(&server).replace('\n', "\r\n");
    user.profile(&format!("\u{feff}{text}"));
    user.prints("token");
    let utf16 = format!("\u{feff}{text}");
    let utf16: Vec<u8> = utf16.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(user.config(), utf16).unwrap();
    let told = stderr(&user.run("token").code(3));
    assert!(
        told.contains("is UTF-16") && told.contains("save it as UTF-8"),
        "{told}"
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_others_may_write_is_warned_of() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let server = server().await;
    let user = User::of(&server);
    assert_eq!(stderr(&user.run("token").success()), "");
    fs::set_permissions(user.config(), fs::Permissions::from_mode(0o666)).unwrap();
    let warned = stderr(&user.run("token").success());
    assert!(
        warned.contains("warning") && warned.contains("chmod go-w"),
        "{warned}"
    );
    assert!(!warned.contains(crate::support::ID), "{warned}");
}

/// `| head`: the exit code does not depend on the reader of the output.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_takes_no_exit_code_along() {
    use std::process::Stdio;

    let server = server().await;
    let user = User::of(&server);
    user.prints("token");
    let long = "x".repeat(1 << 20);
    let api = RawServer::always(raw::http(500, &[], &long)).await;
    let without_reader = |words: &str| {
        let described = user.hallpass(words);
        let mut command = std::process::Command::new(described.get_program());
        command.args(described.get_args()).env_clear();
        for (name, value) in described.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        (
            ended.status.code(),
            String::from_utf8(ended.stderr).unwrap(),
        )
    };
    let (code, told) = without_reader(&format!("request GET {}", api.url("/")));
    assert_eq!(code, Some(6), "{told}");
    assert!(told.contains("HTTP 500"), "{told}");
    assert_eq!(without_reader("token"), (Some(0), String::new()));
    user.profile("[profile.default]\n");
    assert_eq!(without_reader("doctor").0, Some(3));
}

/// Token requests and API requests treat a proxy alike.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_named_with_a_way_that_works() {
    let server = server().await;
    let user = User::of(&server);
    user.prints("token");
    let good = default_profile(&server);
    user.profile(&(good.clone() + "proxy = \"http://svc:CANARY@proxy.example:3128\"\n"));
    for words in ["token", "token --renew", "request GET http://127.0.0.1:9/"] {
        let told = stderr(&user.run(words).code(3));
        assert!(
            told.contains("proxy: the URL holds") && told.contains("`HTTPS_PROXY`"),
            "{told}"
        );
        assert!(!told.contains("CANARY"), "{told}");
    }

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = nobody.local_addr().unwrap();
    let remote = profile("default", "https://login.example/token");
    user.profile(&format!("{remote}proxy = \"http://{nobody}\"\n"));
    let told = stderr(&user.run("token --timeout 1s").code(5));
    assert!(
        told.contains(&format!("through the proxy {nobody} "))
            && told.contains("check that the proxy of `proxy` runs"),
        "{told}"
    );
    let mut variable = user.hallpass("token --timeout 1s");
    user.profile(&format!("{remote}proxy = \"system\"\n"));
    let failed = variable
        .env("HTTPS_PROXY", format!("http://{nobody}"))
        .assert();
    let told = stderr(&failed.code(5));
    assert!(
        told.contains(&format!("through the proxy {nobody} "))
            && told.contains("check that the proxy of the variable `HTTPS_PROXY` runs"),
        "{told}"
    );
    let mut socks = user.hallpass("token --timeout 1s");
    let failed = socks
        .env("ALL_PROXY", format!("socks5://{nobody}"))
        .assert();
    let told = stderr(&failed.code(5));
    assert!(told.contains("`ALL_PROXY` names a SOCKS proxy"), "{told}");
    user.profile(&profile("default", "https://no-such-host.invalid/token"));
    let mut unused = user.hallpass("token --timeout 1s");
    let failed = unused.env("HTTPS_PROXY", "http://proxy.example").assert();
    let told = stderr(&failed.code(5));
    assert!(told.contains("`HTTPS_PROXY` is set but not used"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_pause_is_told_with_its_length() {
    let busy = raw::http(429, &[("retry-after", "3600")], "");
    let server = RawServer::always(busy).await;
    let user = User::new();
    user.profile(&profile("default", &server.url("/token")));
    let told = stderr(&user.run("token").code(5));
    assert!(told.contains("try again in 1h"), "{told}");
    assert_eq!(server.request_count(), 1);
}

/// Another user who can write the file would choose the command that is run.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn no_command_is_run_for_a_file_that_others_may_write() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let server = server().await;
    let user = User::new();
    let ran = user.path("ran");
    let command = format!("command:touch {}", ran.display());
    user.profile(&default_profile(&server).replace("env:CLIENT_SECRET", &command));
    fs::set_permissions(user.config(), fs::Permissions::from_mode(0o666)).unwrap();
    let told = stderr(&user.run("token").code(3));
    assert!(
        told.contains("`client_secret`: no command is run"),
        "{told}"
    );
    assert!(!ran.exists());
    // Positive control: the file's mode makes the difference.
    fs::set_permissions(user.config(), fs::Permissions::from_mode(0o600)).unwrap();
    user.run("token").failure();
    assert!(ran.exists());
}

/// A Vault agent listens on loopback without TLS; the setting for the token endpoint applies to Vault too.
#[tokio::test(flavor = "multi_thread")]
async fn a_vault_on_loopback_is_asked_over_plain_http_where_that_is_allowed() {
    let found = r#"{"data":{"data":{"key":"s3cr3t"},"metadata":{"version":1}}}"#;
    let vault = RawServer::always(raw::json(200, found)).await;
    let token = r#"{"access_token":"t","token_type":"Bearer","expires_in":900}"#;
    let server = RawServer::always(raw::json(200, token)).await;
    let user = User::new();
    let profile = profile("default", &server.url("/token"));
    let profile = profile.replace("env:CLIENT_SECRET", "vault:secret/orders#key");
    let run = || {
        let mut command = user.hallpass("token --no-cache");
        let address = vault.url("");
        command.env("VAULT_ADDR", address).env("VAULT_TOKEN", "x");
        command.assert()
    };
    user.profile(&profile);
    assert_eq!(stdout(&run().success()), "t\n");
    let https = profile
        .replace("danger_allow_http_on_loopback = true\n", "")
        .replace("http://", "https://");
    user.profile(&https);
    let told = stderr(&run().code(3));
    assert!(told.contains("`danger_allow_http_on_loopback`"), "{told}");
    assert_eq!(vault.request_count(), 1);
}

/// Opening a FIFO without a writer would block forever.
#[cfg(unix)]
#[test]
fn a_fifo_is_no_file() {
    let user = User::new();
    let fifo = user.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let told = stderr(&user.run("token --config fifo").code(3));
    assert!(told.contains("is no regular file"), "{told}");
    let good = profile("default", "https://127.0.0.1:9/token");
    user.profile(&format!("{good}ca_file = \"{}\"\n", fifo.display()));
    for words in ["token", "doctor", "request GET https://127.0.0.1:9/"] {
        let told = shown(&user.run(words).code(3));
        assert!(
            told.contains("`ca_file`") && told.contains("is no regular file"),
            "{told}"
        );
    }
}

#[test]
fn where_nothing_is_set_all_ways_to_set_it_are_named() {
    let user = User::new();
    for words in ["token", "doctor"] {
        let told = shown(&user.run(words).code(3));
        for name in [
            "`provider`",
            "HALLPASS_ISSUER",
            "CAMALL_CLIENT_ID",
            "CAMALL_CLIENT_SECRET",
        ] {
            assert!(told.contains(name), "{told}");
        }
        assert!(told.lines().count() <= 3, "{told}");
    }
    user.profile(
        &(profile("default", "https://x.example/") + "parameters = { grant_type = 'password' }"),
    );
    let told = stderr(&user.run("token").code(3));
    assert!(
        told.contains("`grant_type` is always `client_credentials`"),
        "{told}"
    );
    let told = stderr(&user.run("completions").code(2));
    assert!(
        told.contains("`bash`, ") && told.contains("`zsh`"),
        "{told}"
    );
}
