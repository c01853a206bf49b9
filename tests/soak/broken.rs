//! Faults of the service on purpose, so that a check fails: `--fault`.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use hallpass::{
    AccessToken, TokenError, TokenRequest, TokenSource, async_trait,
    endpoint::{Assertion, AssertionSource as _, AuthenticationContext},
    jwt::{AssertionSettings, SignedAssertion, SigningKey},
};

use crate::server::{ISSUER, locked};

/// The names of the faults.
pub(crate) const FAULTS: [&str; 12] = [
    "task",
    "memory",
    "file",
    "file-until-shutdown",
    "thread",
    "log",
    "assertion",
    "exit",
    "requests",
    "expired",
    "audience",
    "failures",
];

/// The faults that only growth shows, and the minutes after which it exceeds its limit.
const GROWTH: [(&str, u8); 4] = [
    ("memory", 2),
    ("file", 1),
    ("file-until-shutdown", 2),
    ("thread", 1),
];

/// Returns the minutes that a run with this fault needs, if this is a shorter one.
pub(crate) fn minutes(fault: &str, span: Duration) -> Option<u8> {
    let mut growth = GROWTH.iter().filter(|(name, _)| *name == fault);
    let minutes = growth.next().map(|(_, minutes)| *minutes)?;
    (span < Duration::from_secs(60) * u32::from(minutes)).then_some(minutes)
}

/// Returns the source with the fault of this name, or as it is.
pub(crate) fn broken(source: Arc<dyn TokenSource>, fault: &str) -> Arc<dyn TokenSource> {
    let fault = match fault {
        "expired" => Fault::KeepsExpired(Mutex::default()),
        "audience" => Fault::IgnoresRequest,
        "failures" => Fault::Fails,
        _ => return source,
    };
    Arc::new(Broken { source, fault })
}

/// Returns an assertion like those of the client `key`, which has its key beside this configuration.
pub(crate) async fn assertion(config: &str) -> Assertion {
    let jwk = fs::read_to_string(Path::new(config).with_file_name("key")).unwrap();
    let settings = AssertionSettings::new(ISSUER).unwrap();
    let source = SignedAssertion::new(settings, SigningKey::from_jwk(&jwk).unwrap());
    let context = AuthenticationContext::new("key", ISSUER);
    let request = TokenRequest::new();
    source.assertion(&context, &request).await.unwrap()
}

enum Fault {
    /// It keeps the first token of each request, also when it is refused.
    KeepsExpired(Mutex<Vec<(TokenRequest, AccessToken)>>),
    IgnoresRequest,
    /// It fails one call of ten.
    Fails,
}

struct Broken {
    source: Arc<dyn TokenSource>,
    fault: Fault,
}

#[async_trait]
impl TokenSource for Broken {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        match &self.fault {
            Fault::KeepsExpired(kept) => {
                let token = self.source.token(request).await?;
                locked(kept).push((request.clone(), token.clone()));
                Ok(token)
            }
            Fault::IgnoresRequest => self.source.token(&TokenRequest::new()).await,
            Fault::Fails if fastrand::u8(..10) == 0 => Err(TokenError::unavailable("broken")),
            Fault::Fails => self.source.token(request).await,
        }
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        match &self.fault {
            Fault::KeepsExpired(kept) => {
                let kept = locked(kept);
                let mut kept = kept.iter();
                let (_, token) = kept.find(|(known, _)| known == request)?;
                Some(token.clone())
            }
            Fault::IgnoresRequest => self.source.ready_token(&TokenRequest::new()),
            Fault::Fails => None,
        }
    }
}
