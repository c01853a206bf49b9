use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use hallpass_core::TokenRequest;

use super::{Rule, Subject, checks};
use crate::leak::Capture;

/// For each step of a rule: the subject is made, asked once, checked.
const DEADLINE: Duration = Duration::from_secs(10);

/// A rule that a source breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was seen. It holds no secret.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the source breaks the rule {}\n  promise: {}\n  seen:    {}\n  to do:   {}",
            self.rule,
            self.rule.promise(),
            self.seen,
            self.rule.remedy()
        )
    }
}

impl std::error::Error for Violation {}

/// How far a rule has come.
enum Step {
    SubjectMade,
    TokenYielded,
    End(Result<(), String>),
}

/// Holds a fresh subject to one rule. Blocks until it is decided, ten seconds at most for each of its steps; outside of
/// an asynchronous context.
///
/// # Errors
///
/// The [`Violation`], with what was seen and what to do.
pub fn check<F>(rule: Rule, subject: impl FnOnce() -> F + Send + 'static) -> Result<(), Violation>
where
    F: Future<Output = Subject>,
{
    let (report, steps) = mpsc::channel();
    // Not joined: a thread that is blocked for ever must not hold the test.
    thread::spawn(move || {
        let end = catch_unwind(AssertUnwindSafe(|| walk(rule, subject, &report)));
        let end = end.unwrap_or_else(|panic| Err(format!("it panicked: {}", message(&*panic))));
        let _ = report.send(Step::End(end));
    });
    let mut doing = "made";
    let outcome = loop {
        match steps.recv_timeout(DEADLINE) {
            Ok(Step::SubjectMade) => doing = "asked",
            Ok(Step::TokenYielded) => doing = "checked",
            Ok(Step::End(outcome)) => break outcome,
            Err(_) => break Err(format!("it did not end within {DEADLINE:?}")),
        }
    };
    match (outcome, doing) {
        (Ok(()), _) => Ok(()),
        (Err(_), "asked") if rule != Rule::YieldsAToken => {
            println!("not checked: the source yields no token, see the rule YieldsAToken");
            Ok(())
        }
        (Err(seen), "made") => Err(Violation {
            rule,
            seen: format!("the subject could not be made: {seen}"),
        }),
        (Err(seen), _) => Err(Violation { rule, seen }),
    }
}

fn walk<F>(
    rule: Rule,
    subject: impl FnOnce() -> F,
    report: &mpsc::Sender<Step>,
) -> Result<(), String>
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
        let _ = report.send(Step::SubjectMade);
        let token = checks::ask(&*subject.source, &TokenRequest::default()).await?;
        let _ = report.send(Step::TokenYielded);
        checks::run(rule, &subject, &token, &capture).await
    });
    // A task that is stuck must not hold the thread.
    runtime.shutdown_background();
    outcome
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "with something that is no text".to_owned())
}
