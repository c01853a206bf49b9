//! The libraries' hints in terms of profiles: settings and variables instead of methods.

use hallpass_camall as camall;
use hallpass_core::{Hint, TokenError};
use hallpass_endpoint::{BuildError, hints};

/// The remedy for a proxy that requires credentials.
pub const PROXY_CREDENTIALS_HINT: &str = "set `proxy` to `system`, and the variable `HTTPS_PROXY` to the proxy's URL with user name and password";

/// The hints that name methods, and their replacements. All others are used as they are.
const SETTING_HINTS: &[(Hint, &str)] = &[
    (
        hints::ENCODING,
        "check `client_id` and `client_secret`; the secret contains characters that some servers do not decode in HTTP Basic authentication: set `authentication` to `client_secret_basic_raw` for such a server",
    ),
    (
        hints::TOKEN_SIZE,
        "configure the server to issue shorter tokens, for example with fewer scopes",
    ),
    (hints::BODY_SIZE, "check `token_endpoint`"),
    (
        hints::EXPIRY_MEMBER,
        "check the pointer in `expiry_member`, and the unit in `expiry_format`",
    ),
    (
        hints::PROOF,
        "the server binds this client's tokens to a key (DPoP): generate one with `hallpass keygen`, and set `dpop` to a reference to it",
    ),
    (hints::UTF8, "remove them"),
    (
        hints::COLON,
        "set `authentication` to `client_secret_basic` or `client_secret_post`",
    ),
    (
        hints::OPENID_LOCATION,
        "check `issuer`; set `openid_discovery` to `true` if the server publishes its metadata only at the OpenID Connect location; or set `token_endpoint`, which needs no metadata",
    ),
    (
        hints::OAUTH_LOCATION,
        "check `issuer`; without `openid_discovery` the location of RFC 8414 is used; or set `token_endpoint`, which needs no metadata",
    ),
    (hints::PROXY_CREDENTIALS, PROXY_CREDENTIALS_HINT),
    (
        hints::LATE_CREDENTIALS,
        "check the source of the client secret or the private key",
    ),
    (
        camall::hints::SCOPES,
        "request scopes that are assigned to this client at camall.io (`scope`), or none for its default scopes",
    ),
    (
        camall::hints::CREDENTIALS,
        "check `client_id` and `client_secret`, or the variables `CAMALL_CLIENT_ID` and `CAMALL_CLIENT_SECRET`; the secret may have been rotated, or this machine's address may be missing from the client's IP allow-list",
    ),
    (
        hints::CLIENT,
        "check `user_agent`, and that the platform has certificate authorities, or set `ca_file`",
    ),
    (
        hints::ROOTS,
        "check the host in `token_endpoint`; `ca_file` adds a private certificate authority",
    ),
    (
        hints::INTERMEDIATE,
        "add the certificate authority that issued it to `ca_file`, or configure the server to send its intermediate certificates",
    ),
    (
        hints::CLIENT_CERTIFICATE,
        "set `certificate` to a certificate that the server accepts",
    ),
    (
        hints::CERTIFICATE_NAMES,
        "check that the server trusts the certificate's issuer, that the certificate's subject or one of its alternative names is registered for this `client_id`, and that `token_endpoint` is the endpoint for mutual TLS",
    ),
    (
        hints::CERTIFICATE_ITSELF,
        "check that this certificate is registered for this `client_id`, and that `token_endpoint` is the endpoint for mutual TLS",
    ),
];

/// The settings whose names differ from those of the libraries' methods.
pub(crate) const SETTINGS: [(&str, &str); 3] = [
    ("add_root_certificates_pem", "ca_file"),
    ("parameter", "parameters"),
    ("request_header", "request_headers"),
];

/// Returns the hint of an error in terms of profiles: it names settings and variables instead of methods.
pub fn setting_hint(error: &TokenError) -> Option<String> {
    let hint = error.hint()?;
    Some(rename(error.hint_name(), hint))
}

fn rename(name: Option<&str>, text: &str) -> String {
    let listed = SETTING_HINTS.iter().find(|(hint, _)| hint.name() == name);
    match listed.filter(|_| name.is_some()) {
        Some((_, ours)) => (*ours).to_owned(),
        None => text.to_owned(),
    }
}

/// Returns the message and the remedy for an invalid setting, under its name in a profile.
pub(crate) fn setting_error(error: &BuildError) -> (String, Option<String>) {
    let renamed = SETTINGS.iter().find(|(name, _)| *name == error.setting());
    let setting = renamed.map_or(error.setting(), |(_, ours)| ours);
    let hint = error.hint().map(|hint| rename(error.hint_name(), hint));
    (format!("{setting}: {}", error.message()), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::KEYS;

    #[test]
    fn each_entry_replaces_an_existing_hint() {
        for (hint, text) in SETTING_HINTS {
            let known = hints::ALL.contains(hint) || camall::hints::ALL.contains(hint);
            assert!(known, "{text}");
            assert_ne!(hint.text(), *text);
        }
    }

    /// Words in backticks that are not settings: values of settings and variables.
    const OTHERS: [&str; 10] = [
        "CAMALL_CLIENT_ID",
        "CAMALL_CLIENT_SECRET",
        "HTTPS_PROXY",
        "client_secret_basic",
        "client_secret_basic_raw",
        "https",
        "client_secret_post",
        "hallpass keygen",
        "system",
        "true",
    ];

    /// The hints that no profile can produce.
    const ELSEWHERE: [Hint; 10] = [
        hints::ANONYMOUS,
        hints::INTROSPECTION_ENDPOINT,
        hints::ISSUER_NOT_ALLOWED,
        hints::NO_ADDRESS,
        hints::NO_RESOURCE_METADATA,
        hints::OTHER_RESOURCE,
        hints::OWN_TRANSPORT,
        hints::RESOURCE_NOT_ALLOWED,
        hints::REVOCATION_ENDPOINT,
        hints::UNKNOWN_ADDRESS,
    ];

    #[test]
    fn hints_name_settings_of_profiles() {
        let mut seen = 0;
        let all = hints::ALL.iter().chain(camall::hints::ALL);
        for hint in all.filter(|hint| !ELSEWHERE.contains(hint)) {
            let text = rename(hint.name(), hint.text());
            for name in text.split('`').skip(1).step_by(2) {
                let known = KEYS.contains(&name) || OTHERS.contains(&name);
                assert!(known, "`{name}` in: {text}");
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
        for (_, setting) in SETTINGS {
            assert!(KEYS.contains(&setting), "{setting}");
        }
    }
}
