//! Hints for the errors of Google Cloud KMS.

use hallpass_endpoint::ServiceHints;
use serde::Deserialize;

#[derive(Deserialize)]
struct Body {
    error: Status,
}

#[derive(Deserialize)]
struct Status {
    status: Option<String>,
}

pub(crate) const ALGORITHM: &str = "create a key with the purpose `ASYMMETRIC_SIGN` and an algorithm such as `EC_SIGN_P256_SHA256`";
pub(crate) const KEY_NAME: &str = "write it as `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V`, with a version";

pub(crate) const HINTS: ServiceHints = |status, body| {
    let body: Option<Body> = serde_json::from_slice(body).ok();
    let code = body.and_then(|body| body.error.status);
    match (code.as_deref(), status.as_u16()) {
        (_, 401) => Some(
            "request the scope `https://www.googleapis.com/auth/cloudkms` for the token, from Google's own token endpoint",
        ),
        (_, 403) => Some(
            "grant the token's service account `roles/cloudkms.signerVerifier` on the key, enable the Cloud KMS API in its project, and request the scope `https://www.googleapis.com/auth/cloudkms`",
        ),
        (_, 404) => Some(
            "check project, location, key ring, key and version in the name of the key version",
        ),
        (Some("FAILED_PRECONDITION"), _) => Some(
            "enable the key version, or use one that is enabled: a disabled or destroyed one does not sign",
        ),
        (Some("INVALID_ARGUMENT"), _) => Some(
            "use a key with the purpose `ASYMMETRIC_SIGN`, and check the location in the name of the key version",
        ),
        _ => None,
    }
};
