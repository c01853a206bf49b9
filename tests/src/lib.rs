//! Compiles, and unless marked otherwise runs, the code in the project's Markdown files.

/// One module per file, so that a failure names it.
macro_rules! markdown {
    ($($name:ident: $path:literal),+ $(,)?) => {$(
        #[cfg(doctest)]
        #[doc = include_str!(concat!("../../", $path))]
        mod $name {}
    )+};
}

markdown! {
    readme: "README.md",
    tutorial: "docs/tutorial.md",
    introduction: "docs/introduction.md",
    authentication: "docs/authentication.md",
    private_key_jwt: "docs/private-key-jwt.md",
    workload_identity: "docs/workload-identity.md",
    spiffe: "docs/spiffe.md",
    client_secret: "docs/client-secret.md",
    authorization_details: "docs/authorization-details.md",
    bridges: "docs/bridges.md",
    cache: "docs/cache.md",
    discovery: "docs/discovery.md",
    dpop: "docs/dpop.md",
    fapi: "docs/fapi.md",
    mtls: "docs/mtls.md",
    observability: "docs/observability.md",
    errors: "docs/errors.md",
    examples: "docs/examples.md",
    formats: "docs/formats.md",
    grants: "docs/grants.md",
    camall: "docs/camall.md",
    provider: "docs/provider.md",
    profiles: "docs/profiles.md",
    protected_resources: "docs/protected-resources.md",
    redis: "docs/redis.md",
    secrets: "docs/secrets.md",
    servers: "docs/servers.md",
    service: "docs/service.md",
    tokens: "docs/tokens.md",
    transport: "docs/transport.md",
    threat_model: "docs/threat-model.md",
    testing: "docs/testing.md",
    monitoring: "docs/monitoring.md",
    blocking: "docs/blocking.md",
    readiness: "docs/readiness.md",
    tenants: "docs/tenants.md",
    presets: "docs/presets.md",
    features: "docs/features.md",
}
