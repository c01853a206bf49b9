//! Named hints of this crate's errors, for programs that use other names for the settings in them.
//!
//! ```
//! use hallpass_core::TokenError;
//! use hallpass_endpoint::hints;
//!
//! fn advice(error: &TokenError) -> Option<&str> {
//!     match error.hint_name() {
//!         name if name == hints::ROOTS.name() => Some("name your certificate authority with `--ca-file`"),
//!         _ => error.hint(),
//!     }
//! }
//! # let error = TokenError::configuration("x").with_hint(hints::ROOTS);
//! # assert!(advice(&error).unwrap().contains("--ca-file"));
//! ```

use hallpass_core::{Hint, TokenError};

/// Defines the hints. A hint about the address of a request has the setting of that address between its two texts: in
/// the constant it is `token_endpoint`.
macro_rules! hints {
    ($($(#[$doc:meta])+ $constant:ident = $name:literal, $text:literal $(@ $after:literal)?;)+) => {
        $($(#[$doc])+ pub const $constant: Hint =
            Hint::named($name, concat!($text $(, "`token_endpoint`", $after)?));)+

        /// Every hint of this module.
        pub const ALL: &[Hint] = &[$($constant),+];

        /// The hints about the address of a request, and their two texts.
        const ADDRESS_HINTS: &[(Hint, &str, &str)] = &[$($(($constant, $text, $after),)?)+];
    };
}

/// Replaces a hint about the address of a request by the same one for the setting of that address.
pub(crate) fn for_address(error: TokenError, setting: &str) -> TokenError {
    let name = error.hint_name();
    let listed = ADDRESS_HINTS.iter().find(|(hint, ..)| hint.name() == name);
    match listed.filter(|_| name.is_some()) {
        Some((hint, before, after)) => {
            let text = format!("{before}`{setting}`{after}");
            error.with_hint(hint.clone().with_text(text))
        }
        None => error,
    }
}

hints! {
    /// The address has no token endpoint.
    TOKEN_ENDPOINT = "token-endpoint", "check `token_endpoint`";
    /// The host's name cannot be resolved.
    HOST_NAME = "host-name", "check the host in " @ ", and this machine's name service";
    /// No connection to the server can be made.
    SERVER = "server", "check host and port in " @ ", that the server is running, and that no firewall blocks the connection";
    /// No connection through the proxy can be made.
    PROXY = "proxy", "check the address of the `proxy`, that it is running, and that it allows this connection";
    /// The response is a web page.
    WEB_PAGE = "web-page", "a firewall, a proxy or a sign-in page may have sent it: check " @ ", and whether another `user_agent` is accepted";
    /// The address has no introspection endpoint.
    INTROSPECTION_ENDPOINT = "introspection-endpoint", "check `Endpoint::with_introspection_endpoint`, or the metadata of the server";
    /// The address has no revocation endpoint.
    REVOCATION_ENDPOINT = "revocation-endpoint", "check `Endpoint::with_revocation_endpoint`, or the metadata of the server";
    /// Introspection or revocation is redirected.
    MANAGEMENT_REDIRECT = "management-redirect", "credentials and tokens never follow a redirect";
    /// Requests are redirected.
    REDIRECT = "redirect", "credentials never follow a redirect; set `token_endpoint` to the final address if you trust it";
    /// The server does not accept forms.
    NO_FORMS = "no-forms", "check `token_endpoint`: a token endpoint accepts forms, and this address may belong to another API; set `json_requests` if this server takes JSON only";
    /// The client is refused.
    CREDENTIALS = "credentials", "check `client_id` and `client_secret`, and that the server expects this authentication method";
    /// The client is refused, and its secret changes if the server does not decode it.
    ENCODING = "encoding", "check `client_id` and `client_secret`; the secret contains characters that are encoded in the header, which some servers do not decode: use `ClientSecretBasic::raw` for these";
    /// The request is refused as such.
    PARAMETERS = "parameters", "check the extra parameters, and in which encoding the server expects `client_id` and `client_secret`";
    /// The authorization details are refused.
    DETAILS = "authorization-details", "request only types of `authorization_details` that the server has and this client may use, with the members that the API's documentation names (RFC 9396 section 5)";
    /// The server does not list a type of authorization details.
    DETAILS_TYPE = "authorization-details-type", "check the types in `authorization_details`: their case counts";
    /// A successful response has no token at its top level.
    NO_TOKEN = "no-token", "check `token_endpoint`: a token endpoint sends the token at the top level of its JSON (RFC 6749 section 5.1), and this address may belong to another API; set `token_member` if this server sends the token in another member";
    /// A response is compressed.
    COMPRESSED = "compressed", "check " @ ": configure the server, or the gateway at this address, to compress only on request, use an address that bypasses the gateway, or set `compressed_responses` if all responses in gzip are intended";
    /// A response in gzip is damaged.
    GZIP = "gzip", "check the server, or the gateway in front of it: the end of the response may be missing, or it is not gzip";
    /// A response violates RFC 6749 but is unambiguous.
    LENIENT = "lenient-responses", "set `lenient_responses` if all responses of this server are like this";
    /// The response has a token of an unknown type.
    TOKEN_TYPE = "token-type", "if the server documents its tokens as bearer tokens, set `token_type_name` to this name";
    /// The member that has the expiry is missing, or has another unit.
    EXPIRY_MEMBER = "expiry-member", "check `expiry_member`: its pointer and its format";
    /// The token is longer than the limit.
    TOKEN_SIZE = "token-size", "raise `max_token_bytes` if resource servers accept headers of that size";
    /// The response is longer than the limit.
    BODY_SIZE = "body-size", "check " @ ", or raise `max_body_bytes`";
    /// The token is not bound to the key.
    UNBOUND = "unbound-token", "enable DPoP for this client at the server, or remove `dpop`";
    /// The server demands a proof of possession.
    PROOF = "proof-demanded", "the server binds this client's tokens to a key: set `dpop`";
    /// The credentials hold characters outside printable ASCII.
    UTF8 = "utf8-credentials", "remove them, or set `allow_utf8_credentials` if they are intended";
    /// A raw Basic header cannot carry the `client_id`.
    COLON = "colon-in-id", "use the form-encoded `ClientSecretBasic::new`, or `ClientSecretPost`";
    /// There is no metadata at the location of RFC 8414.
    OPENID_LOCATION = "openid-location", "check `issuer`; some servers publish the document only at the location of OpenID Connect, see `openid_location`; or set `token_endpoint`, which needs no metadata";
    /// There is no metadata at the location of OpenID Connect.
    OAUTH_LOCATION = "oauth-location", "check `issuer`; without `openid_location` the document is read from the location of RFC 8414; or set `token_endpoint`, which needs no metadata";
    /// The proxy demands credentials.
    PROXY_CREDENTIALS = "proxy-credentials", "set the proxy's user name and password with `proxy_credentials`";
    /// The credentials are not ready in time.
    LATE_CREDENTIALS = "late-credentials", "check where the client's secret or key comes from, or raise the deadline with `Retry::deadline`";
    /// The HTTP client cannot be set up.
    CLIENT = "http-client", "check `user_agent`, and that the platform has certificate authorities, or add yours with `add_root_certificates_pem`";
    /// The server ends the TLS handshake.
    TLS_HANDSHAKE = "tls-handshake", "check that it offers TLS 1.2 or 1.3 for this host's name, and the port in " @ "";
    /// The server does not speak TLS.
    NOT_TLS = "not-tls", "check scheme and port in " @ "";
    /// The server's certificate cannot be verified.
    SERVER_CERTIFICATE = "server-certificate", "check the host in " @ " and the server's certificate";
    /// The issuer of the server's certificate is unknown.
    ROOTS = "roots", "check the host in " @ "; add a private certificate authority with `add_root_certificates_pem`";
    /// The issuer of the server's certificate is not among the added ones either.
    INTERMEDIATE = "intermediate", "the certificates added with `add_root_certificates_pem` do not lead to it: add the authority that issued it, or have the server send its intermediate certificates";
    /// The server demands a client certificate.
    CLIENT_CERTIFICATE = "client-certificate", "authenticate this client with `MutualTls` and a certificate that the server knows";
    /// A client certificate is refused by its issuer or its names.
    CERTIFICATE_NAMES = "certificate-names", "check that the server trusts the certificate's issuer and has its subject or one of its alternative names registered for this `client_id`, and that the URL is the one where it requests certificates (`with_mtls_alias`)";
    /// A self-signed client certificate is refused.
    CERTIFICATE_ITSELF = "certificate-itself", "check that the server has this very certificate registered for this `client_id`, and that the URL is the one where it requests certificates (`with_mtls_alias`)";
    /// The text of a client certificate is wrong, and its key is in another text.
    CERTIFICATE_TEXT = "certificate-text", "the error is in the text of the certificate, not in that of the key";
    /// The text of a client certificate's key is wrong, and the certificate is in another text.
    KEY_TEXT = "key-text", "the error is in the text of the private key, not in that of the certificate";
    /// A caller's HTTP client cannot present a certificate.
    OWN_TRANSPORT = "own-transport", "build the transport with `HttpTransport::builder`";
    /// A certificate needs TLS.
    HTTPS = "https", "set " @ " to an `https` URL";
    /// An anonymous client is refused.
    ANONYMOUS = "anonymous-client", "this server requires a `client_id`: set it with `PublicClient`, or authenticate the client";
    /// A resource has no metadata, or does not name them.
    NO_RESOURCE_METADATA = "no-resource-metadata", "the resource publishes no metadata (RFC 9728) here: set the issuer with `Endpoint::discover`";
    /// The origin of a resource is not on the list.
    RESOURCE_NOT_ALLOWED = "resource-not-allowed", "allow it with `allow_resource` if its operator may choose among the allowed issuers";
    /// No issuer of a resource is on the list.
    ISSUER_NOT_ALLOWED = "issuer-not-allowed", "allow one with `allow_issuer` if this client is registered there";
    /// The metadata are those of another resource.
    OTHER_RESOURCE = "other-resource", "use the resource's identifier exactly as in its metadata; set `accept_parent_resource` if the identifier is above the URL of the request";
    /// The metadata has no address for an action.
    NO_ADDRESS = "no-address", "the server's metadata has no such endpoint; if the server has one, set it on the `Endpoint`";
    /// There is no address for an action.
    UNKNOWN_ADDRESS = "unknown-address", "set it on the `Endpoint`, or discover it with `Endpoint::discover`";
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use hallpass_core::{Prover, Secret};

    use super::*;
    use crate::{
        ClientCredentials, ClientSecretBasic, ClientSecretPost, Discovery, Endpoint, HttpTransport,
        HttpTransportBuilder, MutualTls, PublicClient, ResourceDiscovery, Retry, SourceBuilder,
    };

    /// Returns the names that code can use, and those of RFC 6749, which are the same everywhere.
    fn known() -> BTreeSet<&'static str> {
        // Never run: it must only compile.
        fn _calls(
            builder: SourceBuilder<ClientCredentials>,
            transport: HttpTransportBuilder,
            discovery: Discovery,
            endpoint: Endpoint,
            prover: Arc<dyn Prover>,
            secret: Secret,
        ) {
            let builder = builder
                .token_endpoint("")
                .lenient_responses()
                .json_requests()
                .token_member("/t")
                .expiry_member("/e", crate::ExpiryFormat::Seconds)
                .authorization_details("[]");
            let builder = builder.max_token_bytes(1).allow_utf8_credentials();
            let _ = builder.dpop(prover);
            let transport = transport.user_agent("").max_body_bytes(1);
            let transport = transport.proxy("");
            let transport = transport.proxy_credentials("", secret.clone());
            let _ = transport.add_root_certificates_pem("");
            let _ = Retry::never().deadline(std::time::Duration::ZERO);
            let _ = discovery.openid_location();
            let endpoint = endpoint.with_introspection_endpoint("");
            let endpoint = endpoint.with_revocation_endpoint("");
            let _ = endpoint.with_mtls_alias("");
            let _ = Endpoint::discover("");
            let resources = ResourceDiscovery::builder()
                .allow_resource("")
                .allow_issuer("");
            let _ = resources.accept_parent_resource();
            let _ = (HttpTransport::builder(), PublicClient);
            let _ = MutualTls::new(secret.clone());
            let _ = ClientSecretPost::new(secret.clone());
            let _ = (
                ClientSecretBasic::new(secret.clone()),
                ClientSecretBasic::raw(secret),
            );
        }
        [
            "client_id",
            "client_secret",
            "https",
            "issuer",
            "token_endpoint",
            "lenient_responses",
            "json_requests",
            "token_member",
            "expiry_member",
            "token_type_name",
            "authorization_details",
            "max_token_bytes",
            "allow_utf8_credentials",
            "dpop",
            "user_agent",
            "max_body_bytes",
            "compressed_responses",
            "proxy",
            "proxy_credentials",
            "add_root_certificates_pem",
            "openid_location",
            "Retry::deadline",
            "with_mtls_alias",
            "Endpoint",
            "accept_parent_resource",
            "allow_issuer",
            "allow_resource",
            "Endpoint::discover",
            "Endpoint::with_introspection_endpoint",
            "Endpoint::with_revocation_endpoint",
            "HttpTransport::builder",
            "PublicClient",
            "MutualTls",
            "ClientSecretPost",
            "ClientSecretBasic::new",
            "ClientSecretBasic::raw",
        ]
        .into()
    }

    #[test]
    fn each_name_in_a_hint_is_one_that_there_is() {
        let known = known();
        let mut named = BTreeSet::new();
        for hint in ALL {
            named.extend(hint.text().split('`').skip(1).step_by(2));
        }
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(named.len() > 15, "{named:?}");
    }

    #[test]
    fn each_hint_has_a_name_of_its_own() {
        let names: BTreeSet<_> = ALL.iter().map(Hint::name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(!names.contains(&None));
    }
}
