//! Checks that each part of a request is sent or refused, and that no request gets another one's token.

use hallpass_core::{AccessToken, ErrorKind, TokenRequest};

use super::finding::{Finding, Outcome, must, not_checked};
use crate::{
    conformance::{
        Subject,
        subject::{Pair, yields_an_error},
    },
    leak,
};

/// A value that no server knows, for parts without values in the subject.
const UNKNOWN: &str = "https://hallpass-conformance.invalid";

pub(super) async fn scopes(subject: &Subject) -> Outcome {
    let Some(pair) = &subject.scopes else {
        // Any text without a space is a scope.
        let unknown = UNKNOWN.parse().map_err(|_| UNKNOWN.to_owned())?;
        let request = TokenRequest::new().with_scopes(unknown);
        return refused(subject, &request, "scope", "scopes").await;
    };
    for (request, values) in pair.requests.iter().zip(&pair.values) {
        let token = subject.ask(request).await?;
        let asked = request.scopes();
        let granted = match token.scopes() {
            none if none.is_empty() => "no scopes".to_owned(),
            some => format!("the scopes `{some}`"),
        };
        must(
            token.scopes() == asked,
            format!("asked for the scopes `{asked}`, it yields a token with {granted}"),
        )?;
        reached(subject, &token, values, "scope")?;
    }
    Ok(())
}

pub(super) async fn resources(subject: &Subject, default: &AccessToken) -> Outcome {
    let unknown = TokenRequest::new().with_resource(UNKNOWN);
    let unknown = unknown.map_err(|error| error.to_string())?;
    honoured(
        subject,
        default,
        subject.resources.as_ref(),
        &unknown,
        "resource",
        "resources",
    )
    .await
}

pub(super) async fn audiences(subject: &Subject, default: &AccessToken) -> Outcome {
    let unknown = TokenRequest::new().with_audience(UNKNOWN);
    let unknown = unknown.map_err(|error| error.to_string())?;
    honoured(
        subject,
        default,
        subject.audiences.as_ref(),
        &unknown,
        "audience",
        "audiences",
    )
    .await
}

pub(super) async fn parameters(subject: &Subject, default: &AccessToken) -> Outcome {
    let unknown = TokenRequest::new().with_parameter("hallpass_conformance", UNKNOWN);
    let unknown = unknown.map_err(|error| error.to_string())?;
    honoured(
        subject,
        default,
        subject.parameters.as_ref(),
        &unknown,
        "parameter",
        "parameter",
    )
    .await
}

async fn honoured(
    subject: &Subject,
    default: &AccessToken,
    named: Option<&Pair>,
    unknown: &TokenRequest,
    part: &str,
    method: &str,
) -> Outcome {
    let Some(pair) = named else {
        return refused(subject, unknown, part, method).await;
    };
    let mut others = vec![default.clone()];
    for (request, values) in pair.requests.iter().zip(&pair.values) {
        let token = subject.ask(request).await?;
        must(
            others.iter().all(|other| !other.is_same(&token)),
            format!(
                "a request with its own {part} gets the token of a request without it, or with another one"
            ),
        )?;
        reached(subject, &token, values, part)?;
        others.push(token);
    }
    Ok(())
}

/// Checks that each value is in the text of the request that the token was issued for.
fn reached(subject: &Subject, token: &AccessToken, values: &[String], part: &str) -> Outcome {
    let Some(issued_for) = &subject.issued_for else {
        return not_checked(
            "the subject does not show what the server issued a token for; see `Subject::issued_for`",
        );
    };
    let shown = issued_for(token);
    for value in values {
        must(
            leak::find(&shown, value).is_some(),
            format!(
                "the {part} `{value}` was asked for, and the server issued the token without it"
            ),
        )?;
    }
    Ok(())
}

/// Checks that a part without values in the subject is refused.
async fn refused(subject: &Subject, request: &TokenRequest, part: &str, method: &str) -> Outcome {
    let Err(error) = subject.answer(&*subject.source, request).await? else {
        return Err(Finding::Broken(format!(
            "a request for an unknown {part} gets a token; \
             if the server knows any, name two with `Subject::{method}`"
        )));
    };
    let kind = error.kind();
    must(
        matches!(kind, ErrorKind::Configuration | ErrorKind::RequestRefused),
        format!(
            "a request for an unknown {part} is refused as {kind:?}: {}",
            yields_an_error(error)
        ),
    )
}

pub(super) async fn apart(subject: &Subject, default: &AccessToken) -> Outcome {
    let Some([one, other]) = subject.two_requests() else {
        return not_checked(
            "the subject names no two requests that get tokens; see `Subject::scopes`",
        );
    };
    let first = subject.ask(one).await?;
    let second = subject.ask(other).await?;
    must(
        !first.is_same(&second),
        "two different requests get the same token",
    )?;
    // A token that is ready for one request must not be ready for another.
    let again = subject.source.ready_token(one);
    must(
        again.is_none_or(|again| !again.is_same(&second)),
        "what is ready for one request is the token of another",
    )?;
    let default_again = subject.source.ready_token(&TokenRequest::default());
    must(
        default_again.is_none_or(|again| again.scopes() == default.scopes()),
        "what is ready for the default request is another request's token",
    )
}
