//! What each rule does. Whatever fails for want of a token is another rule's matter.

use std::{sync::Arc, thread, time::Duration};

use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, ScopeSet, SystemClock, TokenError, TokenRequest,
    TokenSource,
};
use tokio::{task::JoinSet, time};

use super::{Rule, Subject, subject::Resources};
use crate::leak::{self, Capture, Spelling};

type Outcome = Result<(), String>;

/// For one call.
const PATIENCE: Duration = Duration::from_secs(5);
/// A token that lives for longer has no expiry worth the name.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

pub(super) async fn run(
    rule: Rule,
    subject: &Subject,
    token: &AccessToken,
    capture: &Capture,
) -> Outcome {
    match rule {
        // The caller has seen to it.
        Rule::YieldsAToken => Ok(()),
        Rule::LivesForAWhile => lives(token),
        Rule::ServesManyAtOnce => many(subject).await,
        Rule::SurvivesACallerThatLeaves => leaving(subject).await,
        Rule::GrantsTheScopesAskedFor => scopes(subject).await,
        Rule::TellsRequestsApart => apart(subject, token).await,
        Rule::HonoursResources => resources(subject, token).await,
        Rule::NamesWrongCredentials => wrong(subject).await,
        Rule::NamesAServerThatIsDown => down(subject).await,
        Rule::LeaksNothingInErrors => errors(subject).await,
        Rule::LeaksNothingInDebug => clean(subject, token, &(subject.show)(), "its `Debug`"),
        Rule::LeaksNothingInTraces => traces(subject, token, capture).await,
        Rule::HasOnlyLiveTokensReady => ready(subject),
        Rule::DropsOnlyTheRefusedToken => drops(subject, token),
        Rule::KeepsItsCredentialEpoch => epoch(subject).await,
    }
}

/// One call, which must end.
pub(super) async fn ask(
    source: &dyn TokenSource,
    request: &TokenRequest,
) -> Result<AccessToken, String> {
    match answer(source, request).await? {
        Ok(token) => Ok(token),
        Err(error) => Err(format!("it yields an error: {error}")),
    }
}

async fn answer(
    source: &dyn TokenSource,
    request: &TokenRequest,
) -> Result<Result<AccessToken, TokenError>, String> {
    let answer = time::timeout(PATIENCE, source.token(request)).await;
    answer.map_err(|_| format!("a call did not end within {PATIENCE:?}"))
}

#[allow(clippy::unnecessary_wraps)] // It ends a rule.
fn not_checked(why: &str) -> Outcome {
    println!("not checked: {why}");
    Ok(())
}

fn must(holds: bool, otherwise: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn lives(token: &AccessToken) -> Outcome {
    let now = SystemClock.now();
    must(
        token.requested_at().timestamp <= now,
        "the token claims to have been asked for in the future",
    )?;
    must(
        !token.is_expired(now),
        "the token had expired when it was handed out",
    )?;
    let lifetime = token.lifetime();
    must(
        lifetime <= LONGEST,
        format!(
            "the token claims to live for {} days",
            lifetime.as_secs() / 86_400
        ),
    )
}

async fn many(subject: &Subject) -> Outcome {
    const CALLS: usize = 50;
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let source = subject.source.clone();
        calls.spawn(async move { ask(&*source, &TokenRequest::default()).await });
    }
    let outcomes = calls.join_all().await;
    let failed: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(format!(
            "{} of {CALLS} calls at once failed; the first: {first}",
            failed.len()
        )),
    }
}

async fn leaving(subject: &Subject) -> Outcome {
    let request = TokenRequest::default();
    // After no poll, after one, after a few: wherever the source has got to by then.
    for polls in 0..8 {
        let mut call = subject.source.token(&request);
        for _ in 0..polls {
            let poll = std::future::poll_fn(|context| {
                std::task::Poll::Ready(call.as_mut().poll(context).is_ready())
            });
            if poll.await {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let next = ask(&*subject.source, &request).await;
    next.map(drop)
        .map_err(|why| format!("after calls that were dropped halfway, {why}"))
}

fn with_scopes(scopes: &ScopeSet) -> TokenRequest {
    TokenRequest::new().with_scopes(scopes.clone())
}

async fn scopes(subject: &Subject) -> Outcome {
    if subject.scopes.is_empty() {
        return not_checked("the subject tells no scopes; see `Subject::scopes`");
    }
    for scopes in &subject.scopes {
        let token = ask(&*subject.source, &with_scopes(scopes)).await?;
        must(
            token.scopes() == scopes,
            format!(
                "asked for the scopes `{scopes}`, it yields a token with `{}`",
                token.scopes()
            ),
        )?;
    }
    Ok(())
}

async fn apart(subject: &Subject, default: &AccessToken) -> Outcome {
    let [one, other] = &subject.scopes[..] else {
        return not_checked("the subject tells no scopes; see `Subject::scopes`");
    };
    let first = ask(&*subject.source, &with_scopes(one)).await?;
    let second = ask(&*subject.source, &with_scopes(other)).await?;
    must(
        !first.is_same(&second),
        format!("the scopes `{one}` and `{other}` get the same token"),
    )?;
    // What is ready for one request is so for no other.
    let again = subject.source.ready_token(&with_scopes(one));
    must(
        again.is_none_or(|again| !again.is_same(&second)),
        format!("what is ready for `{one}` is the token of `{other}`"),
    )?;
    let default_again = subject.source.ready_token(&TokenRequest::default());
    must(
        default_again.is_none_or(|again| again.scopes() == default.scopes()),
        "what is ready for the default request is another request's token",
    )
}

async fn resources(subject: &Subject, default: &AccessToken) -> Outcome {
    let request = |resource: &str| {
        let request = TokenRequest::new().with_resource(resource);
        request.map_err(|_| format!("the subject's resource `{resource}` is not a resource"))
    };
    match &subject.resources {
        Resources::Untold => not_checked("the subject tells nothing of resources"),
        Resources::Sent(one, other) => {
            let first = ask(&*subject.source, &request(one)?).await?;
            let second = ask(&*subject.source, &request(other)?).await?;
            let told_apart = !first.is_same(&second) && !first.is_same(default);
            must(
                told_apart,
                "requests for different resources get the same token",
            )
        }
        Resources::Refused => {
            let answer = answer(&*subject.source, &request("https://resource.example")?).await?;
            let Err(error) = answer else {
                return Err("a resource that it cannot ask for was passed over".to_owned());
            };
            let told = matches!(
                error.kind(),
                ErrorKind::Configuration | ErrorKind::RequestRefused
            );
            must(
                told,
                format!("a resource is refused as {:?}: {error}", error.kind()),
            )
        }
    }
}

async fn refusal(source: &Arc<dyn TokenSource>, of: &str) -> Result<TokenError, String> {
    match answer(&**source, &TokenRequest::default()).await? {
        Ok(_) => Err(format!(
            "the subject with {of} yields a token: the description is wrong"
        )),
        Err(error) => Ok(error),
    }
}

fn judged(error: &TokenError, kind: ErrorKind, transient: bool) -> Outcome {
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

async fn wrong(subject: &Subject) -> Outcome {
    let Some(source) = &subject.wrong else {
        return not_checked("see `Subject::with_wrong_credentials`");
    };
    let error = refusal(source, "wrong credentials").await?;
    judged(&error, ErrorKind::CredentialsRefused, false)
}

async fn down(subject: &Subject) -> Outcome {
    let Some(source) = &subject.unreachable else {
        return not_checked("see `Subject::with_unreachable_server`");
    };
    let error = refusal(source, "an unreachable server").await?;
    judged(&error, ErrorKind::Unavailable, true)
}

async fn errors(subject: &Subject) -> Outcome {
    let mut shown = String::new();
    for source in [&subject.wrong, &subject.unreachable].into_iter().flatten() {
        if let Ok(Err(error)) = answer(&**source, &TokenRequest::default()).await {
            shown += &leak::error_chain(&error);
        }
    }
    if shown.is_empty() || subject.secrets.is_empty() {
        return not_checked("it takes a secret, and wrong credentials or an unreachable server");
    }
    hidden(&subject.secrets, &shown, "an error")
}

fn hidden(secrets: &[String], shown: &str, place: &str) -> Outcome {
    let found = |secret: &String| leak::find(shown, secret);
    match secrets.iter().find_map(found) {
        None => Ok(()),
        Some(spelling) => Err(leaked("a secret", place, spelling)),
    }
}

fn leaked(what: &str, place: &str, spelling: Spelling) -> String {
    format!("{place} shows {what}, spelled as {spelling:?}")
}

fn clean(subject: &Subject, token: &AccessToken, shown: &str, place: &str) -> Outcome {
    hidden(&subject.secrets, shown, place)?;
    // Shorter ones are found by chance.
    let sought = Some(token.expose()).filter(|token| token.len() >= 6);
    match sought.and_then(|token| leak::find(shown, token)) {
        None => Ok(()),
        Some(spelling) => Err(leaked("a token", place, spelling)),
    }
}

async fn traces(subject: &Subject, token: &AccessToken, capture: &Capture) -> Outcome {
    // Refusals and outages are traced too.
    for source in [&subject.wrong, &subject.unreachable].into_iter().flatten() {
        let _ = answer(&**source, &TokenRequest::default()).await;
    }
    clean(subject, token, &capture.text(), "a trace")
}

fn ready(subject: &Subject) -> Outcome {
    let source = subject.source.clone();
    // On a thread without a runtime.
    let looked = thread::spawn(move || source.ready_token(&TokenRequest::default()));
    let Ok(ready) = looked.join() else {
        return Err("`ready_token` panics outside of a runtime".to_owned());
    };
    let live = ready.is_none_or(|token| !token.is_expired(SystemClock.now()));
    must(live, "`ready_token` yields a token that has expired")
}

fn drops(subject: &Subject, token: &AccessToken) -> Outcome {
    let request = TokenRequest::default();
    let ready = subject.source.ready_token(&request);
    let Some(current) = ready.filter(|token| !token.is_expired(SystemClock.now())) else {
        return not_checked("the source holds no tokens: nothing is ready after a call");
    };
    let other = AccessToken::bearer("another-token", token.requested_at(), PATIENCE);
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
        "the token that was refused is still handed out",
    )
}

async fn epoch(subject: &Subject) -> Outcome {
    let before = subject.source.credential_epoch();
    for _ in 0..3 {
        let _ = answer(&*subject.source, &TokenRequest::default()).await;
        must(
            subject.source.credential_epoch() == before,
            "`credential_epoch` changed although the credentials did not",
        )?;
    }
    Ok(())
}
