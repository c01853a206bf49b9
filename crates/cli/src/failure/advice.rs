//! The libraries' hints in terms of this command: settings, variables and flags instead of methods.

use hallpass::{
    camall,
    core::Hint,
    endpoint::{BuildError, hints},
};

/// The remedy for a proxy that requires credentials.
pub(crate) const PROXY_CREDENTIALS: &str = "set `proxy` to `system`, and the variable `HTTPS_PROXY` to the proxy's URL with user name and password";

/// The hints that name methods, and their replacements. All others are used as they are.
const IN_COMMAND: &[(Hint, &str)] = &[
    (
        hints::ENCODING,
        "check `client_id` and `client_secret`; the secret holds characters that are encoded in the header, which some servers do not decode: set `authentication` to `client_secret_basic_raw` for such a server",
    ),
    (
        hints::TOKEN_SIZE,
        "have the server issue shorter tokens, such as with fewer scopes",
    ),
    (hints::BODY_SIZE, "check `token_endpoint`"),
    (
        hints::UNBOUND,
        "have DPoP switched off for this client: this command does not support it",
    ),
    (
        hints::PROOF,
        "it binds this client's tokens to a key (DPoP), which this command does not support: have that switched off for this client",
    ),
    (hints::UTF8, "remove them"),
    (
        hints::COLON,
        "set `authentication` to `client_secret_basic` or `client_secret_post`",
    ),
    (
        hints::OPENID_LOCATION,
        "check `issuer`; set `openid_discovery` to `true` if the server has the document at the location of OpenID Connect alone; or set `token_endpoint`, which needs no metadata",
    ),
    (
        hints::OAUTH_LOCATION,
        "check `issuer`; without `openid_discovery` the document is sought where RFC 8414 has it; or set `token_endpoint`, which needs no metadata",
    ),
    (hints::PROXY_CREDENTIALS, PROXY_CREDENTIALS),
    (
        hints::LATE_CREDENTIALS,
        "check where the client's secret or key comes from",
    ),
    (
        camall::hints::SCOPES,
        "ask for scopes that are assigned to this client at camall.io (`scope`), or for none to get its default",
    ),
    (
        camall::hints::CREDENTIALS,
        "check `client_id` and `client_secret`, or the variables `CAMALL_CLIENT_ID` and `CAMALL_CLIENT_SECRET`; the secret may have been rotated, or this machine's address may be missing from the client's IP allow-list",
    ),
    (
        hints::CLIENT,
        "check `user_agent`, and that the platform has certificate authorities, or name a file of yours with `ca_file`",
    ),
    (
        hints::ROOTS,
        "check the host in `token_endpoint`; a private certificate authority is added with `ca_file`",
    ),
    (
        hints::INTERMEDIATE,
        "the certificates in `ca_file` do not lead to it: add the authority that issued it, or have the server send its intermediate certificates",
    ),
    (
        hints::CLIENT_CERTIFICATE,
        "set `certificate` to one that the server knows",
    ),
    (
        hints::CERTIFICATE_NAMES,
        "check that the server trusts the certificate's issuer and has its subject or one of its alternative names registered for this `client_id`, and that `token_endpoint` is the one where it asks for certificates",
    ),
    (
        hints::CERTIFICATE_ITSELF,
        "check that the server has this very certificate registered for this `client_id`, and that `token_endpoint` is the one where it asks for certificates",
    ),
];

/// The settings whose names differ from those of the libraries' methods.
pub(crate) const SETTINGS: [(&str, &str); 1] = [("add_root_certificates_pem", "ca_file")];

/// Rewrites a hint in terms of this command.
pub(crate) fn in_command(name: Option<&str>, text: &str) -> String {
    let listed = IN_COMMAND.iter().find(|(hint, _)| hint.name() == name);
    match listed.filter(|_| name.is_some()) {
        Some((_, ours)) => (*ours).to_owned(),
        None => text.to_owned(),
    }
}

/// Returns the message and the remedy for an invalid setting, under the command's name for it.
pub(super) fn of_setting(error: &BuildError) -> (String, Option<String>) {
    let renamed = SETTINGS.iter().find(|(name, _)| *name == error.setting());
    let setting = renamed.map_or(error.setting(), |(_, ours)| ours);
    let hint = error.hint().map(|hint| in_command(error.hint_name(), hint));
    (format!("{setting}: {}", error.message()), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_replaces_an_existing_hint() {
        for (hint, text) in IN_COMMAND {
            let known = hints::ALL.contains(hint) || camall::hints::ALL.contains(hint);
            assert!(known, "{text}");
            assert_ne!(hint.text(), *text);
        }
    }
}
