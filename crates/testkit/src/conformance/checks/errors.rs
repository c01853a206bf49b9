//! Checks that errors have the right kind and wait, and that nothing shown holds a secret.

use std::{sync::Arc, time::Duration};

use hallpass_core::{AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource};
use tokio::task::JoinSet;

use super::finding::{Finding, Outcome, must, not_checked};
use crate::{
    conformance::{Subject, subject::call},
    leak::{self, Capture, Spelling},
};

/// The tolerance for a wait: some of it has passed, or it was rounded.
const TOLERANCE: Duration = Duration::from_secs(2);

async fn refusal(
    subject: &Subject,
    source: &Arc<dyn TokenSource>,
    of: &str,
) -> Result<TokenError, Finding> {
    match subject.answer(&**source, &TokenRequest::default()).await? {
        Ok(_) => Err(Finding::Broken(format!(
            "the subject with {of} yields a token: the description is wrong"
        ))),
        Err(error) => Ok(error),
    }
}

fn has_kind(error: &TokenError, kind: ErrorKind, transient: bool) -> Outcome {
    let seen = (error.kind(), error.is_transient());
    must(
        seen == (kind, transient),
        format!(
            "it yields {:?}, transient: {}, with the text: {error}",
            error.kind(),
            error.is_transient()
        ),
    )
}

pub(super) async fn wrong(subject: &Subject) -> Outcome {
    let Some(source) = &subject.wrong else {
        return not_checked("the subject has no `Subject::with_wrong_credentials`");
    };
    let error = refusal(subject, source, "wrong credentials").await?;
    has_kind(&error, ErrorKind::CredentialsRefused, false)
}

pub(super) async fn down(subject: &Subject) -> Outcome {
    let Some(source) = &subject.unreachable else {
        return not_checked("the subject has no `Subject::with_unreachable_server`");
    };
    let error = refusal(subject, source, "an unreachable server").await?;
    has_kind(&error, ErrorKind::Unavailable, true)
}

pub(super) async fn limited(subject: &Subject) -> Outcome {
    let (error, least, most) = match (&subject.limited, &subject.limit) {
        (Some((source, wait)), _) => {
            let error = refusal(subject, source, "a limited server").await?;
            (error, wait.saturating_sub(TOLERANCE), *wait + TOLERANCE)
        }
        (None, Some(limit)) => {
            let Some(error) = one_too_many(subject, limit.calls).await? else {
                return not_checked(
                    "no call beyond the limit was refused; see `Subject::with_limited_server`",
                );
            };
            (error, Duration::ZERO, limit.window + TOLERANCE)
        }
        (None, None) => {
            return not_checked("the subject has no `Subject::with_limited_server`");
        }
    };
    has_kind(&error, ErrorKind::Unavailable, true)?;
    let wait = error.retry_after();
    must(
        wait.is_some_and(|wait| (least..=most).contains(&wait)),
        format!("the server said when to ask again, and `retry_after()` is {wait:?}"),
    )
}

/// Makes one call more than the limit allows, and returns the first error.
async fn one_too_many(subject: &Subject, limit: usize) -> Result<Option<TokenError>, String> {
    subject.wait_for(limit).await;
    let mut calls = JoinSet::new();
    for _ in 0..=limit {
        let source = subject.source.clone();
        calls.spawn(async move { call(&*source, &TokenRequest::default()).await });
    }
    for answer in calls.join_all().await {
        if let Err(error) = answer? {
            return Ok(Some(error));
        }
    }
    Ok(None)
}

/// Returns the sources that yield errors.
fn failing(subject: &Subject) -> impl Iterator<Item = &Arc<dyn TokenSource>> {
    let limited = subject.limited.as_ref().map(|(source, _)| source);
    let sources = [
        subject.wrong.as_ref(),
        subject.unreachable.as_ref(),
        limited,
    ];
    sources.into_iter().flatten()
}

pub(super) async fn hide_secrets(subject: &Subject) -> Outcome {
    let mut shown = String::new();
    for source in failing(subject) {
        if let Ok(Err(error)) = subject.answer(&**source, &TokenRequest::default()).await {
            shown += &leak::error_chain(&error);
        }
    }
    if shown.is_empty() {
        return not_checked(
            "no source of the subject yields an error; see `Subject::with_wrong_credentials`",
        );
    }
    hidden(&subject.secrets, &shown, "an error")?;
    named(subject)
}

pub(super) fn clean(subject: &Subject, token: &AccessToken, shown: &str, place: &str) -> Outcome {
    hidden(&subject.secrets, shown, place)?;
    // Shorter ones would match by chance.
    let sought = Some(token.expose()).filter(|token| token.len() >= 6);
    if let Some(spelling) = sought.and_then(|token| leak::find(shown, token)) {
        return Err(Finding::Broken(leaked("a token", place, spelling)));
    }
    named(subject)
}

pub(super) async fn traces(subject: &Subject, token: &AccessToken, capture: &Capture) -> Outcome {
    // Refusals and outages are also traced.
    for source in failing(subject) {
        let _ = subject.answer(&**source, &TokenRequest::default()).await;
    }
    clean(subject, token, &capture.text(), "a trace")
}

fn named(subject: &Subject) -> Outcome {
    if subject.secrets.is_empty() {
        return not_checked(
            "the subject names no secret; see `Subject::secret`; \
             a source without one names the text of a token",
        );
    }
    Ok(())
}

fn hidden(secrets: &[String], shown: &str, place: &str) -> Outcome {
    let found = |secret: &String| leak::find(shown, secret);
    match secrets.iter().find_map(found) {
        None => Ok(()),
        Some(spelling) => Err(Finding::Broken(leaked("a secret", place, spelling))),
    }
}

fn leaked(what: &str, place: &str, spelling: Spelling) -> String {
    format!("{place} shows {what}, spelled as {spelling:?}")
}
