//! Compares the result of a run with what is expected.

use std::{collections::BTreeMap, fmt};

use hallpass_testkit::leak;
use libtest_mimic::Failed;

use crate::{case::Expected, support::SECRET};

/// The outcome of a run.
pub(crate) struct Seen {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The number of requests to each server.
    pub(crate) requests: BTreeMap<String, usize>,
    /// All requests, concatenated.
    pub(crate) sent: String,
    pub(crate) files: BTreeMap<String, String>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit: {:?}\nrequests: {:?}\n-- stdout\n{}\n-- stderr\n{}\n-- sent\n{}",
            self.exit, self.requests, self.stdout, self.stderr, self.sent
        )
    }
}

pub(crate) fn judge(expected: &Expected, seen: &Seen) -> Result<(), String> {
    if seen.exit != Some(expected.exit) {
        return Err(format!("the exit code is not {}", expected.exit));
    }
    if seen.requests != expected.requests {
        return Err(format!("the requests are not {:?}", expected.requests));
    }
    for (place, exact, text) in [
        ("stdout", &expected.stdout, &seen.stdout),
        ("stderr", &expected.stderr, &seen.stderr),
    ] {
        if exact.as_ref().is_some_and(|exact| exact != text) {
            return Err(format!("{place} is another one"));
        }
    }
    let shown = |text: &str, piece: &str| text.contains(piece);
    // In any usual encoding; header names are case-insensitive.
    let sent = |text: &str, piece: &str| {
        let lower = text.to_lowercase().contains(&piece.to_lowercase());
        lower || leak::find(text, piece).is_some()
    };
    let [stdout, stderr, requests] = [&seen.stdout, &seen.stderr, &seen.sent];
    pieces(
        "stdout",
        stdout,
        &expected.stdout_has,
        &expected.stdout_lacks,
        shown,
    )?;
    pieces(
        "stderr",
        stderr,
        &expected.stderr_has,
        &expected.stderr_lacks,
        shown,
    )?;
    pieces(
        "a request",
        requests,
        &expected.sent_has,
        &expected.sent_lacks,
        sent,
    )?;
    if seen.files != expected.files {
        return Err(format!("the files are {:?}", seen.files));
    }
    // No case expects the secret in the output.
    match leak::find(&format!("{}\n{}", seen.stdout, seen.stderr), SECRET) {
        Some(spelling) => Err(format!("the secret is shown, spelled as {spelling:?}")),
        None => Ok(()),
    }
}

fn pieces(
    place: &str,
    text: &str,
    has: &[String],
    lacks: &[String],
    found: impl Fn(&str, &str) -> bool,
) -> Result<(), String> {
    if let Some(piece) = has.iter().find(|piece| !found(text, piece)) {
        return Err(format!("{place} lacks `{piece}`"));
    }
    match lacks.iter().find(|piece| found(text, piece)) {
        Some(piece) => Err(format!("{place} holds `{piece}`")),
        None => Ok(()),
    }
}

/// Every wrong expectation is detected.
pub(crate) fn can_fail() -> Result<(), Failed> {
    let files = BTreeMap::from([("log".to_owned(), "started".to_owned())]);
    let requests = BTreeMap::from([("server".to_owned(), 1)]);
    let seen = Seen {
        exit: Some(4),
        stdout: "out\n".to_owned(),
        stderr: "err\n".to_owned(),
        requests: requests.clone(),
        sent: "POST /token".to_owned(),
        files: files.clone(),
    };
    let right = Expected {
        exit: 4,
        requests,
        stdout: Some("out\n".to_owned()),
        stderr: Some("err\n".to_owned()),
        stdout_has: vec!["out".to_owned()],
        stderr_has: vec!["err".to_owned()],
        sent_has: vec!["POST".to_owned()],
        files,
        ..Expected::default()
    };
    judge(&right, &seen)?;
    let wrong: [fn(&mut Expected); 11] = [
        |expected| expected.exit = 3,
        |expected| expected.requests = BTreeMap::from([("server".to_owned(), 2)]),
        |expected| expected.stdout = Some("out".to_owned()),
        |expected| expected.stderr = Some(String::new()),
        |expected| expected.stdout_has = vec!["err".to_owned()],
        |expected| expected.stderr_has = vec!["out".to_owned()],
        |expected| expected.sent_has = vec!["GET".to_owned()],
        |expected| expected.stdout_lacks = vec!["out".to_owned()],
        |expected| expected.stderr_lacks = vec!["err".to_owned()],
        |expected| expected.sent_lacks = vec!["/token".to_owned()],
        |expected| expected.files = BTreeMap::from([("log".to_owned(), String::new())]),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        let mut expected = right.clone();
        change(&mut expected);
        if judge(&expected, &seen).is_ok() {
            return Err(format!("wrong expectation {number} is not noticed").into());
        }
    }
    let leaky = Seen {
        stderr: format!("err\n{SECRET}"),
        ..seen
    };
    let anything = Expected {
        stderr: None,
        ..right
    };
    match judge(&anything, &leaky) {
        Ok(()) => Err("the secret on stderr is not noticed".into()),
        Err(_) => Ok(()),
    }
}
