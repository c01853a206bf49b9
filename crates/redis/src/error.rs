use std::{borrow::Cow, error::Error, fmt, sync::Arc};

/// An error that prevents building a [`RedisTokenStore`](crate::RedisTokenStore): which setting is wrong, and why.
///
/// Returned before any I/O; contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisBuildError {
    setting: &'static str,
    message: Cow<'static, str>,
}

impl RedisBuildError {
    pub(crate) fn new(setting: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            setting,
            message: message.into(),
        }
    }

    /// Returns the invalid setting, spelled as the builder's method; `url` is the argument of `RedisTokenStore::builder`.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// Returns the reason, and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for RedisBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.message)
    }
}

impl Error for RedisBuildError {}

/// An error of a call of a [`RedisTokenStore`](crate::RedisTokenStore).
///
/// Its text contains no secret, and nothing that the server sent except the address that [`RedisStoreErrorKind::TlsRequired`]
/// is about.
///
/// ```
/// use hallpass_cache::StoreError;
/// use hallpass_redis::{RedisStoreError, RedisStoreErrorKind};
///
/// fn is_full(error: &StoreError) -> bool {
///     let error = error.downcast_ref::<RedisStoreError>();
///     error.is_some_and(|error| error.kind() == RedisStoreErrorKind::OutOfMemory)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisStoreError {
    kind: RedisStoreErrorKind,
    text: Arc<str>,
}

impl RedisStoreError {
    pub(crate) fn new(kind: RedisStoreErrorKind, text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self {
            kind,
            text: text.into(),
        }
    }

    /// Returns the kind, by which a program can name the setting to check.
    pub fn kind(&self) -> RedisStoreErrorKind {
        self.kind
    }
}

impl fmt::Display for RedisStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for RedisStoreError {}

/// The kind of a [`RedisStoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisStoreErrorKind {
    /// The client certificate or its key cannot be read or used.
    ClientCertificate,
    /// The server is a node of a cluster, and `cluster` is not set.
    ClusterRequired,
    /// The encryption keys cannot be read.
    EncryptionKeys,
    /// [`functions`](crate::RedisTokenStoreBuilder::functions) is set, and this version's library is not loaded.
    FunctionsMissing,
    /// Redis has reached its memory limit, and evicts nothing.
    OutOfMemory,
    /// Redis refused username and password.
    PasswordRefused,
    /// Redis requires a password, and none is set.
    PasswordRequired,
    /// The password cannot be read.
    PasswordSource,
    /// A password is set, and Redis requires none.
    PasswordUnexpected,
    /// The user lacks a permission.
    PermissionDenied,
    /// The server is a read-only replica.
    ReadOnly,
    /// The root certificates cannot be used.
    RootCertificates,
    /// The sentinels are unreachable, or know no primary of the name that is set.
    Sentinel,
    /// The sentinels refuse or require a user name and a password of their own, or their password cannot be read.
    SentinelPassword,
    /// The TLS handshake failed.
    Tls,
    /// A sentinel or a node of a cluster named an address on another machine, and the URL has no TLS (`redis://`).
    TlsRequired,
    /// Redis is unreachable, slow, busy or down, or a cluster is changing: it may pass without a change of a setting.
    Unavailable,
}
