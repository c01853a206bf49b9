//! The check of each rule. If a call fails where the rule needs a token, another rule reports it.

use std::{task::Poll, thread, time::Duration};

use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenRequest};
use tokio::{task::JoinSet, time};

use super::{
    Rule, Subject,
    subject::{CALL_TIMEOUT, call, yields_an_error},
};
use crate::leak::Capture;

mod errors;
mod finding;
mod requests;

pub(super) use finding::Finding;
use finding::{Outcome, must, not_checked};

/// The maximum lifetime: a longer one is no real expiry.
const MAX_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// The maximum number of consecutive calls in any rule.
pub(super) const MAX_CALLS: u32 = 20;

pub(super) async fn run(
    rule: Rule,
    subject: &Subject,
    token: &AccessToken,
    capture: &Capture,
) -> Outcome {
    match rule {
        // The caller has checked it.
        Rule::ReturnsToken => Ok(()),
        Rule::ReturnsValidToken => lives(token),
        Rule::SupportsConcurrentCalls => many(subject).await,
        Rule::ServesRequestsIndependently => holds_up(subject).await,
        Rule::SurvivesCancellation => leaving(subject).await,
        Rule::HonoursScopes => requests::scopes(subject).await,
        Rule::SeparatesRequests => requests::apart(subject, token).await,
        Rule::HonoursResources => requests::resources(subject, token).await,
        Rule::HonoursAudiences => requests::audiences(subject, token).await,
        Rule::HonoursParameters => requests::parameters(subject, token).await,
        Rule::ReportsWrongCredentials => errors::wrong(subject).await,
        Rule::ReportsUnavailableServer => errors::down(subject).await,
        Rule::ReportsRetryAfter => errors::limited(subject).await,
        Rule::RedactsErrors => errors::hide_secrets(subject).await,
        Rule::RedactsDebug => errors::clean(subject, token, &(subject.show)(), "its `Debug`"),
        Rule::RedactsTraces => errors::traces(subject, token, capture).await,
        Rule::ReturnsValidReadyToken => ready(subject),
        Rule::InvalidatesOnlyRefusedToken => drops(subject, token),
        Rule::MaintainsCredentialEpoch => epoch(subject).await,
    }
}

fn lives(token: &AccessToken) -> Outcome {
    let now = SystemClock.now();
    must(
        token.requested_at().timestamp <= now,
        "the token's request time is in the future",
    )?;
    must(
        !token.is_expired(now),
        "the token had expired when it was returned",
    )?;
    let lifetime = token.lifetime();
    must(
        lifetime <= MAX_LIFETIME,
        format!(
            "the token's lifetime is {} days",
            lifetime.as_secs() / 86_400
        ),
    )
}

async fn many(subject: &Subject) -> Outcome {
    const CALLS: usize = 50;
    let limit = subject.limit.as_ref().map_or(CALLS, |limit| limit.calls);
    let at_once = limit.min(CALLS);
    if at_once < 2 {
        return not_checked("the server's limit allows no two calls at once");
    }
    subject.wait_for(at_once).await;
    let mut calls = JoinSet::new();
    for _ in 0..at_once {
        let source = subject.source.clone();
        calls.spawn(async move {
            let answer = call(&*source, &TokenRequest::default()).await?;
            answer.map_err(yields_an_error)
        });
    }
    let outcomes = calls.join_all().await;
    let failed: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(Finding::Broken(format!(
            "{} of {at_once} calls at once failed; the first: {first}",
            failed.len()
        ))),
    }
}

async fn holds_up(subject: &Subject) -> Outcome {
    let Some([one, other]) = subject.two_requests() else {
        return not_checked(
            "the subject names no two requests that get tokens; see `Subject::scopes`",
        );
    };
    // Left after one poll, two polls, three polls: wherever the source is by then.
    for polls in 1..=3 {
        subject.wait_for(1).await;
        let mut left = polls;
        let mut first = subject.source.token(one);
        let stand = std::future::poll_fn(|context| {
            left -= 1;
            match first.as_mut().poll(context).is_ready() {
                true => Poll::Ready(true),
                false if left == 0 => Poll::Ready(false),
                false => Poll::Pending,
            }
        });
        let ended = time::timeout(CALL_TIMEOUT, stand).await == Ok(true);
        // Another rule reports an error.
        let second = subject.answer(&*subject.source, other).await;
        must(
            second.is_ok(),
            "a call for one request waits until a call for another request has ended",
        )?;
        if ended {
            break;
        }
    }
    Ok(())
}

async fn leaving(subject: &Subject) -> Outcome {
    let request = TokenRequest::default();
    // Dropped after no poll, one poll, a few polls: wherever the source is by then.
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    let polls = if subject.limit.is_some() {
        &all[1..4]
    } else {
        &all
    };
    for &polls in polls {
        subject.wait_for(1).await;
        let mut call = subject.source.token(&request);
        for _ in 0..polls {
            let poll =
                std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready()));
            if poll.await {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let next = subject.ask(&request).await;
    next.map(drop)
        .map_err(|why| format!("after calls that were dropped halfway, {why}").into())
}

fn ready(subject: &Subject) -> Outcome {
    let source = subject.source.clone();
    // On a thread without a runtime.
    let looked = thread::spawn(move || source.ready_token(&TokenRequest::default()));
    let Ok(ready) = looked.join() else {
        return must(false, "`ready_token` panics outside of a runtime");
    };
    let live = ready.is_none_or(|token| !token.is_expired(SystemClock.now()));
    must(live, "`ready_token` yields a token that has expired")
}

fn drops(subject: &Subject, token: &AccessToken) -> Outcome {
    let request = TokenRequest::default();
    let ready = subject.source.ready_token(&request);
    let Some(current) = ready.filter(|token| !token.is_expired(SystemClock.now())) else {
        // A source without a cache drops nothing, and has nothing to return again.
        subject.source.invalidate(token);
        let next = subject.source.ready_token(&request);
        return must(
            next.is_none_or(|next| !next.is_same(token)),
            "the token that was refused is returned again",
        );
    };
    let other = AccessToken::bearer("another-token", token.requested_at(), CALL_TIMEOUT);
    let other = other.map_err(|error| error.to_string())?;
    subject.source.invalidate(&other);
    let kept = subject.source.ready_token(&request);
    must(
        kept.is_some_and(|kept| kept.is_same(&current)),
        "`invalidate` of another token dropped the one in use",
    )?;
    subject.source.invalidate(&current);
    let next = subject.source.ready_token(&request);
    must(
        next.is_none_or(|next| !next.is_same(&current)),
        "the token that was refused is still returned",
    )
}

async fn epoch(subject: &Subject) -> Outcome {
    let before = subject.source.credential_epoch();
    for _ in 0..3 {
        let _ = subject
            .answer(&*subject.source, &TokenRequest::default())
            .await;
        must(
            subject.source.credential_epoch() == before,
            "`credential_epoch` changed although the credentials did not",
        )?;
    }
    Ok(())
}
