use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use hallpass_core::TokenRequest;

use super::{
    Rule, Subject,
    checks::{self, Finding, MAX_CALLS},
};
use crate::leak::{self, Capture};

/// The timeout of each step of a rule: creating the subject, the first token, the check.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// A rule that a source breaks, or that could not be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The observation, or the missing part of the subject. It holds neither the subject's secrets nor a panic's text.
    pub seen: String,
    /// False if the rule was not checked: the subject lacks something, or the source yields no token.
    pub checked: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, seen, .. } = self;
        if !self.checked {
            return write!(
                f,
                "the rule {rule} was not checked: {seen}\n  promise: {}\n  to do:   \
                 complete the subject, or list the test under `ignored` in `conformance!`, with the reason",
                rule.promise(),
            );
        }
        write!(
            f,
            "the source breaks the rule {rule}\n  promise: {}\n  seen:    {seen}\n  to do:   {}",
            rule.promise(),
            rule.remedy()
        )
    }
}

impl std::error::Error for Violation {}

/// The progress of a rule.
enum Step {
    /// Includes the time that the subject's limit adds.
    SubjectMade(Duration),
    TokenYielded,
    End(Result<(), Finding>),
}

/// Checks a fresh subject against one rule. Blocks until the result is known, for at most ten seconds per step,
/// besides the waits for [`Subject::limited_to`]; call it outside of an asynchronous context.
///
/// # Errors
///
/// The [`Violation`], with the observation and the advice. A rule that cannot be checked is also an error.
pub fn check<F>(rule: Rule, subject: impl FnOnce() -> F + Send + 'static) -> Result<(), Violation>
where
    F: Future<Output = Subject>,
{
    let (report, steps) = mpsc::channel();
    // Not joined: a thread that blocks forever must not hang the test.
    thread::spawn(move || {
        let end = catch_unwind(AssertUnwindSafe(|| walk(rule, subject, &report)));
        // The panic's text may hold a secret; the panic hook has printed it already.
        let end = end.unwrap_or_else(|_| Err(Finding::Broken("it panicked".to_owned())));
        let _ = report.send(Step::End(end));
    });
    let mut doing = "made";
    let mut deadline = STEP_TIMEOUT;
    let outcome = loop {
        match steps.recv_timeout(deadline) {
            Ok(Step::SubjectMade(waits)) => {
                doing = "asked";
                deadline = STEP_TIMEOUT.saturating_add(waits);
            }
            Ok(Step::TokenYielded) => doing = "checked",
            Ok(Step::End(outcome)) => break outcome,
            Err(_) => {
                break Err(Finding::Broken(format!(
                    "it did not end within {deadline:?}"
                )));
            }
        }
    };
    let violation = |seen, checked| Violation {
        rule,
        seen,
        checked,
    };
    match (outcome, doing) {
        (Ok(()), _) => Ok(()),
        (Err(Finding::NotChecked(lacks)), _) => Err(violation(lacks, false)),
        (Err(_), "asked") if rule != Rule::ReturnsToken => {
            let seen = "the source yields no token, see the rule ReturnsToken";
            Err(violation(seen.to_owned(), false))
        }
        (Err(Finding::Broken(seen)), "made") => {
            let seen = format!("the subject could not be made: {seen}");
            Err(violation(seen, true))
        }
        (Err(Finding::Broken(seen)), _) => Err(violation(seen, true)),
    }
}

fn walk<F>(
    rule: Rule,
    subject: impl FnOnce() -> F,
    report: &mpsc::Sender<Step>,
) -> Result<(), Finding>
where
    F: Future<Output = Subject>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("there is no runtime: {error}"))?;
    let outcome = runtime.block_on(async {
        let capture = Capture::start();
        let subject = subject().await;
        if let Some(mistake) = &subject.mistake {
            // Reported first: the subject could not be created.
            return Err(Finding::Broken(mistake.clone()));
        }
        let _ = report.send(Step::SubjectMade(subject.longest_wait(MAX_CALLS)));
        let outcome = decide(rule, &subject, &capture, report).await;
        outcome.map_err(|finding| without_secrets(finding, &subject.secrets))
    });
    // A stuck task must not block the thread.
    runtime.shutdown_background();
    outcome
}

async fn decide(
    rule: Rule,
    subject: &Subject,
    capture: &Capture,
    report: &mpsc::Sender<Step>,
) -> Result<(), Finding> {
    let token = subject.ask(&TokenRequest::default()).await?;
    let _ = report.send(Step::TokenYielded);
    checks::run(rule, subject, &token, capture).await
}

/// Removes secrets from a finding: an error's text comes from the source.
fn without_secrets(finding: Finding, secrets: &[String]) -> Finding {
    match finding {
        Finding::Broken(seen)
            if secrets
                .iter()
                .any(|secret| leak::find(&seen, secret).is_some()) =>
        {
            Finding::Broken("(not shown, since it holds a secret)".to_owned())
        }
        finding => finding,
    }
}
