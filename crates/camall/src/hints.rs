//! Named hints of this adapter's errors, for programs that use other names for the settings in them.

use hallpass_core::{ErrorKind, Hint, TokenError};

/// The scopes are refused.
pub const SCOPES: Hint = Hint::named(
    "camall-scopes",
    "request scopes that are assigned to this client at camall.io (`CAMALL_SCOPE`), or none to get its default",
);
/// The client is refused.
pub const CREDENTIALS: Hint = Hint::named(
    "camall-credentials",
    "check `CAMALL_CLIENT_ID` and `CAMALL_CLIENT_SECRET`; the secret may have been rotated, or this machine's address may be missing from the client's IP allow-list",
);
/// Every hint of this module.
pub const ALL: &[Hint] = &[SCOPES, CREDENTIALS];

pub(crate) fn hint(error: &TokenError) -> Option<Hint> {
    let code = error.oauth_error().map_or("", |error| error.code());
    Some(match (code, error.kind()) {
        ("invalid_scope", _) => SCOPES,
        (_, ErrorKind::CredentialsRefused) => CREDENTIALS,
        ("unauthorized_client" | "unsupported_grant_type", _) => {
            "have the client credentials flow enabled for this client at camall.io".into()
        }
        _ => return None,
    })
}
