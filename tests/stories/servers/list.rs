//! The stories, in the order of the table in docs/servers.md.

use std::{pin::Pin, sync::Arc};

use super::{
    grants, methods, requests,
    running::{Outcome, Running},
    tokens,
};

/// One behaviour of an authorization server, and of this library with it.
pub(crate) struct Story {
    /// Text of the first column of the table.
    pub(crate) name: &'static str,
    pub(crate) run: fn(Arc<Running>) -> Run,
}

type Run = Pin<Box<dyn Future<Output = Outcome> + Send>>;

macro_rules! stories {
    ($($name:literal => $module:ident::$function:ident ($($argument:expr),*);)+) => {
        pub(crate) const STORIES: &[Story] = &[$(Story {
            name: $name,
            run: |peer| Box::pin(async move { $module::$function(&peer $(, $argument)*).await }),
        }),+];
    };
}

stories! {
    "`client_secret_basic`, form-encoded (RFC 6749 section 2.3.1)" => methods::basic();
    "`client_secret_basic`, raw" => methods::raw_basic();
    "`client_secret_post`" => methods::post();
    "`client_secret_jwt` (HS256)" => methods::secret_jwt();
    "`private_key_jwt` (RS256)" => methods::private_key_jwt("rs256");
    "`private_key_jwt` (PS256)" => methods::private_key_jwt("ps256");
    "`private_key_jwt` (ES256)" => methods::private_key_jwt("es256");
    "`private_key_jwt` (ES384)" => methods::private_key_jwt("es384");
    "`private_key_jwt` (EdDSA)" => methods::private_key_jwt("eddsa");
    "assertion with the issuer as its audience" => methods::issuer_audience();
    "assertion with the token endpoint as its audience" => methods::token_endpoint_audience();
    "an assertion for another audience is `invalid_client`" => methods::another_audience();
    "an assertion that was used is `invalid_client`" => methods::replayed_assertion();
    "`tls_client_auth`, token bound to the certificate" => methods::certificate("mtls", "client");
    "`self_signed_tls_client_auth`, token bound to the certificate" => methods::certificate("mtls-self-signed", "self-signed");
    "a certificate with another name is `invalid_client`" => methods::another_certificate("client-other");
    "a certificate of another authority is `invalid_client`" => methods::another_certificate("client-stranger");
    "a wrong secret is `invalid_client`" => methods::wrong_secret();
    "an unknown client is `invalid_client`" => methods::unknown_client();
    "a wrong key is `invalid_client`" => methods::wrong_key();
    "a method that is not registered is `invalid_client`" => methods::another_method();
    "scopes are narrowed to the requested ones" => requests::narrowed();
    "a request without scopes gets the client's" => requests::no_scope();
    "an unknown scope is `invalid_scope`" => requests::unknown_scope();
    "a missing scope is noticed (`require_granted_scopes`)" => requests::missing_scope();
    "an unknown grant is `unsupported_grant_type`" => requests::unknown_grant();
    "resource indicator (RFC 8707)" => requests::resource();
    "an unknown resource is `invalid_target`" => requests::unknown_resource();
    "JWT bearer grant (RFC 7523)" => grants::jwt_bearer();
    "token exchange (RFC 8693)" => grants::token_exchange();
    "refresh token, rotated" => grants::refresh_token();
    "20 calls through a cache are one refresh" => grants::cached_refresh();
    "DPoP (ES256)" => tokens::dpop("es256");
    "DPoP (EdDSA)" => tokens::dpop("eddsa");
    "DPoP with a nonce" => tokens::dpop_nonce();
    "a DPoP proof with an old date is `invalid_dpop_proof`" => tokens::old_proof();
    "the lifetime is that of the server" => tokens::lifetime();
    "a bearer token has the `token_type` of RFC 6750" => tokens::standard_type();
    "introspection (RFC 7662)" => tokens::introspection();
    "revocation (RFC 7009)" => tokens::revocation();
    "metadata at the location of RFC 8414" => requests::oauth_metadata();
    "metadata at the location of OpenID Connect" => requests::openid_metadata();
    "requests share a connection" => requests::one_connection();
}
