//! The Redis store of a profile, which hosts share, in place of the files of one user.

use std::{path::PathBuf, time::Duration};

use hallpass_secrets::SecretReference;
use url::Url;

/// The settings of a profile's table `redis`. They come from one profile as a whole, so that a password is sent only to
/// the Redis that the profile names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools)] // As the table has them.
pub struct RedisSettings {
    /// The file and the line of the table.
    pub location: String,
    /// The URL of Redis, of a sentinel, or of a node.
    pub url: String,
    /// The prefix of all names in Redis.
    pub prefix: Option<String>,
    /// The ACL user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretReference>,
    /// The encryption keys.
    pub keys: Option<SecretReference>,
    /// The file of additional certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// The client certificate with its chain and its key.
    pub client_certificate: Option<SecretReference>,
    /// The name of the primary that the sentinels know.
    pub sentinel: Option<String>,
    /// The ACL user for the sentinels.
    pub sentinel_username: Option<String>,
    /// The password for the sentinels.
    pub sentinel_password: Option<SecretReference>,
    /// True for a Redis Cluster.
    pub cluster: bool,
    /// True if Redis functions are called instead of scripts.
    pub functions: bool,
    /// The URLs of further sentinels or nodes.
    pub other_urls: Vec<String>,
    /// The timeout of a call.
    pub timeout: Option<Duration>,
    /// True if entries are not encrypted.
    pub danger_store_in_clear: bool,
    /// True if the connection need not be encrypted.
    pub danger_allow_plain_text: bool,
}

pub(crate) const REDIS_KEYS: [&str; 16] = [
    "ca_file",
    "client_certificate",
    "cluster",
    "danger_allow_plain_text",
    "danger_store_in_clear",
    "functions",
    "keys",
    "other_urls",
    "password",
    "prefix",
    "sentinel",
    "sentinel_password",
    "sentinel_username",
    "timeout",
    "url",
    "username",
];

impl RedisSettings {
    /// Returns the references to secrets.
    pub fn references(&self) -> impl Iterator<Item = &SecretReference> {
        let all = [
            &self.password,
            &self.keys,
            &self.client_certificate,
            &self.sentinel_password,
        ];
        all.into_iter().flatten()
    }

    /// Returns the first wrong setting, and what is wrong; the store itself checks the values.
    pub(crate) fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.url.is_empty() {
            return Some(("url", "set it to the URL of Redis: `rediss://HOST:6379`"));
        }
        for (setting, url) in std::iter::once(("url", &self.url))
            .chain(self.other_urls.iter().map(|url| ("other_urls", url)))
        {
            let Ok(url) = Url::parse(url) else {
                return Some((setting, "expected a URL such as `rediss://HOST:6379`"));
            };
            if !url.username().is_empty() || url.password().is_some() {
                return Some((
                    setting,
                    "the URL contains a user name or password; set `username` and `password`, a reference",
                ));
            }
        }
        let tls = has_tls(&self.url);
        let has_others = self.sentinel.is_some() || self.cluster;
        let problems = [
            (
                self.username.is_some() && self.password.is_none(),
                "username",
                "no effect without `password`; set it or remove this",
            ),
            (
                self.ca_file.is_some() && !tls,
                "ca_file",
                "no effect without TLS; use `rediss://` in `url` or remove this",
            ),
            (
                self.client_certificate.is_some() && !tls,
                "client_certificate",
                "no effect without TLS; use `rediss://` in `url` or remove this",
            ),
            (
                self.danger_allow_plain_text && tls,
                "danger_allow_plain_text",
                "no effect with `rediss://` in `url`; remove it",
            ),
            (
                self.sentinel.is_some() && self.cluster,
                "cluster",
                "set beside `sentinel`; remove one of them",
            ),
            (
                self.sentinel_password.is_some() && self.sentinel.is_none(),
                "sentinel_password",
                "no effect without `sentinel`; set it or remove this",
            ),
            (
                self.sentinel_username.is_some() && self.sentinel_password.is_none(),
                "sentinel_username",
                "no effect without `sentinel_password`; set it or remove this",
            ),
            (
                !self.other_urls.is_empty() && !has_others,
                "other_urls",
                "no effect without `sentinel` or `cluster`; remove it",
            ),
            (
                self.other_urls.iter().any(|url| has_tls(url) != tls),
                "other_urls",
                "the scheme differs from that of `url`; use the same one",
            ),
            (
                self.keys.is_some() && self.danger_store_in_clear,
                "danger_store_in_clear",
                "set beside `keys`; remove one of them",
            ),
            (
                self.keys.is_none() && !self.danger_store_in_clear,
                "keys",
                "tokens are encrypted; set it to a reference to a key that `openssl rand -base64 32` generates",
            ),
        ];
        let mut problems = problems.into_iter().filter(|(is_wrong, ..)| *is_wrong);
        problems.next().map(|(_, setting, why)| (setting, why))
    }
}

/// Returns true for a URL whose connections have TLS, as the store reads it.
fn has_tls(url: &str) -> bool {
    let url = Url::parse(url);
    url.is_ok_and(|url| matches!(url.scheme(), "rediss" | "valkeys"))
}
