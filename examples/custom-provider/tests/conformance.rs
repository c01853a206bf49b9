//! The promises of `TokenSource`, and the behaviour specific to files.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use agent_file::AgentFile;
use hallpass_core::{Clock as _, ErrorKind, TokenRequest, TokenSource as _};
use hallpass_testkit::{ManualClock, conformance::Subject};

/// A directory of this test, with tokens as an agent would write them.
struct Agent(PathBuf);

impl Agent {
    fn start() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-file-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let agent = Self(folder);
        let hour = SystemTime::now() + Duration::from_secs(3_600);
        for name in [
            "default",
            "orders.read",
            "orders-read",
            "orders-read+orders-write",
        ] {
            agent.write(name, &format!("token-for-{name}"), hour);
        }
        agent
    }

    fn write(&self, name: &str, token: &str, expires: SystemTime) {
        let expires = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let text = format!("{token}\n{}\n", expires.as_secs());
        fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn subject() -> Subject {
    let agent = Agent::start();
    Subject::new(AgentFile::new(&agent.0))
        .secret("token-for-default")
        .scopes("orders-read", "orders-read orders-write")
        // This agent writes the scopes into its tokens. A real one has claims, or a server's log.
        .issued_for(|token| token.expose().to_owned())
        .with_unreachable_server(AgentFile::new("/nowhere/at/all"))
        .keep_alive(agent)
}

// All promises of the trait that apply to files.
hallpass_testkit::conformance!(promises, subject(), ignored: {
    reports_wrong_credentials: "reading a file takes no credentials",
    reports_retry_after: "reading a file has no rate limit",
});

fn refusal(source: &AgentFile, request: &TokenRequest) -> hallpass_core::TokenError {
    // The source never waits, so one poll is enough.
    let mut call = source.token(request);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match call.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result.unwrap_err(),
        std::task::Poll::Pending => panic!("a file was not read at once"),
    }
}

#[test]
fn a_malformed_token_is_reported_without_it() {
    let agent = Agent::start();
    let source = AgentFile::new(&agent.0);
    for text in [
        "",
        "CANARY-token",
        "CANARY-token\nsoon\n",
        "CANARY token\n9999999999\n",
    ] {
        fs::write(agent.0.join("default"), text).unwrap();
        let error = refusal(&source, &TokenRequest::new());
        assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{error}");
        assert!(
            !format!("{error} {error:?}").contains("CANARY"),
            "{error:?}"
        );
    }
}

#[test]
fn an_expired_token_is_not_returned() {
    let agent = Agent::start();
    let clock = ManualClock::new();
    agent.write("default", "old-token", clock.wall());
    let source = AgentFile::new(&agent.0).clock(clock);
    let error = refusal(&source, &TokenRequest::new());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient());
}

#[test]
fn no_scope_leaves_the_directory() {
    let agent = Agent::start();
    let source = AgentFile::new(&agent.0);
    let request = TokenRequest::new().with_scopes("../etc".parse().unwrap());
    assert_eq!(refusal(&source, &request).kind(), ErrorKind::RequestRefused);
}
