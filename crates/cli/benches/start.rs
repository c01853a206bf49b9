//! Time from process start to a cached token, compared with an empty program: both are started in turns by one parent.

// A benchmark panics on anything unexpected.
#![allow(clippy::unwrap_used)]

#[path = "../../../benches/rows.rs"]
mod rows;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use hallpass_testkit::{AuthorizationServer, Client};
use tempfile::TempDir;

/// The number of times that each program is started.
const RUNS: usize = 1_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = Client::new("orders-service", "s3cr3t").scopes("orders.read");
    let server = runtime.block_on(AuthorizationServer::builder().client(client).start());
    let home = TempDir::new().unwrap();
    let config = home.path().join("config.toml");
    let profile = format!(
        "[profile.default]\ntoken_endpoint = \"{}\"\nclient_id = \"orders-service\"\n\
         client_secret = \"env:SECRET\"\nscope = \"orders.read\"\ndanger_allow_http_on_loopback = true\n",
        server.token_endpoint()
    );
    fs::write(&config, profile).unwrap();
    let mut hallpass = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    hallpass
        .arg("token")
        .env("HALLPASS_CONFIG", &config)
        .env("HALLPASS_CACHE_DIR", home.path().join("cache"))
        .env("SECRET", "s3cr3t")
        .stdout(Stdio::null());
    let mut nothing = Command::new(nothing(home.path()));
    nothing.stdout(Stdio::null());

    // The first run fetches a token; all others find it in the cache.
    for _ in 0..20 {
        start(&mut hallpass);
        start(&mut nothing);
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(start(&mut hallpass));
        theirs.push(start(&mut nothing));
    }
    assert_eq!(server.token_request_count(), 1, "a run asked the server");
    rows::report("start/hallpass", rows::median(&mut ours), "ns");
    rows::report("start/nothing", rows::median(&mut theirs), "ns");
}

/// Measures the time from start to exit, in nanoseconds.
fn start(program: &mut Command) -> f64 {
    let began = Instant::now();
    let status = program.status().unwrap();
    let took = began.elapsed();
    assert!(status.success());
    took.as_secs_f64() * 1e9
}

/// Compiles a Rust program with an empty `main`, optimized.
fn nothing(folder: &Path) -> PathBuf {
    let source = folder.join("nothing.rs");
    fs::write(&source, "fn main() {}\n").unwrap();
    let program = folder.join(format!("nothing{}", env::consts::EXE_SUFFIX));
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(compiler);
    compile.args([
        "--edition",
        "2024",
        "-C",
        "opt-level=3",
        "-C",
        "strip=symbols",
        "-o",
    ]);
    assert!(
        compile
            .arg(&program)
            .arg(&source)
            .status()
            .unwrap()
            .success()
    );
    program
}
