//! Hints for the errors of Azure Key Vault.

use hallpass_endpoint::ServiceHints;
use serde::Deserialize;

#[derive(Deserialize)]
struct Body {
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    code: Option<String>,
    innererror: Option<Box<Code>>,
}

/// The hint for a key that is disabled, as the service reports it and as the key's attributes do.
pub(crate) const DISABLED: &str =
    "enable the key version, check its activation and expiration dates, or use another version";

pub(crate) const KEY_NAME: &str =
    "write it as `orders`, or `orders/0123456789abcdef0123456789abcdef`";
pub(crate) const OPERATION: &str = "add the operation `sign` to the key's permitted operations";

pub(crate) const HINTS: ServiceHints = |status, body| {
    let body: Option<Body> = serde_json::from_slice(body).ok();
    let code = body.and_then(|body| {
        let Code { code, innererror } = body.error;
        innererror.and_then(|inner| inner.code).or(code)
    });
    match (code.as_deref(), status.as_u16()) {
        (_, 401) => Some(
            "request the scope `https://vault.azure.net/.default` for the token (Managed HSM: `https://managedhsm.azure.net/.default`), in the tenant of the vault",
        ),
        (Some("KeyDisabled" | "KeyExpired" | "KeyNotYetValid"), _) => Some(DISABLED),
        (Some("ForbiddenByFirewall" | "ForbiddenByConnection"), _) => {
            Some("allow this network in the vault's firewall, or use its private endpoint")
        }
        (_, 403) => Some(
            "assign the client the role `Key Vault Crypto User` on the key, or an access policy with the key permissions Get and Sign; and check that the key version is enabled",
        ),
        (_, 404) => Some("check the vault's address, and the key's name and version"),
        (_, 400) => {
            Some("check that the key allows the operation `sign`, and the algorithm fits it")
        }
        _ => None,
    }
};
