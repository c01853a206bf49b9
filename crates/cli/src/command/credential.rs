//! The protocol of kubectl's credential plugins: `ExecCredential` of client.authentication.k8s.io.

use std::env;

use hallpass::AccessToken;
use serde_json::{Value, json};

use super::time::rfc3339;
use crate::failure::Failure;

/// The variable in which kubectl passes information to a plugin.
const INFO_VARIABLE: &str = "KUBERNETES_EXEC_INFO";
const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];

/// Returns the API version that kubectl requests, or the stable one if it requests none.
pub(super) fn api_version() -> Result<&'static str, Failure> {
    match env::var_os(INFO_VARIABLE).filter(|info| !info.is_empty()) {
        None => Ok(VERSIONS[0]),
        Some(info) => requested_version(info.to_str().unwrap_or_default()),
    }
}

fn requested_version(info: &str) -> Result<&'static str, Failure> {
    let wrong =
        |what: &str| Failure::configuration(format!("the variable `{INFO_VARIABLE}` {what}"));
    let info: Value = serde_json::from_str(info).map_err(|_| wrong("is not JSON"))?;
    let requested = info["apiVersion"].as_str();
    let known = VERSIONS.iter().find(|version| Some(**version) == requested);
    known.copied().ok_or_else(|| {
        wrong("requests an unsupported version of ExecCredential").with_remedy(format!(
            "supported versions: `{}`",
            VERSIONS.join("` and `")
        ))
    })
}

pub(super) fn exec_credential(token: &AccessToken, version: &str) -> Value {
    let mut status = json!({ "token": token.expose() });
    // Without it kubectl caches the token until the cluster refuses it.
    if let Some(at) = token.expires_at().and_then(rfc3339) {
        status["expirationTimestamp"] = at.into();
    }
    json!({ "apiVersion": version, "kind": "ExecCredential", "status": status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requested_version_is_returned() {
        for version in VERSIONS {
            let info = json!({ "apiVersion": version, "kind": "ExecCredential", "spec": {} });
            assert_eq!(requested_version(&info.to_string()).unwrap(), version);
        }
        for info in [
            "",
            "{}",
            "[]",
            r#"{"apiVersion":"client.authentication.k8s.io/v1alpha1"}"#,
        ] {
            assert_eq!(requested_version(info).unwrap_err().exit().code(), 3);
        }
    }
}
