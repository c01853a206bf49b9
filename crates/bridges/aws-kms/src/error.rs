//! Maps the errors of AWS KMS and of its SDK to error kinds.

use std::{error::Error, iter::successors, time::Duration};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use hallpass_core::{TextFilter, TokenError};

/// The codes of the service for too many requests, whose status is 400.
const THROTTLED: [&str; 4] = [
    "LimitExceededException",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
];

/// Converts an error of the SDK.
pub(crate) fn convert<E>(error: SdkError<E, HttpResponse>) -> TokenError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let wait = wait(service.raw());
            let status = service.raw().status().as_u16();
            let error = refused(service.into_err(), status);
            match wait {
                Some(wait) => error.with_retry_after(wait),
                None => error,
            }
        }
        SdkError::TimeoutError(_) => {
            TokenError::unavailable("AWS KMS did not answer in time").with_source(error)
        }
        // The HTTP client says that a retry may succeed, such as after a lost connection.
        SdkError::DispatchFailure(ref failure)
            if failure.is_io() || failure.is_timeout() || failure.as_other().is_some() =>
        {
            TokenError::unavailable("AWS KMS could not be reached")
                .with_hint("check the region and the endpoint of the client, and the network")
                .with_source(error)
        }
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => not_sent(error),
        // Its text may be the response.
        _ => unreadable(),
    }
}

/// Converts the error of a request that was not sent.
fn not_sent<E>(error: SdkError<E, HttpResponse>) -> TokenError
where
    E: Error + Send + Sync + 'static,
{
    let converted = match credentials(&error) {
        Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)) => {
            TokenError::unavailable("the provider of AWS credentials failed")
        }
        Some(_) => TokenError::configuration("there are no AWS credentials").with_hint(
            "give the client a provider of credentials, such as the default one of the AWS SDK",
        ),
        None => TokenError::configuration("the request to AWS KMS could not be created")
            .with_hint("check the region, the endpoint and the credentials of the client"),
    };
    converted.with_source(error)
}

fn credentials<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// Returns the error for a response by which a proxy may have answered.
fn unreadable() -> TokenError {
    TokenError::unusable_response("the response of AWS KMS cannot be read").with_transient(true)
}

/// Converts the service's own error.
fn refused<E>(error: E, status: u16) -> TokenError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default();
    if status < 400 {
        return unreadable();
    }
    if THROTTLED.contains(&code) || status == 429 {
        let throttled = TokenError::unavailable("AWS KMS limits the request rate");
        return throttled.with_server_message(code).with_source(error);
    }
    if status >= 500 {
        let down = TokenError::unavailable("AWS KMS is unavailable");
        return down.with_server_message(code).with_source(error);
    }
    let (hint, is_about_signature) = hint(code);
    let refused = TokenError::configuration("AWS KMS refused the request");
    let refused = match hint {
        Some(hint) => refused.with_hint(hint),
        None => refused,
    };
    if is_about_signature {
        // The message may quote the request, with its session token.
        return refused.with_server_message(code);
    }
    let said: Vec<&str> = [error.code(), error.message()]
        .into_iter()
        .flatten()
        .collect();
    let said = TextFilter::new().clean(&said.join(": "));
    refused.with_server_message(&said).with_source(error)
}

/// Returns what to do about an error, and whether it is about the signature of the request itself.
fn hint(code: &str) -> (Option<&'static str>, bool) {
    match code {
        "DisabledException" => (Some("enable the key, or use one that is enabled"), false),
        "KMSInvalidStateException" => (
            Some(
                "check the state of the key: one that is pending deletion or import does not sign",
            ),
            false,
        ),
        "NotFoundException" => (
            Some("check the key's ID or alias, and that the client is for its region and account"),
            false,
        ),
        "InvalidKeyUsageException" | "UnsupportedOperationException" => (
            Some(
                "use an asymmetric key of the usage `SIGN_VERIFY`, and an algorithm that it supports",
            ),
            false,
        ),
        "AccessDeniedException" => (
            Some(
                "allow `kms:GetPublicKey` and `kms:Sign` for the key, in the key policy or the IAM policy of the client's role",
            ),
            false,
        ),
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException" => (
            Some("check the client's credentials and its region, and set this machine's clock"),
            true,
        ),
        "ExpiredTokenException" | "UnrecognizedClientException" | "InvalidClientTokenId" => {
            (Some("renew the client's AWS credentials"), true)
        }
        _ => (None, false),
    }
}

/// Returns the wait that the service asks for.
fn wait(response: &HttpResponse) -> Option<Duration> {
    let milliseconds = response.headers().get("x-amz-retry-after")?;
    milliseconds.trim().parse().ok().map(Duration::from_millis)
}
