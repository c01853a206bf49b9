//! What the programs of this package share: settings from the environment, and a client that carries tokens.
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
    Authorizer, cache::CachedTokenSource, camall::Camall, reqwest::same_origin_redirects,
    secrets::SecretReference,
};

/// The source of a program's tokens; a program has one.
pub type Tokens = Arc<CachedTokenSource<Camall>>;

/// A required setting.
///
/// # Errors
///
/// A [`SettingError`] that names the variable which is missing or cannot be used.
pub fn setting(name: &'static str) -> Result<String, SettingError> {
    let value = env::var_os(name).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| SettingError::new(name, "the variable is not set"))?;
    let not_unicode = |_| SettingError::new(name, "the variable is not valid Unicode");
    value.into_string().map_err(not_unicode)
}

/// A cache around camall.io, with this program's credentials and these scopes. It asks for no token yet.
///
/// # Errors
///
/// A [`SettingError`] where the environment does not say what is needed.
pub fn tokens(scopes: &str) -> Result<Tokens, SettingError> {
    const SECRET: &str = "CAMALL_CLIENT_SECRET";
    // Not the secret, but where it lives: it may be rotated while the program runs, and shows in no list of processes.
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

/// Says that this origin may have the tokens, and no other.
///
/// # Errors
///
/// A [`SettingError`] where it is no origin.
pub fn authorizer(tokens: Tokens, origin: &str) -> Result<Authorizer, SettingError> {
    let mut authorizer = Authorizer::builder(tokens).allow_origin(origin);
    if on_this_machine() {
        authorizer = authorizer.danger_allow_http_on_loopback();
    }
    authorizer
        .build()
        .map_err(|error| SettingError::new("API_ORIGIN", error))
}

/// An HTTP client with deadlines, which follows no redirect to elsewhere.
///
/// # Errors
///
/// A [`SettingError`] where this machine cannot have one: no certificates, for one.
pub fn http() -> Result<reqwest::Client, SettingError> {
    let client = http_builder().redirect(same_origin_redirects()).build();
    client.map_err(|error| SettingError::new("HTTP client", error))
}

/// A builder of HTTP clients with deadlines, for a `TokenClient`.
pub fn http_builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(20))
}

/// Shows warnings of everything on stderr; `RUST_LOG=hallpass=debug` shows more.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .init();
}

/// Was it said that servers may be on this machine, without TLS?
pub fn on_this_machine() -> bool {
    env::var_os("DANGER_HTTP_ON_LOOPBACK").is_some()
}

/// A variable is missing or cannot be used. The text never shows its value.
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
