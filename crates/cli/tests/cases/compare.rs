//! Compares the result of a run with what is expected.

use std::{collections::BTreeMap, fmt};

use hallpass_testkit::leak;
use libtest_mimic::Failed;

use crate::{case::Expectation, support::SECRET};

/// The outcome of a run.
pub(crate) struct Outcome {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The number of requests to each server.
    pub(crate) requests: BTreeMap<String, usize>,
    /// All requests, concatenated.
    pub(crate) sent: String,
    pub(crate) files: BTreeMap<String, String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit: {:?}\nrequests: {:?}\n-- stdout\n{}\n-- stderr\n{}\n-- sent\n{}",
            self.exit, self.requests, self.stdout, self.stderr, self.sent
        )
    }
}

pub(crate) fn compare(expected: &Expectation, outcome: &Outcome) -> Result<(), String> {
    if outcome.exit != Some(expected.exit) {
        return Err(format!("the exit code is not {}", expected.exit));
    }
    if outcome.requests != expected.requests {
        return Err(format!("the requests are not {:?}", expected.requests));
    }
    for (place, exact, text) in [
        ("stdout", &expected.stdout, &outcome.stdout),
        ("stderr", &expected.stderr, &outcome.stderr),
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
    let [stdout, stderr, requests] = [&outcome.stdout, &outcome.stderr, &outcome.sent];
    compare_pieces(
        "stdout",
        stdout,
        &expected.stdout_has,
        &expected.stdout_lacks,
        shown,
    )?;
    compare_pieces(
        "stderr",
        stderr,
        &expected.stderr_has,
        &expected.stderr_lacks,
        shown,
    )?;
    compare_pieces(
        "a request",
        requests,
        &expected.sent_has,
        &expected.sent_lacks,
        sent,
    )?;
    if outcome.files != expected.files {
        return Err(format!("the files are {:?}", outcome.files));
    }
    // No case expects the secret in the output.
    match leak::find(&format!("{}\n{}", outcome.stdout, outcome.stderr), SECRET) {
        Some(spelling) => Err(format!("the secret is shown, spelled as {spelling:?}")),
        None => Ok(()),
    }
}

fn compare_pieces(
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
    let outcome = Outcome {
        exit: Some(4),
        stdout: "out\n".to_owned(),
        stderr: "err\n".to_owned(),
        requests: requests.clone(),
        sent: "POST /token".to_owned(),
        files: files.clone(),
    };
    let right = Expectation {
        exit: 4,
        requests,
        stdout: Some("out\n".to_owned()),
        stderr: Some("err\n".to_owned()),
        stdout_has: vec!["out".to_owned()],
        stderr_has: vec!["err".to_owned()],
        sent_has: vec!["POST".to_owned()],
        files,
        ..Expectation::default()
    };
    compare(&right, &outcome)?;
    let wrong: [fn(&mut Expectation); 11] = [
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
        if compare(&expected, &outcome).is_ok() {
            return Err(format!("wrong expectation {number} is not noticed").into());
        }
    }
    let leaky = Outcome {
        stderr: format!("err\n{SECRET}"),
        ..outcome
    };
    let anything = Expectation {
        stderr: None,
        ..right
    };
    match compare(&anything, &leaky) {
        Ok(()) => Err("the secret on stderr is not noticed".into()),
        Err(_) => Ok(()),
    }
}
