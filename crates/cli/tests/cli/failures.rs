//! Exit codes and words of what fails.

use hallpass_testkit::raw::{self, RawServer};

use crate::support::{MISSING, User, default_profile, fault, profile, server, shown, stderr};

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
        ("token --config .", "is no file"),
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

    // A port that nobody listens at.
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

/// `| head`: the reader has gone before the end is written.
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

/// Windows PowerShell 5 writes UTF-8 with a mark, and UTF-16 where its output is redirected.
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
