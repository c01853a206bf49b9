//! Common code of the programs in this package: settings from the environment, and a client that sends tokens.
//!
//! | variable | |
//! |---|---|
//! | `CAMALL_CLIENT_ID` | required |
//! | `CAMALL_CLIENT_SECRET` | where the secret lives: `file:/run/secrets/client`, `env:NAME`, `systemd:NAME` |
//! | `CAMALL_TOKEN_ENDPOINT` | another server than camall.io's |
//! | `API_ORIGIN` | required; `https://api.example` |
//! | `DANGER_HTTP_ON_LOOPBACK` | set it to try a program against servers on this machine |

use std::{env, error::Error, fmt, sync::Arc, time::Duration};

use hallpass::{
    authorize::Authorizer, cache::CachedTokenSource, camall::Camall,
    reqwest_ext::same_origin_redirects, secrets::SecretReference,
};

/// The token source of a program, which has one.
pub type Tokens = Arc<CachedTokenSource<Camall>>;

/// Reads a required setting.
///
/// # Errors
///
/// A [`SettingError`] that names the missing or unusable variable.
pub fn setting(name: &'static str) -> Result<String, SettingError> {
    let value = env::var_os(name).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| SettingError::new(name, "the variable is not set"))?;
    let not_unicode = |_| SettingError::new(name, "the variable is not valid Unicode");
    value.into_string().map_err(not_unicode)
}

/// Creates a cache around camall.io, with this program's credentials and these scopes. It requests no token yet.
///
/// # Errors
///
/// A [`SettingError`] if a required variable is missing.
pub fn tokens(scopes: &str) -> Result<Tokens, SettingError> {
    const SECRET: &str = "CAMALL_CLIENT_SECRET";
    // A reference to the secret, not the secret itself: it can be rotated while the program runs, and does not show in
    // the process list.
    let reference = setting(SECRET)?.parse::<SecretReference>();
    let reference = reference.map_err(|error| SettingError::new(SECRET, error))?;
    let secret = reference
        .open()
        .map_err(|error| SettingError::new(SECRET, error))?;
    let mut camall = Camall::builder(setting("CAMALL_CLIENT_ID")?, secret).scope(scopes);
    if let Ok(url) = env::var("CAMALL_TOKEN_ENDPOINT") {
        camall = camall.token_endpoint(url);
    }
    if on_this_machine() {
        camall = camall.danger_allow_http_on_loopback();
    }
    let camall = camall
        .build()
        .map_err(|error| SettingError::new("CAMALL_*", error))?;
    Ok(Arc::new(CachedTokenSource::new(camall)))
}

/// Allows this origin, and no other, to receive the tokens.
///
/// # Errors
///
/// A [`SettingError`] if it is not an origin.
pub fn authorizer(tokens: Tokens, origin: &str) -> Result<Authorizer, SettingError> {
    let mut authorizer = Authorizer::builder(tokens).allow_origin(origin);
    if on_this_machine() {
        authorizer = authorizer.danger_allow_http_on_loopback();
    }
    authorizer
        .build()
        .map_err(|error| SettingError::new("API_ORIGIN", error))
}

/// Creates an HTTP client with timeouts that does not follow redirects to other origins.
///
/// # Errors
///
/// A [`SettingError`] if the client cannot be created, for example without system certificates.
pub fn http() -> Result<reqwest::Client, SettingError> {
    let client = http_builder().redirect(same_origin_redirects()).build();
    client.map_err(|error| SettingError::new("HTTP client", error))
}

/// Returns a builder of HTTP clients with timeouts, for a `TokenClient`.
pub fn http_builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(20))
}

/// Logs warnings to stderr; `RUST_LOG=hallpass=debug` shows more.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .init();
}

/// Returns true if servers on this machine may be used without TLS.
pub fn on_this_machine() -> bool {
    env::var_os("DANGER_HTTP_ON_LOOPBACK").is_some()
}

/// An error about a missing or unusable variable. The text never shows its value.
#[derive(Debug)]
pub struct SettingError(String);

impl SettingError {
    fn new(name: &str, error: impl fmt::Display) -> Self {
        Self(format!("{name}: {error}"))
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for SettingError {}
