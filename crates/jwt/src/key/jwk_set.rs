//! Private keys in JWK sets (RFC 7517 section 5).

use std::borrow::Cow;

use hallpass_endpoint::BuildError;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    error::invalid_key,
    jwk::{self, PrivateJwk},
};

/// The maximum length of a set.
const MAX_LEN: usize = 1 << 18;
/// The maximum number of keys in a set.
const MAX_KEYS: usize = 100;

/// Borrowed, so that no copy of a private member is left behind. The keys are read one by one: an unusable one does not
/// concern the others.
#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Option<Vec<&'a RawValue>>,
}

/// The identifier of a key, of any JSON type.
#[derive(Deserialize)]
struct Identifier<'a> {
    #[serde(borrow)]
    kid: Option<&'a RawValue>,
}

/// Reads the key with this `kid`, or the only key that can sign. A text without `keys` is a single JWK.
pub(super) fn read(text: &str, key_id: Option<&str>) -> Result<PrivateJwk, BuildError> {
    if text.len() > MAX_LEN {
        return Err(invalid_key(format!(
            "the JWK set is longer than {} KiB",
            MAX_LEN >> 10
        )));
    }
    // The library's error may quote the text.
    let set = serde_json::from_str::<Set<'_>>(text);
    let set = set.map_err(|_| {
        invalid_key("the text is not a JWK or a JWK set, whose `keys` are a list of JSON objects")
    })?;
    let Some(keys) = set.keys else {
        return jwk::read(text);
    };
    if keys.len() > MAX_KEYS {
        return Err(invalid_key(format!(
            "the JWK set has {} keys, more than {MAX_KEYS}",
            keys.len()
        )));
    }
    match key_id {
        Some(key_id) => named(&keys, key_id),
        None => only(&keys),
    }
}

fn named(keys: &[&RawValue], key_id: &str) -> Result<PrivateJwk, BuildError> {
    let mut found = keys.iter().filter(|key| has_id(key, key_id));
    let count = keys.len();
    match (found.next(), found.next()) {
        (Some(key), None) => jwk::read(key.get()),
        (None, _) => Err(invalid_key(format!(
            "none of the {count} keys in the JWK set has this `kid`"
        ))),
        (Some(_), Some(_)) => Err(invalid_key(
            "several keys in the JWK set have this `kid`; give each its own",
        )),
    }
}

fn has_id(key: &RawValue, key_id: &str) -> bool {
    let identifier = serde_json::from_str::<Identifier<'_>>(key.get());
    let kid = identifier.ok().and_then(|identifier| identifier.kid);
    let kid = kid.and_then(|kid| serde_json::from_str::<Cow<'_, str>>(kid.get()).ok());
    kid.is_some_and(|kid| kid == key_id)
}

/// Returns the only key of a set that can sign.
fn only(keys: &[&RawValue]) -> Result<PrivateJwk, BuildError> {
    if let [key] = keys {
        return jwk::read(key.get());
    }
    let mut usable = keys.iter().filter_map(|key| jwk::read(key.get()).ok());
    match (usable.next(), usable.next()) {
        (Some(key), None) => Ok(key),
        (None, _) => Err(invalid_key(format!(
            "none of the {} keys in the JWK set can sign",
            keys.len()
        ))),
        (Some(_), Some(_)) => Err(invalid_key(
            "several keys in the JWK set can sign; choose one by its `kid`",
        )),
    }
}
