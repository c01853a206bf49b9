use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenError, TokenSource, TokenType};
use tokio::time::timeout;

use super::{Adapter, BoxError, Credential, Rule, Violation, script::Script};
use crate::leak;

/// The timeout of each call of the adapter.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The lifetime of the tokens.
const HOUR: Duration = Duration::from_secs(3_600);

/// Every token contains it.
const CANARY: &str = "c4nary-of-the-bridge";

/// Checks an adapter against each [`Rule`], with a fresh source for each; returns the rules that it breaks.
///
/// `exceptions` lists the rules that the neighbour's interface cannot express, with reasons. A listed rule that holds is
/// a violation, so that the list stays true. Each call of the adapter has ten seconds. Call it in a tokio runtime; use
/// the one with several threads if the adapter blocks.
pub async fn check<A: Adapter>(
    adapter: impl Fn(Arc<dyn TokenSource>) -> A,
    exceptions: &[(Rule, &str)],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for &rule in Rule::ALL {
        let script = Arc::new(Script::default());
        let adapter = adapter(script.clone());
        let result = Check { script, adapter }.rule(rule).await;
        let listed = exceptions.iter().find(|(listed, _)| *listed == rule);
        let seen = match (result, listed) {
            (Ok(()), None) | (Err(_), Some(_)) => continue,
            (Err(seen), None) => seen,
            (Ok(()), Some((_, reason))) => {
                format!("it holds, and is listed as an exception ({reason})")
            }
        };
        violations.push(Violation { rule, seen });
    }
    violations
}

struct Check<A> {
    script: Arc<Script>,
    adapter: A,
}

type Seen = Result<(), String>;

impl<A: Adapter> Check<A> {
    async fn rule(&self, rule: Rule) -> Seen {
        match rule {
            Rule::UsesReadyTokens => self.uses_ready_tokens().await,
            Rule::FetchesTokens => self.fetches_tokens().await,
            Rule::UsesNewTokens => self.uses_new_tokens().await,
            Rule::ServesCallsIndependently => self.serves_calls_independently().await,
            Rule::ReportsExpiry => self.reports_expiry().await,
            Rule::ReportsRefusals => self.reports_refusals().await,
            Rule::KeepsErrors => self.keeps_errors().await,
            Rule::RefusesBoundTokens => self.refuses_bound_tokens().await,
            Rule::SurvivesCancellation => self.survives_cancellation().await,
            Rule::HidesTokens => self.hides_tokens().await,
        }
    }

    async fn uses_ready_tokens(&self) -> Seen {
        self.ready(&token(1));
        for _ in 0..3 {
            self.expect_token(1).await?;
        }
        self.expect_calls(0)
    }

    async fn fetches_tokens(&self) -> Seen {
        self.answers([Some(Ok(token(1)))]);
        self.expect_token(1).await?;
        self.expect_calls(1)
    }

    async fn uses_new_tokens(&self) -> Seen {
        for number in 1..=3 {
            self.ready(&token(number));
            self.expect_token(number).await?;
        }
        self.expect_calls(0)
    }

    async fn serves_calls_independently(&self) -> Seen {
        self.answers([None]);
        tokio::select! {
            biased;
            _ = self.adapter.credential() => Err("a call did not wait for its token".to_owned()),
            result = async {
                self.script.hang().await;
                self.ready(&token(1));
                self.expect_token(1).await?;
                self.expect_calls(1)
            } => result,
        }
    }

    async fn reports_expiry(&self) -> Seen {
        let token = token(1);
        self.ready(&token);
        let credential = self.credential().await?.map_err(|error| failed(&error))?;
        let reported = credential.expires_at.ok_or("no expiry was reported")?;
        let expires = token.expires_at().ok_or("the token has no expiry")?;
        let second = Duration::from_secs(1);
        if reported > expires + second {
            return Err("the reported expiry is later than the token's".to_owned());
        }
        // An earlier one makes the neighbour ask earlier; one in the past makes it ask at each call.
        if reported <= SystemTime::now() {
            return Err("the reported expiry is in the past".to_owned());
        }
        Ok(())
    }

    async fn reports_refusals(&self) -> Seen {
        let (first, second) = (token(1), token(2));
        self.ready(&first);
        self.expect_token(1).await?;
        self.answers([Some(Ok(second))]);
        within(self.adapter.refuse(first.expose())).await?;
        self.expect_token(2).await?;
        let invalidated = self.script.state().invalidated.clone();
        if invalidated.is_empty() || !invalidated.iter().all(|token| token.is_same(&first)) {
            let count = invalidated.len();
            return Err(format!(
                "{count} tokens were invalidated, not only the refused one"
            ));
        }
        // A late report of the first token.
        within(self.adapter.refuse(first.expose())).await?;
        self.expect_token(2).await?;
        self.expect_calls(1)
    }

    async fn keeps_errors(&self) -> Seen {
        let sent = TokenError::credentials_refused("the secret of the bridge is wrong")
            .with_hint("correct the secret of the bridge");
        self.answers(vec![Some(Err(sent.clone())); 8]);
        let Err(error) = self.credential().await? else {
            return Err("a failed call yielded a credential".to_owned());
        };
        let first: &(dyn std::error::Error + 'static) = &*error;
        let chain = || std::iter::successors(Some(first), |error| error.source());
        let same = |error: &TokenError| {
            (error.kind(), error.message(), error.hint())
                == (sent.kind(), sent.message(), sent.hint())
        };
        if chain().filter_map(|error| error.downcast_ref()).any(same) {
            return Ok(());
        }
        let text: Vec<_> = chain().map(ToString::to_string).collect();
        let text = text.join("\n");
        let hint = sent.hint().unwrap_or_default();
        if text.contains(&sent.message()) && text.contains(hint) {
            return Ok(());
        }
        Err(format!("the error is: {text}"))
    }

    async fn refuses_bound_tokens(&self) -> Seen {
        self.ready(&bound());
        match self.credential().await? {
            Ok(_) => Err("it gave a token that is bound to a key".to_owned()),
            Err(_) => Ok(()),
        }
    }

    async fn survives_cancellation(&self) -> Seen {
        self.answers([None, Some(Ok(token(1)))]);
        tokio::select! {
            biased;
            () = self.script.hang() => {}
            _ = self.credential() => return Err("a call did not wait for its token".to_owned()),
        }
        let running = self.script.state().running;
        if running != 0 {
            return Err(format!("{running} calls of `token` still run"));
        }
        self.expect_token(1).await?;
        self.expect_calls(2)
    }

    async fn hides_tokens(&self) -> Seen {
        self.ready(&token(1));
        let credential = self.credential().await?.map_err(|error| failed(&error))?;
        clean("the credential", &credential.shown)?;
        let adapter = &self.adapter;
        clean("the adapter", &format!("{adapter:?}\n{adapter:#?}"))?;
        self.ready(&bound());
        match self.credential().await? {
            Ok(credential) => clean("the credential", &credential.shown),
            Err(error) => clean("an error", &leak::error_chain(&*error)),
        }
    }

    fn ready(&self, token: &AccessToken) {
        self.script.state().ready = Some(token.clone());
    }

    /// Sets the results of the next calls of `token`, in order.
    fn answers(&self, answers: impl IntoIterator<Item = Option<Result<AccessToken, TokenError>>>) {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        self.script.state().answers = answers;
    }

    /// Returns the result of one call of the adapter.
    async fn credential(&self) -> Result<Result<Credential, BoxError>, String> {
        within(self.adapter.credential()).await
    }

    async fn expect_token(&self, number: u32) -> Seen {
        let credential = self.credential().await?.map_err(|error| failed(&error))?;
        if credential.token == text(number) {
            return Ok(());
        }
        let known = (1..=9).find(|number| credential.token == text(*number));
        Err(known.map_or_else(
            || format!("a text that is not a token, instead of token {number}"),
            |known| format!("token {known} instead of {number}"),
        ))
    }

    fn expect_calls(&self, expected: usize) -> Seen {
        let calls = self.script.state().calls;
        if calls == expected {
            return Ok(());
        }
        Err(format!("{calls} calls of `token` instead of {expected}"))
    }
}

async fn within<T>(call: impl Future<Output = T>) -> Result<T, String> {
    let result = timeout(CALL_TIMEOUT, call).await;
    result.map_err(|_| "a call took longer than ten seconds".to_owned())
}

fn failed(error: &BoxError) -> String {
    let shown = error.to_string();
    if leak::find(&shown, CANARY).is_some() {
        return "it failed, with an error that shows a token".to_owned();
    }
    format!("it failed: {shown}")
}

fn clean(of: &str, shown: &str) -> Seen {
    match leak::find(shown, CANARY) {
        None => Ok(()),
        Some(spelling) => Err(format!("{of} shows a token ({spelling:?})")),
    }
}

fn text(number: u32) -> String {
    format!("{CANARY}-{number}")
}

fn token(number: u32) -> AccessToken {
    create(TokenType::Bearer, number)
}

fn bound() -> AccessToken {
    create(TokenType::Dpop, 9)
}

fn create(kind: TokenType, number: u32) -> AccessToken {
    AccessToken::new(kind, &text(number), SystemClock.moment(), HOUR)
        .expect("the text is visible ASCII")
}
