//! The behaviour of a server, and the expected result of a source.

use std::time::Duration;

use hallpass::{AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::{
    AuthorizationServer, Client,
    faults::{self, Answer, Ending, Expected, FaultyResponse},
    leak,
    raw::{self, RawServer},
};

use crate::{
    assertions,
    configurations::{Configuration, ID, REFRESH, SCOPES, SECRET, SUBJECT},
};

#[derive(Clone, Copy)]
pub(crate) enum Scenario {
    /// A single response of a server.
    Answer(&'static FaultyResponse),
    GoodAnswer,
    WrongSecret,
    RotatedSecret,
    OutageAndRecovery,
    NobodyListens,
    TwentyAtOnce,
    RevokedToken,
}

type Outcome = Result<(), String>;

impl Scenario {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let behaviours = [
            Self::GoodAnswer,
            Self::WrongSecret,
            Self::RotatedSecret,
            Self::OutageAndRecovery,
            Self::NobodyListens,
            Self::TwentyAtOnce,
            Self::RevokedToken,
        ];
        behaviours
            .into_iter()
            .chain(faults::all().map(Self::Answer))
    }

    /// Returns a name that can be part of a test's name.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Answer(fault) => fault.name.to_owned(),
            Self::GoodAnswer => "good_answer".to_owned(),
            Self::WrongSecret => "wrong_secret".to_owned(),
            Self::RotatedSecret => "rotated_secret".to_owned(),
            Self::OutageAndRecovery => "outage_and_recovery".to_owned(),
            Self::NobodyListens => "nobody_listens".to_owned(),
            Self::TwentyAtOnce => "twenty_at_once".to_owned(),
            Self::RevokedToken => "revoked_token".to_owned(),
        }
    }

    pub(crate) async fn run(&self, configuration: &Configuration) -> Outcome {
        let outcome = match self {
            Self::Answer(fault) => answer(fault, configuration).await,
            Self::GoodAnswer => good(configuration).await,
            Self::WrongSecret => wrong_secret(configuration).await,
            Self::RotatedSecret => rotated_secret(configuration).await,
            Self::OutageAndRecovery => outage(configuration).await,
            Self::NobodyListens => nobody_listens(configuration).await,
            Self::TwentyAtOnce => twenty_at_once(configuration).await,
            Self::RevokedToken => revoked(configuration).await,
        };
        outcome.inspect_err(|seen| {
            for secret in [SECRET, SUBJECT, REFRESH] {
                leak::assert_clean(seen, secret);
            }
        })
    }
}

/// Starts a server that reads the credentials as the configuration sends them.
async fn server(configuration: &Configuration) -> AuthorizationServer {
    let client = Client::new(ID, SECRET)
        .scopes(SCOPES)
        .assertions(assertions::verify)
        .methods([configuration.method()]);
    let server = AuthorizationServer::builder().client(client).start().await;
    server.trust_token(SUBJECT, "urn:ietf:params:oauth:token-type:jwt");
    server.issue_refresh_token(ID, REFRESH, SCOPES);
    server
}

async fn ask(source: &dyn TokenSource) -> Result<AccessToken, TokenError> {
    source.token(&TokenRequest::default()).await
}

fn must(holds: bool, otherwise: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

async fn answer(fault: &'static FaultyResponse, configuration: &Configuration) -> Outcome {
    if let Answer::Http { .. } = fault.answer {
        let server = server(configuration).await;
        server.start_outage(fault);
        let source = configuration.source(&server.token_endpoint(), SECRET);
        compare(&ask(&*source).await, fault, configuration)?;
        // Afterwards the source works as before, once the remembered refusal has expired.
        server.end_outage();
        match fault.expected {
            Expected::Error { .. } => recovers(&*source).await,
            _ => Ok(()),
        }
    } else {
        let server = RawServer::always(fault.reply()).await;
        let url = server.url("/token");
        let source = if never_ends(fault) {
            configuration.source_within(SHORT, &url, SECRET)
        } else {
            configuration.source(&url, SECRET)
        };
        compare(&ask(&*source).await, fault, configuration)
    }
}

/// The timeout for responses that never arrive.
const SHORT: Duration = Duration::from_millis(300);

/// Returns true if only the client's timeout ends the wait.
fn never_ends(fault: &FaultyResponse) -> bool {
    let Answer::Wire { then, .. } = fault.answer else {
        return false;
    };
    // A server that stalls after a complete response delays nobody.
    let answered = matches!(fault.expected, Expected::Token { .. });
    !answered && matches!(then, Ending::Stall | Ending::Drip(_))
}

fn compare(
    result: &Result<AccessToken, TokenError>,
    fault: &FaultyResponse,
    configuration: &Configuration,
) -> Outcome {
    if let Some(kind) = configuration.instead(fault) {
        let error = result.as_ref().err().ok_or("a token")?;
        return check_error(error, kind, false);
    }
    match (result, fault.expected) {
        (
            Ok(token),
            Expected::Token {
                seconds, scopes, ..
            },
        ) => {
            let lived = token.lifetime().as_secs();
            must(
                seconds.is_none_or(|seconds| lived == seconds),
                format!("a token for {lived} s"),
            )?;
            let scopes = scopes.unwrap_or(SCOPES).parse();
            must(
                scopes.is_ok_and(|scopes| token.scopes() == &scopes),
                format!("a token with the scopes `{}`", token.scopes()),
            )
        }
        (
            Err(error),
            Expected::Error {
                kind, transient, ..
            },
        ) => check_error(error, kind, transient),
        (Ok(_), _) => Err("a token".to_owned()),
        (Err(error), _) => Err(format!("{:?}: {error}", error.kind())),
    }
}

fn check_error(error: &TokenError, kind: ErrorKind, transient: bool) -> Outcome {
    for secret in [SECRET, SUBJECT, REFRESH] {
        if let Some(spelling) = leak::find(&leak::error_chain(error), secret) {
            return Err(format!("a secret in an error, spelled as {spelling:?}"));
        }
    }
    must(
        (error.kind(), error.is_transient()) == (kind, transient),
        format!(
            "{:?}, transient {}: {error}",
            error.kind(),
            error.is_transient()
        ),
    )
}

/// Checks that a good response is accepted after an error, unless the server sent `Retry-After`.
async fn recovers(source: &dyn TokenSource) -> Outcome {
    for _ in 0..200 {
        match ask(source).await {
            Err(error) if error.retry_after().is_none() => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            _ => return Ok(()),
        }
    }
    Err("no token although the server is well again".to_owned())
}

async fn good(configuration: &Configuration) -> Outcome {
    let server = server(configuration).await;
    let source = configuration.source(&server.token_endpoint(), SECRET);
    for _ in 0..3 {
        ask(&*source).await.map_err(|error| error.to_string())?;
    }
    let expected = if configuration.caches() { 1 } else { 3 };
    let requests = server.token_requests();
    must(
        requests.len() == expected,
        format!("{} requests", requests.len()),
    )?;
    must(
        requests[0].method == configuration.proof(),
        format!("{:?}", requests[0].method),
    )
}

async fn wrong_secret(configuration: &Configuration) -> Outcome {
    let server = server(configuration).await;
    let source = configuration.source(
        &server.token_endpoint(),
        "another-secret-of-more-than-32-bytes",
    );
    let error = ask(&*source)
        .await
        .err()
        .ok_or("a token for a wrong secret")?;
    check_error(&error, ErrorKind::CredentialsRefused, false)
}

async fn rotated_secret(configuration: &Configuration) -> Outcome {
    let server = server(configuration).await;
    server.rotate_secret(ID, "the-next-secret-of-more-than-32-bytes");
    let source = configuration.source(&server.token_endpoint(), SECRET);
    let error = ask(&*source)
        .await
        .err()
        .ok_or("a token for an old secret")?;
    check_error(&error, ErrorKind::CredentialsRefused, false)?;
    server.rotate_secret(ID, SECRET);
    recovers(&*source).await
}

async fn outage(configuration: &Configuration) -> Outcome {
    let server = server(configuration).await;
    let source = configuration.source(&server.token_endpoint(), SECRET);
    server.start_outage(faults::named("status_503").ok_or("no such fault")?);
    let error = ask(&*source).await.err().ok_or("a token in an outage")?;
    check_error(&error, ErrorKind::Unavailable, true)?;
    server.end_outage();
    recovers(&*source).await
}

async fn nobody_listens(configuration: &Configuration) -> Outcome {
    let url = raw::refused_url().map_err(|error| error.to_string())?;
    let source = configuration.source(&url, SECRET);
    let error = ask(&*source).await.err().ok_or("a token from nobody")?;
    check_error(&error, ErrorKind::Unavailable, true)
}

async fn twenty_at_once(configuration: &Configuration) -> Outcome {
    let server = server(configuration).await;
    let source = configuration.source(&server.token_endpoint(), SECRET);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let source = source.clone();
        calls.spawn(async move { ask(&*source).await.map_err(|error| error.to_string()) });
    }
    for outcome in calls.join_all().await {
        outcome?;
    }
    let expected = if configuration.caches() { 1 } else { 20 };
    let requests = server.token_request_count();
    must(requests == expected, format!("{requests} requests"))
}

async fn revoked(configuration: &Configuration) -> Outcome {
    let server = server(configuration).await;
    let source = configuration.source(&server.token_endpoint(), SECRET);
    let token = ask(&*source).await.map_err(|error| error.to_string())?;
    server.revoke_all_tokens();
    source.invalidate(&token);
    let next = ask(&*source).await.map_err(|error| error.to_string())?;
    must(!next.is_same(&token), "the token that was refused")
}
