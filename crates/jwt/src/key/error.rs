//! Errors about a private key.

use hallpass_endpoint::BuildError;

use crate::provider::RefusalReason;

/// Creates an error about the setting `key`.
pub(super) fn invalid_key(message: impl Into<std::borrow::Cow<'static, str>>) -> BuildError {
    BuildError::new("key", message)
}

/// Converts the signing library's reason for refusing a key.
#[allow(clippy::needless_pass_by_value)] // The argument of `map_err`.
pub(super) fn refused(reason: RefusalReason) -> BuildError {
    match reason.as_str() {
        "TooSmall" => invalid_key(
            "the RSA key has fewer than 2048 bits (RFC 7518 section 3.3); generate a longer one",
        ),
        "InconsistentComponents" => invalid_key("it is damaged: its parts do not match"),
        reason => invalid_key(format!("it cannot be read ({reason})")),
    }
}
