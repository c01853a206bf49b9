//! A token source for tokens that an agent on this machine stores in files.
//!
//! The agent fetches tokens by its own means and writes each to a directory: `default` for the default request, and a file
//! named after the scopes, joined by `+`, for others. The first line of a file is the token; the second is its expiry
//! in seconds since 1970.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallpass_core::{
    AccessToken, Clock, SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
};

/// A token source that reads the agent's files.
///
/// Wrap it in a cache to read each file once per token lifetime.
pub struct AgentFile {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl AgentFile {
    /// Creates a source that reads from this directory.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn path(&self, request: &TokenRequest) -> Result<PathBuf, TokenError> {
        // A request that cannot be honoured is refused, never reduced.
        let others = request.resources().chain(request.audiences()).next();
        if others.is_some() || request.parameters().next().is_some() {
            return Err(TokenError::request_refused(
                "the agent has tokens for scopes alone, not for resources, audiences or parameters",
            ));
        }
        let scopes = request.scopes().as_str();
        if scopes.contains(['/', '\\', '.']) {
            return Err(TokenError::request_refused(
                "a scope with a slash or a dot names no file of the agent",
            ));
        }
        let name = match scopes {
            "" => "default".to_owned(),
            scopes => scopes.replace(' ', "+"),
        };
        Ok(self.folder.join(name))
    }
}

#[async_trait]
impl TokenSource for AgentFile {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let path = self.path(request)?;
        // Read before the file: the lifetime counts from here.
        let asked = self.clock.moment();
        // A small local file. Anything slower belongs on a thread for blocking work.
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                TokenError::configuration(format!("{} cannot be read", path.display()))
                    .with_hint("let this process read the agent's directory")
                    .with_source(error)
            }
            _ => TokenError::unavailable(format!("the agent has written no {}", path.display()))
                .with_hint("is the agent running, and does it know these scopes?")
                .with_source(error),
        })?;
        // The text is never shown: it contains the token.
        let unusable = || {
            TokenError::unusable_response(format!(
                "{} does not hold a token and its expiry in seconds since 1970, one a line",
                path.display()
            ))
        };
        let mut lines = text.lines();
        let (token, expiry) = lines.next().zip(lines.next()).ok_or_else(unusable)?;
        let expiry: u64 = expiry.trim().parse().map_err(|_| unusable())?;
        let since = asked
            .wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let lifetime = Duration::from_secs(expiry).saturating_sub(since);
        if lifetime.is_zero() {
            return Err(TokenError::unavailable(format!(
                "the token in {} has expired, and the agent has written no other",
                path.display()
            )));
        }
        let token = AccessToken::bearer(token.trim(), asked, lifetime)?;
        Ok(token.with_scopes(request.scopes().clone()))
    }
}

impl fmt::Debug for AgentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentFile")
            .field("directory", &self.folder)
            .finish_non_exhaustive()
    }
}
