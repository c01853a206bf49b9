use super::preset::{AudienceRule, Preset, Scopes, SecretAuthentication};

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
    ..Preset::STANDARD
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
        "The organization's own authorization server has a preset of its own.",
    ],
    sources: &[
        "https://developer.okta.com/docs/guides/implement-grant-type/clientcreds/main/",
        "https://support.okta.com/help/s/article/cannot-request-openid-scopes-using-client-credentials",
        "https://support.okta.com/help/s/article/okta-authorization-error-occurs-stating-custom-scopes-are-not-allowed-for-this-request",
    ],
    ..Preset::STANDARD
};

/// Okta, with the organization's own authorization server, whose tokens are for Okta's APIs: `domain` is the
/// organization's.
pub static OKTA_ORG: Preset = Preset {
    name: "Okta (organization)",
    token_endpoint: "https://{domain}/oauth2/v1/token",
    authentication: SecretAuthentication::Assertion,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Required,
    quirks: &[
        "`private_key_jwt` is the only method that is accepted for Okta's own scopes.",
        "The audience of the assertion is the token endpoint: set `assertion_audience` in a profile, and use `AssertionSettings::for_audience` in a program.",
        "An assertion may be valid for one hour at most.",
        "Scopes are those of Okta's APIs, such as `okta.users.read`, that were granted to the app; custom ones are refused.",
        "The app also needs an administrator's role, which limits the resources that its tokens reach.",
        "Tokens are valid for one hour, which cannot be changed.",
    ],
    sources: &[
        "https://developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp/main/",
        "https://devforum.okta.com/t/cannot-create-access-token-with-custom-scopes-using-private-key-jwt/13539",
    ],
    ..Preset::STANDARD
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
        "An assertion of another issuer, such as Kubernetes, authenticates the client if a federated credential names its issuer, subject and audience; otherwise it is refused as `invalid_request`.",
        "Errors carry an AADSTS number in `error_description`, which may change: the `error` code decides.",
    ],
    sources: &[
        "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow",
        "https://learn.microsoft.com/entra/identity-platform/reference-error-codes",
        "https://azure.github.io/azure-workload-identity/docs/troubleshooting.html",
    ],
    ..Preset::STANDARD
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
    ..Preset::STANDARD
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
    ..Preset::STANDARD
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
    ..Preset::STANDARD
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
    ..Preset::STANDARD
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
    ..Preset::STANDARD
};

/// SAP Authorization and Trust Management (XSUAA): `subdomain` is the subaccount's, `region` its region, such as `eu10`.
pub static XSUAA: Preset = Preset {
    name: "SAP XSUAA",
    token_endpoint: "https://{subdomain}.authentication.{region}.hana.ondemand.com/oauth/token",
    authentication: SecretAuthentication::Post,
    audience: AudienceRule::ScopesAlone,
    scopes: Scopes::Optional,
    quirks: &[
        "The service key has the address (`url`, without `/oauth/token`), `clientid` and `clientsecret`.",
        "A secret with `+` must be in the form: in a Basic header it is decoded only beside the header `X-CF-ENCODED-CREDENTIALS: true`.",
        "A wrong secret is refused with HTTP 401, by the code `unauthorized`.",
        "A secret is valid as long as its binding or service key exists.",
        "Tokens are valid for twelve hours in the documentation's example.",
    ],
    sources: &[
        "https://github.com/SAP-docs/btp-cloud-platform/blob/main/docs/50-administration-and-ops/access-sap-authorization-and-trust-management-service-apis-ebc9113.md",
        "https://github.com/SAP-docs/btp-cloud-platform/blob/main/docs/60-security/token-retrieval-fails-with-status-code-401-fd5865e.md",
        "https://knowledge.broadcom.com/external/article/298463/uaa-login-reports-error-bad-credentials.html",
    ],
    ..Preset::STANDARD
};
