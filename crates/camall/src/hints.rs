//! What to check at camall.io for each of its errors.

use hallpass_core::{ErrorKind, Hint, TokenError};

pub(crate) fn hint(error: &TokenError) -> Option<Hint> {
    let code = error.oauth_error().map_or("", |error| error.code());
    let hint = match (code, error.kind()) {
        ("invalid_scope", _) => {
            "ask for scopes that are assigned to this client at camall.io (`CAMALL_SCOPE`), or for none to get its default"
        }
        ("unauthorized_client" | "unsupported_grant_type", _) => {
            "have the client credentials flow enabled for this client at camall.io"
        }
        (_, ErrorKind::CredentialsRefused) => {
            "check `CAMALL_CLIENT_ID` and `CAMALL_CLIENT_SECRET`; the secret may have been rotated, or this machine's address may be missing from the client's IP allow-list"
        }
        _ => return None,
    };
    Some(hint.into())
}
