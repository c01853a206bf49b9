//! The servers: how each is started, and the stories that it cannot run.

use super::list::STORIES;

/// A server's behaviour in one story that is another one than the story's.
pub(crate) struct Difference {
    pub(crate) story: &'static str,
    /// Part of the error, or of the observation, that shows the difference.
    pub(crate) seen: &'static str,
    /// Text of the cell.
    pub(crate) reason: &'static str,
}

/// An authorization server below `tests/peers`.
pub(crate) struct Description {
    /// Heading of the column.
    pub(crate) name: &'static str,
    pub(crate) directory: &'static str,
    pub(crate) command: &'static [&'static str],
    /// Paths in the directory that an installation makes.
    pub(crate) installed: &'static [&'static str],
    /// Reason to skip it if the command fails.
    pub(crate) needs: &'static str,
    /// Clients that have another name here: role and name.
    pub(crate) clients: &'static [(&'static str, &'static str)],
    /// Whether credentials in a Basic header are form-encoded (RFC 6749 section 2.3.1).
    pub(crate) decodes_basic: bool,
    /// Whether an assertion may have the issuer as its audience (RFC 7523bis).
    pub(crate) takes_issuer_audience: bool,
    /// Whether its metadata is at the location of OpenID Connect.
    pub(crate) openid_location: bool,
    /// The server's own name for bearer tokens.
    pub(crate) token_type_name: Option<&'static str>,
    pub(crate) differences: &'static [Difference],
}

impl Description {
    pub(crate) fn difference(&self, story: &str) -> Option<&Difference> {
        self.differences
            .iter()
            .find(|difference| difference.story == story)
    }
}

const fn differs(story: &'static str, seen: &'static str, reason: &'static str) -> Difference {
    Difference {
        story,
        seen,
        reason,
    }
}

pub(crate) const DESCRIPTIONS: &[&Description] = &[&OIDC_PROVIDER, &GLEWLWYD, &AUTHLIB, &IDPYOIDC];

pub(crate) const OIDC_PROVIDER: Description = Description {
    name: "oidc-provider",
    directory: "oidc-provider",
    command: &["node", "server.mjs"],
    installed: &["node_modules"],
    needs: "Node.js 20 or newer is not installed",
    clients: &[("odd", "basic:odd id"), ("odd-raw", "post-odd")],
    decodes_basic: true,
    takes_issuer_audience: true,
    openid_location: true,
    token_type_name: None,
    differences: &[
        differs(
            "`client_secret_basic`, raw",
            "not properly encoded",
            "no: the secret must be form-encoded",
        ),
        differs(
            "a method that is not registered is `invalid_client`",
            "accepted",
            "no: `client_secret_post` is accepted where `client_secret_basic` is registered",
        ),
        differs(
            "a request without scopes gets the client's",
            "scopes ``",
            "no: the token has no scopes",
        ),
        differs(
            "an unknown scope is `invalid_scope`",
            "accepted",
            "no: it is dropped",
        ),
        differs(
            "a DPoP proof with an old date is `invalid_dpop_proof`",
            "accepted",
            "no: with nonces, the date is not checked",
        ),
    ],
};

pub(crate) const GLEWLWYD: Description = Description {
    name: "Glewlwyd",
    directory: "glewlwyd",
    command: &["python3", "start.py"],
    installed: &[],
    needs: "Debian's packages glewlwyd, openssl and python3 are not installed",
    clients: &[
        ("odd", "basic"),
        ("odd-raw", "basic"),
        ("exchange", "basic"),
        ("reports", "basic"),
    ],
    decodes_basic: false,
    takes_issuer_audience: false,
    openid_location: true,
    token_type_name: None,
    differences: &[
        differs(
            "`client_secret_basic`, form-encoded (RFC 6749 section 2.3.1)",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: the header is not decoded; use `ClientSecretBasic::raw`",
        ),
        differs(
            "assertion with the issuer as its audience",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: use `danger_token_endpoint_as_audience`",
        ),
        differs(
            "an assertion for another audience is `invalid_client`",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: refused by HTTP 403 without a body",
        ),
        differs(
            "an assertion that was used is `invalid_client`",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: refused by HTTP 403 without a body",
        ),
        differs(
            "`self_signed_tls_client_auth`, token bound to the certificate",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: only behind a proxy that forwards the certificate",
        ),
        differs(
            "a certificate with another name is `invalid_client`",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: refused by HTTP 403 without a body",
        ),
        differs(
            "a certificate of another authority is `invalid_client`",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: refused by HTTP 403 without a body",
        ),
        differs(
            "a wrong secret is `invalid_client`",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: refused by HTTP 403 without a body",
        ),
        differs(
            "an unknown client is `invalid_client`",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: refused by HTTP 403 without a body",
        ),
        differs(
            "a wrong key is `invalid_client`",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: refused by HTTP 403 without a body",
        ),
        differs(
            "a method that is not registered is `invalid_client`",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: refused by HTTP 403 without a body",
        ),
        differs(
            "a request without scopes gets the client's",
            "CredentialsRefused: the server refused the client and gave no reason",
            "no: refused by HTTP 403 without a body, as for a wrong secret",
        ),
        differs(
            "an unknown scope is `invalid_scope`",
            "`scope_invalid`",
            "no: the code is `scope_invalid`",
        ),
        differs(
            "an unknown grant is `unsupported_grant_type`",
            "RequestRefused: the server refused the request and gave no reason",
            "no: refused by HTTP 400 without a body",
        ),
        differs(
            "JWT bearer grant (RFC 7523)",
            "RequestRefused: the server refused the request and gave no reason",
            "no",
        ),
        differs(
            "token exchange (RFC 8693)",
            "RequestRefused: the server refused the request and gave no reason",
            "no",
        ),
        differs(
            "metadata at the location of RFC 8414",
            "the server has no metadata",
            "no",
        ),
    ],
};

pub(crate) const AUTHLIB: Description = Description {
    name: "Authlib",
    directory: "authlib",
    command: &["../.venv/bin/python", "server.py"],
    installed: &["../.venv/requirements.txt"],
    needs: "Python 3.9 or newer is not installed",
    clients: &[("odd", "basic"), ("odd-raw", "basic"), ("dpop", "basic")],
    decodes_basic: true,
    takes_issuer_audience: true,
    openid_location: false,
    token_type_name: None,
    differences: &[
        differs(
            "`private_key_jwt` (PS256)",
            "is not recommended",
            "no: only RS256 and ES256 by default",
        ),
        differs(
            "`private_key_jwt` (ES384)",
            "is not recommended",
            "no: only RS256 and ES256 by default",
        ),
        differs(
            "`private_key_jwt` (EdDSA)",
            "is not recommended",
            "no: only RS256 and ES256 by default",
        ),
        differs(
            "`tls_client_auth`, token bound to the certificate",
            "cannot authenticate with methods",
            "no",
        ),
        differs(
            "`self_signed_tls_client_auth`, token bound to the certificate",
            "cannot authenticate with methods",
            "no",
        ),
        differs(
            "a certificate with another name is `invalid_client`",
            "cannot authenticate with methods",
            "no",
        ),
        differs(
            "a certificate of another authority is `invalid_client`",
            "cannot authenticate with methods",
            "no",
        ),
        differs(
            "a missing scope is noticed (`require_granted_scopes`)",
            "`invalid_scope`",
            "no: the request is `invalid_scope`",
        ),
        differs(
            "resource indicator (RFC 8707)",
            "audience",
            "no: it is ignored",
        ),
        differs(
            "an unknown resource is `invalid_target`",
            "accepted",
            "no: it is ignored",
        ),
        differs(
            "token exchange (RFC 8693)",
            "`unsupported_grant_type`",
            "no",
        ),
        differs(
            "DPoP (ES256)",
            "`token_type` is not `DPoP` but `Bearer`",
            "no: the token is not bound, and refused here",
        ),
        differs(
            "DPoP (EdDSA)",
            "`token_type` is not `DPoP` but `Bearer`",
            "no: the token is not bound, and refused here",
        ),
        differs(
            "DPoP with a nonce",
            "`token_type` is not `DPoP` but `Bearer`",
            "no",
        ),
        differs(
            "a DPoP proof with an old date is `invalid_dpop_proof`",
            "`token_type` is not `DPoP` but `Bearer`",
            "no",
        ),
        differs(
            "metadata at the location of OpenID Connect",
            "the server has no metadata",
            "no",
        ),
        differs(
            "requests share a connection",
            "3 connections",
            "no: Flask's server closes each connection",
        ),
    ],
};

pub(crate) const IDPYOIDC: Description = Description {
    name: "idpyoidc",
    directory: "idpyoidc",
    command: &["../.venv/bin/python", "server.py"],
    installed: &["../.venv/requirements.txt"],
    needs: "Python 3.9 or newer is not installed",
    clients: &[("odd", "basic"), ("odd-raw", "basic"), ("dpop", "basic")],
    decodes_basic: false,
    takes_issuer_audience: false,
    openid_location: false,
    token_type_name: Some("access_token"),
    differences: &[
        differs(
            "`client_secret_basic`, form-encoded (RFC 6749 section 2.3.1)",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no: the header is not decoded; use `ClientSecretBasic::raw`",
        ),
        differs(
            "assertion with the issuer as its audience",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no: use `danger_token_endpoint_as_audience`",
        ),
        differs(
            "an assertion for another audience is `invalid_client`",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no: refused as `invalid_request`",
        ),
        differs(
            "an assertion that was used is `invalid_client`",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no: refused as `invalid_request`",
        ),
        differs(
            "`tls_client_auth`, token bound to the certificate",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no",
        ),
        differs(
            "`self_signed_tls_client_auth`, token bound to the certificate",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no",
        ),
        differs(
            "a certificate with another name is `invalid_client`",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no",
        ),
        differs(
            "a certificate of another authority is `invalid_client`",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no",
        ),
        differs(
            "a wrong secret is `invalid_client`",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no: refused as `invalid_request`",
        ),
        differs(
            "an unknown client is `invalid_client`",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no: refused as `invalid_request`",
        ),
        differs(
            "a wrong key is `invalid_client`",
            "RequestRefused: the server refused the token request: `invalid_request`, \"Authorization failed\"",
            "no: refused as `invalid_request`",
        ),
        differs(
            "a method that is not registered is `invalid_client`",
            "accepted",
            "no: `client_secret_post` is accepted where `client_secret_basic` is registered",
        ),
        differs(
            "scopes are narrowed to the requested ones",
            "scopes `api:read api:write`",
            "no: the token has all scopes of the client",
        ),
        differs(
            "an unknown scope is `invalid_scope`",
            "accepted",
            "no: it is dropped",
        ),
        differs(
            "an unknown grant is `unsupported_grant_type`",
            "`invalid_request`, \"Unsupported grant_type: urn:example:unknown",
            "no: refused as `invalid_request`",
        ),
        differs(
            "resource indicator (RFC 8707)",
            "audience null",
            "no: it is ignored",
        ),
        differs(
            "an unknown resource is `invalid_target`",
            "accepted",
            "no: it is ignored",
        ),
        differs(
            "JWT bearer grant (RFC 7523)",
            "`invalid_request`, \"Unsupported grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer",
            "no",
        ),
        differs(
            "refresh token, rotated",
            "no refresh token",
            "no: sign-in is not set up in the tests",
        ),
        differs(
            "20 calls through a cache are one refresh",
            "no refresh token",
            "no: sign-in is not set up in the tests",
        ),
        differs(
            "DPoP (ES256)",
            "`token_type` is not `DPoP` but `access_token`",
            "no: the token is not bound, and refused here",
        ),
        differs(
            "DPoP (EdDSA)",
            "`token_type` is not `DPoP` but `access_token`",
            "no: the token is not bound, and refused here",
        ),
        differs(
            "DPoP with a nonce",
            "`token_type` is not `DPoP` but `access_token`",
            "no",
        ),
        differs(
            "a DPoP proof with an old date is `invalid_dpop_proof`",
            "`token_type` is not `DPoP` but `access_token`",
            "no",
        ),
        differs(
            "a bearer token has the `token_type` of RFC 6750",
            "not `Bearer` but `access_token`",
            "no: it is `access_token`; use `token_type_name`",
        ),
        differs(
            "metadata at the location of OpenID Connect",
            "the server has no metadata",
            "no",
        ),
        differs(
            "requests share a connection",
            "3 connections",
            "no: Flask's server closes each connection",
        ),
    ],
};

/// Returns the table of docs/servers.md.
pub(crate) fn table() -> String {
    let mut rows = vec!["| |".to_owned(), "|---|".to_owned()];
    for description in DESCRIPTIONS {
        rows[0] += &format!(" {} |", description.name);
        rows[1] += "---|";
    }
    for story in STORIES {
        let mut row = format!("| {} |", story.name);
        for description in DESCRIPTIONS {
            let cell = description.difference(story.name);
            row += &format!(" {} |", cell.map_or("yes", |difference| difference.reason));
        }
        rows.push(row);
    }
    rows.join("\n")
}
