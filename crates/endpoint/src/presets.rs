//! Facts about well-known servers, as data: endpoint, client authentication, required parameters, quirks, and the
//! source of each fact.
//!
//! A preset creates a [`SourceBuilder`](crate::SourceBuilder) that also checks for requests that the server would refuse:
//!
//! ```
//! use hallpass_core::Secret;
//! use hallpass_endpoint::presets::AUTH0;
//!
//! let builder = AUTH0.builder(&[("domain", "acme.eu.auth0.com")], "orders-service", Secret::new("s3cr3t")?)?;
//! assert!(builder.audience("https://api.acme.example").build().is_ok());
//!
//! let builder = AUTH0.builder(&[("domain", "acme.eu.auth0.com")], "orders-service", Secret::new("s3cr3t")?)?;
//! assert_eq!(builder.build().unwrap_err().setting(), "audience");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod identity;
mod preset;
mod services;

pub use identity::{
    AUTH0, COGNITO, ENTRA_ID, GOOGLE, KEYCLOAK, OKTA, OKTA_ORG, ORY_HYDRA, ORY_NETWORK, XSUAA,
};
pub use preset::{AudienceRule, Preset, Scopes, SecretAuthentication};
pub use services::{
    DATABRICKS, DATABRICKS_ACCOUNT, EBAY, EBAY_SANDBOX, FEDEX, FEDEX_SANDBOX, PAYPAL,
    PAYPAL_SANDBOX, SALESFORCE, SERVICENOW, UPS, UPS_TEST, ZOOM,
};

/// Every preset.
pub const ALL: &[&Preset] = &[
    &AUTH0,
    &OKTA,
    &OKTA_ORG,
    &ENTRA_ID,
    &KEYCLOAK,
    &COGNITO,
    &GOOGLE,
    &ORY_HYDRA,
    &ORY_NETWORK,
    &XSUAA,
    &SERVICENOW,
    &SALESFORCE,
    &ZOOM,
    &PAYPAL,
    &PAYPAL_SANDBOX,
    &UPS,
    &UPS_TEST,
    &FEDEX,
    &FEDEX_SANDBOX,
    &EBAY,
    &EBAY_SANDBOX,
    &DATABRICKS,
    &DATABRICKS_ACCOUNT,
];
