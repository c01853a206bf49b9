//! Exit codes and messages of failures.

use hallpass_testkit::raw::{self, RawServer};

use crate::support::{
    MISSING, User, default_profile, fault, profile, server, shown, stderr, stdout,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_failure_has_its_exit_code() {
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
        let message = stderr(&failed);
        assert!(
            message.starts_with("hallpass: ") && message.contains(says),
            "{answer}: {message}"
        );
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_is_exit_code_3() {
    let server = server().await;
    let user = User::new();
    let endpoint = server.token_endpoint();
    let good = default_profile(&server);
    for (profile, says) in [
        (String::new(), "the authorization server is not set"),
        (
            good.replace("client_id", "clientid"),
            "a similar name exists: `client_id`",
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
            "a similar name exists: `auth0`",
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
fn missing_profiles_and_files_are_named() {
    let user = User::new();
    for (words, says) in [
        ("token -p prod", "there is no file"),
        ("token --config nowhere.toml", "nowhere.toml"),
        ("token --config .", "is not a regular file"),
    ] {
        let failed = user.run(words).code(3);
        assert!(stderr(&failed).contains(says), "{}", stderr(&failed));
    }
    user.profile(&profile("prod", "https://login.example/"));
    let failed = user.run("token -p prd").code(3);
    assert!(
        stderr(&failed).contains("a similar name exists: `prod`"),
        "{}",
        stderr(&failed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verbose_prints_causes_and_steps() {
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
fn colors_are_for_terminals() {
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
fn an_invalid_command_line_is_exit_code_2() {
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
    user.run("help --help").code(0);
    // One line, as for each other error.
    let message = stderr(&user.run("request GET").code(2));
    assert_eq!(
        message,
        "hallpass: missing arguments: `<URL>`; write it as `hallpass request <METHOD> <URL>`\n"
    );
}

/// `| head`: the reader closes the pipe before the end is written.
#[test]
fn a_closed_output_is_not_an_error() {
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
        let mut message = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut message)
            .unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), message.as_str()), (Some(0), ""));
    }
}

/// Windows PowerShell 5 writes UTF-8 with a byte order mark, and UTF-16 when its output is redirected.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_windows_powershell_are_read_or_named() {
    let server = server().await;
    let user = User::new();
    let text = default_profile(&server).replace('\n', "\r\n");
    user.profile(&format!("\u{feff}{text}"));
    user.prints("token");
    let utf16 = format!("\u{feff}{text}");
    let utf16: Vec<u8> = utf16.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(user.config(), utf16).unwrap();
    let message = stderr(&user.run("token").code(3));
    assert!(
        message.contains("is UTF-16") && message.contains("save it as UTF-8"),
        "{message}"
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_writable_by_others_causes_a_warning() {
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
async fn a_closed_output_does_not_change_the_exit_code() {
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
    let (code, message) = without_reader(&format!("request GET {}", api.url("/")));
    assert_eq!(code, Some(6), "{message}");
    assert!(message.contains("HTTP 500"), "{message}");
    assert_eq!(without_reader("token"), (Some(0), String::new()));
    user.profile("[profile.default]\n");
    assert_eq!(without_reader("doctor").0, Some(3));
}

/// Token requests and API requests treat a proxy alike.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_failure_names_the_proxy_and_its_setting() {
    let server = server().await;
    let user = User::of(&server);
    user.prints("token");
    let good = default_profile(&server);
    user.profile(&(good.clone() + "proxy = \"http://svc:CANARY@proxy.example:3128\"\n"));
    for words in [
        "token",
        "token --refresh",
        "request GET http://127.0.0.1:9/",
    ] {
        let message = stderr(&user.run(words).code(3));
        assert!(
            message.contains("proxy: the URL contains") && message.contains("`HTTPS_PROXY`"),
            "{message}"
        );
        assert!(!message.contains("CANARY"), "{message}");
    }

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = nobody.local_addr().unwrap();
    let remote = profile("default", "https://login.example/token");
    user.profile(&format!("{remote}proxy = \"http://{nobody}\"\n"));
    let message = stderr(&user.run("token --timeout 1s").code(5));
    assert!(
        message.contains(&format!("through the proxy {nobody} "))
            && message.contains("check that the proxy of `proxy` runs"),
        "{message}"
    );
    let mut variable = user.hallpass("token --timeout 1s");
    user.profile(&format!("{remote}proxy = \"system\"\n"));
    let failed = variable
        .env("HTTPS_PROXY", format!("http://{nobody}"))
        .assert();
    let message = stderr(&failed.code(5));
    assert!(
        message.contains(&format!("through the proxy {nobody} "))
            && message.contains("check that the proxy of the variable `HTTPS_PROXY` runs"),
        "{message}"
    );
    let mut socks = user.hallpass("token --timeout 1s");
    let failed = socks
        .env("ALL_PROXY", format!("socks5://{nobody}"))
        .assert();
    let message = stderr(&failed.code(5));
    assert!(
        message.contains("`ALL_PROXY` names a SOCKS proxy"),
        "{message}"
    );
    user.profile(&profile("default", "https://no-such-host.invalid/token"));
    let mut unused = user.hallpass("token --timeout 1s");
    let failed = unused.env("HTTPS_PROXY", "http://proxy.example").assert();
    let message = stderr(&failed.code(5));
    assert!(
        message.contains("`HTTPS_PROXY` is set but not used"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retry_delay_of_the_server_is_printed() {
    let busy = raw::http(429, &[("retry-after", "3600")], "");
    let server = RawServer::always(busy).await;
    let user = User::new();
    user.profile(&profile("default", &server.url("/token")));
    let message = stderr(&user.run("token").code(5));
    assert!(message.contains("try again in 1h"), "{message}");
    assert_eq!(server.request_count(), 1);
}

/// Another user who can write the file would choose the command that is run.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn no_command_is_run_from_a_file_writable_by_others() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let server = server().await;
    let user = User::new();
    let ran = user.path("ran");
    let command = format!("command:touch {}", ran.display());
    user.profile(&default_profile(&server).replace("env:CLIENT_SECRET", &command));
    fs::set_permissions(user.config(), fs::Permissions::from_mode(0o666)).unwrap();
    let message = stderr(&user.run("token").code(3));
    assert!(
        message.contains("`client_secret`: no command is run from a file"),
        "{message}"
    );
    assert!(!ran.exists());
    // Positive control: the file's mode makes the difference.
    fs::set_permissions(user.config(), fs::Permissions::from_mode(0o600)).unwrap();
    user.run("token").failure();
    assert!(ran.exists());
}

/// A Vault agent listens on loopback without TLS; the setting for the token endpoint applies to Vault too.
#[tokio::test(flavor = "multi_thread")]
async fn vault_on_loopback_is_read_over_http_if_allowed() {
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
    let message = stderr(&run().code(3));
    assert!(
        message.contains("`danger_allow_http_on_loopback`"),
        "{message}"
    );
    assert_eq!(vault.request_count(), 1);
}

/// Opening a FIFO without a writer would block forever.
#[cfg(unix)]
#[test]
fn a_fifo_is_not_read_as_a_file() {
    let user = User::new();
    let fifo = user.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let message = stderr(&user.run("token --config fifo").code(3));
    assert!(message.contains("is not a regular file"), "{message}");
    let good = profile("default", "https://127.0.0.1:9/token");
    user.profile(&format!("{good}ca_file = \"{}\"\n", fifo.display()));
    for words in ["token", "doctor", "request GET https://127.0.0.1:9/"] {
        let message = shown(&user.run(words).code(3));
        assert!(
            message.contains("`ca_file`") && message.contains("is not a regular file"),
            "{message}"
        );
    }
}

#[test]
fn a_missing_server_names_all_ways_to_set_it() {
    let user = User::new();
    for words in ["token", "doctor"] {
        let message = shown(&user.run(words).code(3));
        for name in [
            "`provider`",
            "HALLPASS_ISSUER",
            "CAMALL_CLIENT_ID",
            "CAMALL_CLIENT_SECRET",
        ] {
            assert!(message.contains(name), "{message}");
        }
        assert!(message.lines().count() <= 3, "{message}");
    }
    user.profile(
        &(profile("default", "https://x.example/") + "parameters = { grant_type = 'password' }"),
    );
    let message = stderr(&user.run("token").code(3));
    assert!(
        message.contains("`grant_type` is not an extra parameter"),
        "{message}"
    );
    let message = stderr(&user.run("completions").code(2));
    assert!(
        message.contains("`bash`, ") && message.contains("`zsh`"),
        "{message}"
    );
}
