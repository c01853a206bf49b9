use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_endpoint::{BuildError, ResponseVerifier, UnverifiedResponse};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{Algorithm, PublicKey};

/// The maximum length of a response in bytes.
const MAX_LEN: usize = 1 << 20;
/// The maximum number of keys that are tried for one signature.
const MAX_TRIES: usize = 16;

/// A verifier of responses that the server signs with its published keys, such as those of introspection (RFC 9701).
///
/// The algorithm is one of a list: by default, each of [`Algorithm`]. There is no `none`, and no algorithm with a shared
/// secret: a public key can never be used as one.
///
/// ```
/// use hallpass_core::Secret;
/// use hallpass_endpoint::{ClientSecretBasic, Endpoint, TokenManagement};
/// use hallpass_jwt::ResponseKeys;
///
/// let login = Endpoint::discover("https://login.example").build()?;
/// let authentication = ClientSecretBasic::new(Secret::new("s3cr3t")?);
/// let tokens = TokenManagement::builder(login, "orders-api", authentication)
///     .require_signed_responses(ResponseKeys::new())
///     .build()?;
/// # let _ = tokens;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ResponseKeys {
    algorithms: Cow<'static, [Algorithm]>,
}

impl ResponseKeys {
    /// Creates a verifier that accepts each [`Algorithm`].
    pub fn new() -> Self {
        Self {
            algorithms: Cow::Borrowed(Algorithm::ALL),
        }
    }

    /// Accepts these algorithms only.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if there is none.
    pub fn algorithms(
        mut self,
        algorithms: impl IntoIterator<Item = Algorithm>,
    ) -> Result<Self, BuildError> {
        self.algorithms = algorithms.into_iter().collect();
        if self.algorithms.is_empty() {
            return Err(BuildError::new("algorithms", "the list is empty"));
        }
        Ok(self)
    }
}

impl Default for ResponseKeys {
    fn default() -> Self {
        Self::new()
    }
}

/// The header of a JWS. A set of keys in it, or the URL of one, is ignored: the sender could choose it.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    typ: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct KeySet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The members of a key that decide whether it is tried.
#[derive(Deserialize)]
struct Candidate<'a> {
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    alg: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "use")]
    purpose: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key_ops: Option<Vec<Cow<'a, str>>>,
}

impl ResponseVerifier for ResponseKeys {
    fn verify(&self, jwt: &str, typ: &str, keys: &str) -> Result<Vec<u8>, UnverifiedResponse> {
        if jwt.len() > MAX_LEN {
            return Err(invalid("it is too long"));
        }
        let jwt = jwt.trim_ascii();
        let parts: Vec<&str> = jwt.splitn(6, '.').collect();
        let &[header, payload, signature] = parts.as_slice() else {
            return Err(invalid(match parts.len() {
                5 => "it is encrypted, which is not supported",
                _ => "it is not a JWT",
            }));
        };
        let decode = |part| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let header = decode(header).ok_or_else(|| invalid("it is not a JWT"))?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| {
            invalid("its header is not a JSON object with an `alg`, and each member once")
        })?;
        let mut listed = self.algorithms.iter();
        let algorithm = listed.find(|listed| listed.name() == header.alg);
        let algorithm =
            *algorithm.ok_or_else(|| invalid("its `alg` is not among the accepted ones"))?;
        if !header.typ.as_deref().is_some_and(|sent| is_type(sent, typ)) {
            return Err(invalid(format!("its `typ` is not `{typ}`")));
        }
        if header.crit.is_some() {
            return Err(invalid("its header has `crit`, which is not supported"));
        }
        let signature = decode(signature).ok_or_else(|| invalid("it is not a JWT"))?;
        // The parts before the signature, and the dot between them.
        let message = &jwt.as_bytes()[..jwt.rfind('.').unwrap_or_default()];

        let set: KeySet<'_> = serde_json::from_str(keys)
            .map_err(|_| invalid("the server's keys are not a JWK set (RFC 7517 section 5)"))?;
        let kid = header.kid.as_deref();
        let candidates = set.keys.iter().filter_map(|key| read(key, algorithm, kid));
        let mut tried = false;
        for key in candidates.take(MAX_TRIES) {
            tried = true;
            if key.verify(algorithm, message, &signature) {
                return decode(payload).ok_or_else(|| invalid("it is not a JWT"));
            }
        }
        // Without a `kid`, the key may be a newer one.
        Err(if tried && kid.is_some() {
            invalid("its signature is wrong")
        } else {
            UnverifiedResponse::UnknownKey
        })
    }
}

/// Reads a key if it may have made the signature. A key that cannot be read is of no concern to the others.
fn read(key: &RawValue, algorithm: Algorithm, kid: Option<&str>) -> Option<PublicKey> {
    let candidate: Candidate<'_> = serde_json::from_str(key.get()).ok()?;
    let fits = kid.is_none_or(|kid| candidate.kid.as_deref() == Some(kid))
        && candidate.alg.is_none_or(|alg| alg == algorithm.name())
        && candidate.purpose.is_none_or(|purpose| purpose == "sig")
        && candidate
            .key_ops
            .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    let key = fits.then(|| PublicKey::from_jwk(key.get()).ok())??;
    key.algorithms().contains(&algorithm).then_some(key)
}

/// Compares media types; the prefix may be omitted (RFC 7515 section 4.1.9).
fn is_type(sent: &str, typ: &str) -> bool {
    const PREFIX: &str = "application/";
    let prefix = sent.get(..PREFIX.len());
    let bare = match prefix {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &sent[PREFIX.len()..],
        _ => sent,
    };
    bare.eq_ignore_ascii_case(typ)
}

fn invalid(reason: impl Into<Cow<'static, str>>) -> UnverifiedResponse {
    UnverifiedResponse::Invalid(reason.into())
}

#[cfg(test)]
mod tests;
