//! Runs the command against scripted servers, as `tests/cases/*.toml` describe them: one named test per file.
//!
//! `tests/cases/README.md` describes the format.

// A test panics on anything unexpected.
#![allow(clippy::unwrap_used)]

mod case;
mod compare;
#[path = "../cli/support.rs"]
#[allow(dead_code)] // The other tests use the rest.
mod support;
mod tls;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hallpass_testkit::raw::{self, RawServer, Reply};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{self, Runtime};

use case::{Answer, Case, Content, Run};
use compare::Outcome;
use support::User;

fn main() -> ExitCode {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases");
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|known| known == "toml"))
        .collect();
    paths.sort();
    let mut trials = vec![Trial::test("a_wrong_expectation_fails", compare::can_fail)];
    trials.extend(paths.into_iter().map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let case = Case::read(&fs::read_to_string(&path).unwrap());
        let elsewhere = case.as_ref().is_ok_and(|case| case.unix && !cfg!(unix));
        Trial::test(name, move || check(&case?)).with_ignored_flag(elsewhere)
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn check(case: &Case) -> Result<(), Failed> {
    // The servers run on a worker thread, the commands on this one.
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut places = BTreeMap::new();
    let user = User::new();
    let home = user.path("").display().to_string();
    // A backslash would start an escape in TOML.
    let home = home.replace('\\', "/");
    places.insert("home".to_owned(), home.trim_end_matches('/').to_owned());
    places.insert("jwt".to_owned(), jwt_of_890_seconds());
    let closed = raw::refused_url()?;
    address("closed", closed.trim_end_matches('/'), &mut places);
    let mut servers = BTreeMap::new();
    for (name, answers) in &case.servers {
        let server = start(&runtime, name, answers, &mut places);
        if let Some((certificate, key)) = case.tls.get(name) {
            let pem = |name: &str| bytes(&case.file(name).unwrap().content, &places);
            let front = tls::start_front(server.address(), pem(certificate), pem(key));
            let url = runtime.block_on(front);
            address(name, &url, &mut places);
        }
        servers.insert(name.clone(), server);
    }
    for file in &case.files {
        let path = user.path(&file.name);
        fs::write(&path, bytes(&file.content, &places))?;
        #[cfg(unix)]
        if file.executable {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    for (number, run) in case.runs.iter().enumerate() {
        let outcome = run_command(run, case, &user, &servers, &places);
        let failed = |why| {
            format!(
                "run {} (`hallpass {}`): {why}\n{outcome}",
                number + 1,
                run.command
            )
        };
        compare::compare(&run.expected.fill_placeholders(&places), &outcome).map_err(failed)?;
    }
    Ok(())
}

fn start(
    runtime: &Runtime,
    name: &str,
    answers: &[Answer],
    places: &mut BTreeMap<String, String>,
) -> RawServer {
    let script = |url: &str| -> Vec<Reply> {
        address(name, url, places);
        answers.iter().map(|answer| reply(answer, places)).collect()
    };
    runtime.block_on(RawServer::start_with(script))
}

fn reply(answer: &Answer, places: &BTreeMap<String, String>) -> Reply {
    let headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), fill_placeholders(value, places)))
        .collect();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    raw::http(answer.status, &headers, bytes(&answer.body, places))
}

/// Runs the command and records the result.
fn run_command(
    run: &Run,
    case: &Case,
    user: &User,
    servers: &BTreeMap<String, RawServer>,
    places: &BTreeMap<String, String>,
) -> Outcome {
    let profile = run.profile.as_ref().unwrap_or(&case.profile);
    if !profile.is_empty() {
        let text = format!("[profile.default]\n{profile}\n{}", run.settings);
        user.profile(&fill_placeholders(&text, places));
    }
    let before: BTreeMap<_, _> = servers
        .iter()
        .map(|(name, server)| (name, server.request_count()))
        .collect();
    let mut command = user.hallpass(&fill_placeholders(&run.command, places));
    for (name, value) in case.environment.iter().chain(&run.environment) {
        command.env(name, fill_placeholders(value, places));
    }
    let output = command.output().unwrap();
    let mut sent = String::new();
    let mut requests = BTreeMap::new();
    for (name, server) in servers {
        let before = before[name];
        requests.insert(name.clone(), server.request_count() - before);
        for request in server.requests().into_iter().skip(before) {
            sent += &String::from_utf8_lossy(&request);
            sent += "\n";
        }
    }
    let files = run.expected.files.keys().map(|name| {
        let text = fs::read_to_string(user.path(name)).unwrap_or_default();
        (name.clone(), text)
    });
    Outcome {
        exit: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        requests,
        sent,
        files: files.collect(),
    }
}

fn bytes(content: &Content, places: &BTreeMap<String, String>) -> Vec<u8> {
    match content {
        Content::Text(text) => fill_placeholders(text, places).into_bytes(),
        Content::Base64(text) => BASE64_STANDARD.decode(text).unwrap(),
    }
}

/// `{NAME}` is replaced by the URL, `{NAME-host}` by host and port.
fn address(name: &str, url: &str, places: &mut BTreeMap<String, String>) {
    places.insert(name.to_owned(), url.to_owned());
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    places.insert(format!("{name}-host"), host.to_owned());
}

/// Returns an unsigned JWT, which nothing verifies.
fn jwt_of_890_seconds() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = format!(r#"{{"exp":{}}}"#, now.as_secs() + 890);
    let parts = [r#"{"alg":"RS256"}"#, &claims, "sig"];
    parts
        .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part))
        .join(".")
}

/// Replaces names in braces with addresses and the home directory.
fn fill_placeholders(text: &str, places: &BTreeMap<String, String>) -> String {
    places.iter().fold(text.to_owned(), |text, (name, place)| {
        text.replace(&format!("{{{name}}}"), place)
    })
}
