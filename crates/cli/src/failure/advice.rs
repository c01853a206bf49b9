//! The libraries' hints in terms of this command: settings, variables and flags instead of methods.

use hallpass::{
    Hint, camall,
    endpoint::{BuildError, hints},
};

/// The remedy for a proxy that requires credentials.
pub(crate) const PROXY_CREDENTIALS: &str = "set `proxy` to `system`, and the variable `HTTPS_PROXY` to the proxy's URL with user name and password";

/// The hints that name methods, and their replacements. All others are used as they are.
const COMMAND_HINTS: &[(Hint, &str)] = &[
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
        hints::UNBOUND,
        "disable DPoP for this client at the server: this command does not support it",
    ),
    (
        hints::PROOF,
        "the server binds this client's tokens to a key (DPoP), which this command does not support: disable it for this client",
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
    (hints::PROXY_CREDENTIALS, PROXY_CREDENTIALS),
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
pub(crate) const SETTINGS: [(&str, &str); 1] = [("add_root_certificates_pem", "ca_file")];

/// Rewrites a hint in terms of this command.
pub(crate) fn command_hint(name: Option<&str>, text: &str) -> String {
    let listed = COMMAND_HINTS.iter().find(|(hint, _)| hint.name() == name);
    match listed.filter(|_| name.is_some()) {
        Some((_, ours)) => (*ours).to_owned(),
        None => text.to_owned(),
    }
}

/// Returns the message and the remedy for an invalid setting, under the command's name for it.
pub(super) fn setting_error(error: &BuildError) -> (String, Option<String>) {
    let renamed = SETTINGS.iter().find(|(name, _)| *name == error.setting());
    let setting = renamed.map_or(error.setting(), |(_, ours)| ours);
    let hint = error
        .hint()
        .map(|hint| command_hint(error.hint_name(), hint));
    (format!("{setting}: {}", error.message()), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_replaces_an_existing_hint() {
        for (hint, text) in COMMAND_HINTS {
            let known = hints::ALL.contains(hint) || camall::hints::ALL.contains(hint);
            assert!(known, "{text}");
            assert_ne!(hint.text(), *text);
        }
    }
}
