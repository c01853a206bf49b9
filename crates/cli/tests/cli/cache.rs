//! The token cache between runs.

use std::{
    fs,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use hallpass_testkit::raw::{self, RawServer};
use serde_json::Value;

use crate::support::{
    ENV, ID, SECRET, User, default_profile, fault, profile, server, shown, stderr, stdout,
};

// covers: F-70, F-74
#[tokio::test(flavor = "multi_thread")]
async fn twenty_runs_with_an_empty_cache_send_one_request() {
    const RUNS: usize = 20;
    let server = server().await;
    // Long enough for all runs to start before the first has its token.
    server.set_latency(Duration::from_millis(500));
    let user = Arc::new(User::of(&server));
    let start = Arc::new(Barrier::new(RUNS));
    let runs: Vec<_> = (0..RUNS)
        .map(|_| {
            let (user, start) = (user.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                user.prints("token")
            })
        })
        .collect();
    let tokens: Vec<String> = runs.into_iter().map(|run| run.join().unwrap()).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(server.token_request_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_token_needs_neither_server_nor_secret() {
    let server = server().await;
    let user = User::of(&server);
    let token = user.prints("token");
    server.start_outage(fault("status_503"));
    let mut again = user.hallpass("token");
    assert_eq!(
        stdout(&again.env_remove("CLIENT_SECRET").assert().success()),
        token
    );
    // A different scope is a different token.
    user.run("token --scope orders.write").code(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_neither_reads_nor_writes() {
    let server = server().await;
    let user = User::of(&server);
    user.prints("token --no-cache");
    assert!(!user.cache().exists());
    let kept = user.prints("token");
    assert_ne!(user.prints("token --no-cache"), kept);
    assert_eq!(user.prints("token"), kept);
    user.profile(&(default_profile(&server) + "cache = false\n"));
    assert_ne!(user.prints("token"), kept);
}

/// The checks of a fetched token apply to a cached one too.
#[tokio::test(flavor = "multi_thread")]
async fn a_cached_token_passes_the_checks_of_a_fetched_one() {
    let less = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600,"scope":"a"}"#;
    let server = RawServer::always(raw::json(200, less)).await;
    let user = User::new();
    let good = profile("default", &server.url("/token")).replace("orders.read", "a b");
    user.profile(&good);
    user.prints("token");
    user.prints("token");
    assert_eq!(server.request_count(), 1);
    user.profile(&format!("{good}require_granted_scopes = true\n"));
    for words in ["token", "token --no-cache", "exec -- true"] {
        user.run(words).code(4).stdout("");
    }
    user.profile(&format!("{good}max_lifetime = '10m'\n"));
    let token: Value = serde_json::from_str(&user.prints("token -f json")).unwrap();
    assert!(token["expires_in"].as_u64().unwrap() <= 600, "{token}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_replaces_the_cached_token() {
    let server = server().await;
    let user = User::of(&server);
    let first = user.prints("token --refresh");
    let second = user.prints("token --refresh");
    assert_ne!(first, second);
    assert_eq!(user.prints("token"), second);
    assert_eq!(server.token_request_count(), 2);
}

/// A run ends before a background refresh would: it waits for the refresh only in the last minute of its token.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_near_expiry_is_refreshed_or_printed() {
    let server = server().await;
    let user = User::of(&server);
    let first = user.prints("token");
    age(&user, 3_550);
    server.start_outage(fault("invalid_request"));
    assert_eq!(user.prints("token"), first);
    assert_eq!(server.token_request_count(), 2);
    server.end_outage();
    let second = user.prints("token");
    assert_ne!(second, first);
    assert_eq!(user.prints("token"), second);
    assert_eq!(server.token_request_count(), 3);
    // An expired token is not used at all.
    age(&user, 3_700);
    server.start_outage(fault("invalid_request"));
    user.run("token").code(4).stdout("");
}

/// The server takes longer than any run here, so only a run that does not wait for it ends in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_valid_for_a_minute_is_printed_at_once() {
    let server = server().await;
    let user = User::of(&server);
    let first = user.prints("token");
    age(&user, 3_500);
    server.set_latency(Duration::from_secs(60));
    let start = Instant::now();
    assert_eq!(user.prints("token"), first);
    let mut exec = user.hallpass("exec -- ");
    exec.args(ENV.split(' '));
    let printed = stdout(&exec.assert().success());
    assert!(printed.contains(first.trim_end()), "{printed}");
    // The refresh runs during the API call, and is cancelled with it.
    user.run(&format!("request GET {}", server.api_url("/orders")))
        .success();
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );

    // In its last minute a token waits for its successor, within a bound.
    age(&user, 50);
    assert_eq!(user.prints("token"), first);
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_during_refresh_is_not_printed() {
    let server = server().await;
    let user = User::of(&server);
    let first = user.prints("token");
    age(&user, 3_598);
    server.set_latency(Duration::from_secs(3));
    server.inject_faults([fault("invalid_request")]);
    user.run("token --format json").code(4).stdout("");
    // A successor is printed, even if it arrives late.
    let second = user.prints("token");
    assert_ne!(second, first);
    assert_eq!(server.token_request_count(), 3);
}

/// The cause may have been corrected at the server since.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_cached_between_runs() {
    let server = server().await;
    let user = User::of(&server);
    server.rotate_secret(ID, "CANARY-rotated");
    for _ in 0..3 {
        user.run("token").code(4).stdout("");
    }
    assert_eq!(server.token_request_count(), 3);
    server.rotate_secret(ID, SECRET);
    user.run("token").success();
    assert_eq!(server.token_request_count(), 4);
}

/// `expires_in` is in whole seconds: 0 would name a token that is of no use.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_less_than_a_second_left_is_not_printed() {
    let server = server().await;
    let user = User::of(&server);
    let first = user.prints("token");
    age(&user, 3_599);
    server.start_outage(fault("invalid_request"));
    user.run("token --format json").code(4).stdout("");
    server.end_outage();
    let second: Value = serde_json::from_str(&user.prints("token --format json")).unwrap();
    assert_ne!(second["access_token"], first.trim_end());
    assert!(second["expires_in"].as_u64().unwrap() > 1, "{second}");
}

// covers: C-23, F-36
#[tokio::test(flavor = "multi_thread")]
async fn a_cached_token_must_have_the_required_scopes() {
    let server = server().await;
    let user = User::new();
    let both = "\"orders.read orders.write\"";
    let lenient = default_profile(&server).replace("\"orders.read\"", both);
    user.profile(&lenient);
    server.start_outage(fault("scope_smaller"));
    assert_eq!(user.prints("token").trim_end(), "t");
    user.profile(&format!("{lenient}require_granted_scopes = true\n"));
    for (asked, words) in [(2, "token"), (3, "exec -- "), (4, "token --no-cache")] {
        let mut run = user.hallpass(words);
        if words.starts_with("exec") {
            run.args(ENV.split(' '));
        }
        let run = run.assert().code(4).stdout("");
        assert!(shown(&run).contains("orders.write"), "{}", shown(&run));
        assert_eq!(server.token_request_count(), asked);
    }
    // Once the server grants all scopes, the token is cached like any other.
    server.end_outage();
    let token = user.prints("token");
    assert_eq!(user.prints("token"), token);
    assert_eq!(server.token_request_count(), 5);
}

/// Makes the cached tokens older by this duration.
fn age(user: &User, seconds: u64) {
    let file = entries(user).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let (head, entry) = text.split_once('\n').unwrap();
    let mut head: Value = serde_json::from_str(head).unwrap();
    let mut entry: Value = serde_json::from_str(entry).unwrap();
    let requested_at = entry["requested_at_ms"].as_u64().unwrap();
    entry["requested_at_ms"] = (requested_at - seconds * 1_000).into();
    for time in ["written_ms", "expires_ms"] {
        head[time] = (head[time].as_u64().unwrap() - seconds * 1_000).into();
    }
    let entry = entry.to_string();
    head["bytes"] = entry.len().into();
    fs::write(&file, format!("{head}\n{entry}")).unwrap();
}

// covers: F-92
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_is_replaced() {
    let server = server().await;
    let user = User::of(&server);
    user.prints("token");
    let file = entries(&user).remove(0);
    let good = fs::read(&file).unwrap();
    for bad in [&b""[..], b"\xff\x00", b"{}\n", &good[..good.len() / 2]] {
        fs::write(&file, bad).unwrap();
        let before = server.token_request_count();
        let token = user.prints("token");
        assert_eq!(server.token_request_count(), before + 1);
        assert_eq!(user.prints("token"), token);
        assert_eq!(server.token_request_count(), before + 1);
    }
}

// covers: F-87, F-97
#[tokio::test(flavor = "multi_thread")]
async fn without_a_usable_directory_nothing_is_cached() {
    let server = server().await;
    let user = User::of(&server);
    fs::create_dir_all(user.path("cache")).unwrap();
    // A file in place of the directory: nobody can create the directory, not even root.
    fs::write(user.cache(), "").unwrap();
    user.prints("token");
    user.prints("token");
    assert_eq!(server.token_request_count(), 2);
    let message = user.run("token -v").success();
    assert!(
        shown(&message).contains("token store fault"),
        "{}",
        shown(&message)
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn cache_files_are_private_to_the_user() {
    use std::os::unix::fs::PermissionsExt as _;

    let server = server().await;
    let user = User::of(&server);
    user.prints("token");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&user.cache()), 0o700);
    for file in fs::read_dir(user.cache()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

/// A directory that the user names may contain other files: ours are in a subdirectory.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_configured_parent_directory_is_not_changed() {
    use std::os::unix::fs::PermissionsExt as _;

    let server = server().await;
    let user = User::of(&server);
    let directory = user.path("shared");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1777)).unwrap();
    let stranger = directory.join("report.new");
    let file = fs::File::create(&stranger).unwrap();
    let an_hour_ago = std::time::SystemTime::now() - Duration::from_secs(3_600);
    file.set_modified(an_hour_ago).unwrap();
    let run = |words: &str| {
        let mut command = user.hallpass(words);
        command.env("HALLPASS_CACHE_DIR", &directory);
        stdout(&command.assert().success())
    };
    assert_eq!(run("cache list"), "");
    assert!(!directory.join("hallpass").exists());
    let token = run("token");
    assert_eq!(run("token"), token);
    assert_eq!(run("cache list").lines().count(), 1);
    assert_eq!(run("cache clear"), "removed 1\n");
    assert!(stranger.exists());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&directory), 0o1777);
    assert_eq!(mode(&directory.join("hallpass")), 0o700);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_cache_directory_is_refused() {
    let server = server().await;
    let user = User::of(&server);
    let run = |words: &str| {
        let mut command = user.hallpass(words);
        command.env("HALLPASS_CACHE_DIR", "tokens").assert()
    };
    for words in ["token", "doctor", "cache list", "cache clear"] {
        let message = shown(&run(words).code(3));
        assert!(message.contains("`HALLPASS_CACHE_DIR`"), "{message}");
        assert!(message.contains("absolute path"), "{message}");
    }
    assert_eq!(server.token_request_count(), 0);
    // The cache is not used here.
    run("token --no-cache").success();
    assert!(!user.path("tokens").exists());
}

// covers: F-92
#[tokio::test(flavor = "multi_thread")]
async fn clear_removes_entries_and_names_other_files() {
    let server = server().await;
    let user = User::of(&server);
    user.prints("token");
    let entry = fs::read(entries(&user).remove(0)).unwrap();
    let named = |digit: &str| user.cache().join(format!("{}.token", digit.repeat(64)));
    let body = entry.iter().position(|byte| *byte == b'\n').unwrap();
    let other_files = [
        ("a", &b"a file of another program"[..]),
        ("b", br#"{"version":1}"#),
        ("c", b""),
        ("d", b"{\"key\":\"x\",\"version\":2}\n"),
    ];
    let damaged_entries = [("e", &entry[..=body]), ("f", &entry)];
    for (digit, content) in other_files.iter().chain(&damaged_entries) {
        fs::write(named(digit), content).unwrap();
    }
    let cleared = user.run("cache clear").success();
    assert_eq!(stdout(&cleared), "removed 3\n");
    let message = stderr(&cleared);
    assert_eq!(message.lines().count(), other_files.len(), "{message}");
    for (digit, content) in other_files {
        assert_eq!(fs::read(named(digit)).unwrap(), content);
        let path = named(digit).display().to_string();
        assert!(message.contains(&path), "{message}");
    }
    let listed = user.prints("cache list");
    assert_eq!(
        listed.matches("  not a cache entry\n").count(),
        4,
        "{listed}"
    );
}

// covers: F-98
#[tokio::test(flavor = "multi_thread")]
async fn entries_are_listed_without_tokens_and_cleared() {
    let server = server().await;
    let user = User::new();
    let endpoint = server.token_endpoint();
    user.profile(&(profile("one", &endpoint) + &profile("two", &endpoint)));
    let token = user.prints("-p one token --scope orders.write");
    user.prints("-p two token");
    let listed = user.prints("cache list");
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let line = listed.lines().next().unwrap();
    assert!(
        line.contains("  one  127.0.0.1:") && line.ends_with("  orders.write"),
        "{line}"
    );
    assert!(line.contains("expires in 59m"), "{line}");
    let json: Value = serde_json::from_str(&user.prints("cache list --json")).unwrap();
    assert_eq!(json[1]["profile"], "two");
    assert_eq!(json[1]["key"].as_str().unwrap().len(), 64);
    for shown in [&listed, &json.to_string()] {
        assert!(
            !shown.contains(token.trim_end()) && !shown.contains("orders-service"),
            "{shown}"
        );
    }
    assert_eq!(user.prints("-p one cache clear"), "removed 1\n");
    assert!(!user.prints("cache list").contains("  one  "));
    assert_eq!(user.prints("cache clear"), "removed 1\n");
    let empty = user.run("cache list").success();
    assert_eq!(stdout(&empty), "");
    assert!(stderr(&empty).starts_with("no tokens are cached in "));
    assert_eq!(user.prints("cache list --json"), "[]\n");
    assert_eq!(entries(&user).len(), 0);
}

fn entries(user: &User) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(user.cache())
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|ending| ending == "token"))
        .collect()
}
