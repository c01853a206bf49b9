use super::{AudienceRule, Preset, Scopes, SecretAuthentication};

/// Every preset.
pub const ALL: &[&Preset] = &[
    &AUTH0,
    &OKTA,
    &ENTRA_ID,
    &KEYCLOAK,
    &COGNITO,
    &GOOGLE,
    &ORY_HYDRA,
    &ORY_NETWORK,
];

/// Auth0: `domain` is the tenant's or a custom one.
pub static AUTH0: Preset = Preset {
    name: "Auth0",
    token_endpoint: "https://{domain}/oauth/token",
    authentication: SecretAuthentication::Post,
    audience: AudienceRule::AudienceRequired,
    scopes: Scopes::Optional,
    quirks: &[
        "Without an audience the token is opaque, and no API accepts it; a default audience of the tenant need not apply to this grant.",
        "Each audience requires a separate request.",
        "`resource` replaces `audience` only if the tenant's compatibility profile allows it.",
        "A wrong secret is refused as `access_denied` with HTTP 401.",
    ],
    sources: &[
        "https://auth0.com/docs/get-started/authentication-and-authorization-flow/client-credentials-flow",
        "https://auth0.com/docs/api/authentication/client-credential-flow/get-token",
        "https://support.auth0.com/center/s/article/Client-credentials-grant-requires-audience-parameter",
    ],
};

/// Okta, with a custom authorization server: `domain` is the organization's, `server` the authorization server's id,
/// such as `default`.
pub static OKTA: Preset = Preset {
    name: "Okta",
    token_endpoint: "https://{domain}/oauth2/{server}/v1/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Required,
    quirks: &[
        "A request without scopes is refused; there are only custom ones for this grant.",
        "The audience belongs to the authorization server: another audience is another `server`.",
        "OpenID Connect's scopes, such as `openid`, are refused: there is no user.",
        "The organization's own authorization server supports only Okta's own scopes, and only private_key_jwt.",
    ],
    sources: &[
        "https://developer.okta.com/docs/guides/implement-grant-type/clientcreds/main/",
        "https://support.okta.com/help/s/article/cannot-request-openid-scopes-using-client-credentials",
        "https://support.okta.com/help/s/article/okta-authorization-error-occurs-stating-custom-scopes-are-not-allowed-for-this-request",
    ],
};

/// Microsoft Entra ID, version 2 of its endpoints: `tenant` is the directory's id or domain.
pub static ENTRA_ID: Preset = Preset {
    name: "Microsoft Entra ID",
    token_endpoint: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
    authentication: SecretAuthentication::Post,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::OneWithSuffix("/.default"),
    quirks: &[
        "A request names one API, as its identifier with `/.default`; the token contains every application permission that was granted there.",
        "`resource` belongs to version 1 of the endpoints and is refused by version 2.",
        "This grant does not support the tenants `common` and `organizations`.",
        "`ext_expires_in` in the response is for outages of the server, and is not the lifetime.",
        "Errors carry an AADSTS number in `error_description`, which may change: the `error` code decides.",
    ],
    sources: &[
        "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow",
        "https://learn.microsoft.com/entra/identity-platform/reference-error-codes",
    ],
};

/// Keycloak 17 and later: `host` with its port, `realm`.
pub static KEYCLOAK: Preset = Preset {
    name: "Keycloak",
    token_endpoint: "https://{host}/realms/{realm}/protocol/openid-connect/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    quirks: &[
        "Before version 17, and where `http-relative-path` is set, there is a path such as `/auth` before `/realms`: set the `token_endpoint`.",
        "The client needs `Service accounts roles`.",
        "The audience comes from mappers in client scopes, not from the request.",
        "A wrong secret is refused as `unauthorized_client` with HTTP 401.",
        "`refresh_expires_in` and `not-before-policy` in the response do not apply to this token.",
    ],
    sources: &[
        "https://www.keycloak.org/securing-apps/oidc-layers",
        "https://www.keycloak.org/docs/latest/server_admin/#_service_accounts",
        "https://github.com/keycloak/keycloak/issues/16923",
    ],
};

/// Amazon Cognito: `domain` is the user pool's prefix, `region` its region.
pub static COGNITO: Preset = Preset {
    name: "Amazon Cognito",
    token_endpoint: "https://{domain}.auth.{region}.amazoncognito.com/oauth2/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    quirks: &[
        "Scopes are those of a resource server, `identifier/name`; without any, all that the app client may have are granted.",
        "The response has no `scope`.",
        "A wrong secret is refused as `invalid_client` with HTTP 400.",
        "Tokens of this grant are billed: share them, and keep none warm.",
        "A custom domain has another address: set the `token_endpoint`.",
    ],
    sources: &["https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html"],
};

/// Google: service accounts, with signed assertions only.
pub static GOOGLE: Preset = Preset {
    name: "Google",
    token_endpoint: "https://oauth2.googleapis.com/token",
    authentication: SecretAuthentication::Assertion,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Required,
    quirks: &[
        "There is no client credentials grant: a service account signs an assertion with its key (the JWT bearer grant, RFC 7523 section 2.1).",
        "Scopes are URLs, such as `https://www.googleapis.com/auth/devstorage.read_only`.",
    ],
    sources: &["https://developers.google.com/identity/protocols/oauth2/service-account"],
};

/// Ory Hydra, self-hosted: `host` with its port.
pub static ORY_HYDRA: Preset = Preset {
    name: "Ory Hydra",
    token_endpoint: "https://{host}/oauth2/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::AudienceAllowed,
    scopes: Scopes::Optional,
    quirks: &[
        "An audience must be on the client's list of audiences, and is otherwise refused.",
        "Clients are registered for `client_secret_basic` by default; other methods are refused.",
        "Basic credentials are form-decoded (RFC 6749 section 2.3.1).",
    ],
    sources: &["https://www.ory.com/docs/oauth2-oidc/client-credentials"],
};

/// Ory Network: `project` is the project's slug.
pub static ORY_NETWORK: Preset = Preset {
    name: "Ory Network",
    token_endpoint: "https://{project}.projects.oryapis.com/oauth2/token",
    authentication: SecretAuthentication::Basic,
    audience: AudienceRule::AudienceAllowed,
    scopes: Scopes::Optional,
    quirks: ORY_HYDRA.quirks,
    sources: ORY_HYDRA.sources,
};
