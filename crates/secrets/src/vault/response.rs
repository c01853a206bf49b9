//! Vault's responses, read without leaving copies, and never shown.

use std::{collections::HashMap, fmt};

use hallpass_core::{Secret, SecretError};
use reqwest::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::content;

/// Limit on a response, in bytes: the default limit of a KV version 2 secret.
pub(crate) const MAX_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct KvResponse<'a> {
    #[serde(borrow)]
    data: Option<Version<'a>>,
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    data: Option<Fields<'a>>,
    metadata: Option<Metadata>,
}

/// The fields of a secret, none of which appears twice.
struct Fields<'a>(HashMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = HashMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if fields.insert(name, value).is_some() {
                        return Err(A::Error::custom("a field appears twice"));
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

pub(crate) fn read(
    status: StatusCode,
    body: &[u8],
    place: &str,
    field: &str,
) -> Result<Secret, SecretError> {
    let wrong = |what: String| Err(SecretError::new(format!("{place} {what}")));
    let unavailable = |what: &str| Err(SecretError::unavailable(format!("{place} {what}")));
    let inaccessible = |what: &str| Err(SecretError::inaccessible(format!("{place} {what}")));
    match status.as_u16() {
        200 => {}
        400 => {
            return inaccessible(
                "was requested in a way that Vault refuses; check mount, path and namespace",
            );
        }
        401 | 403 => {
            return inaccessible(
                "cannot be read with this token; check that the token is valid and that its policy allows `read`",
            );
        }
        404 => return wrong(missing(body)),
        301..=308 => {
            return inaccessible(
                "could not be read: the server sent a redirect, which is not followed; set the address of the active server",
            );
        }
        412 => {
            return unavailable(
                "is not available yet: this server has not replicated the latest writes",
            );
        }
        429 => {
            return unavailable(
                "is not available: Vault limits the request rate, or this server is on standby",
            );
        }
        472 | 473 => return unavailable("is not available: this server is on standby"),
        503 => return unavailable("is not available: Vault is sealed, or down for maintenance"),
        500..=599 => return unavailable("is not available: Vault returned a server error"),
        status => {
            return inaccessible(&format!(
                "could not be read: HTTP {status} is not a response of Vault"
            ));
        }
    }
    // The library's error may quote the body.
    let Ok(KvResponse {
        data: Some(version),
    }) = serde_json::from_slice(body)
    else {
        return inaccessible(
            "could not be read: the response contains no secret; check that the address is Vault's",
        );
    };
    let Some(Fields(fields)) = version.data else {
        return wrong(missing(body));
    };
    let Some(value) = fields.get(field) else {
        return wrong(format!(
            "has no field `{field}`; check its name, and that the mount is of KV version 2"
        ));
    };
    let Ok(text) = serde_json::from_str::<String>(value.get()) else {
        return wrong(format!("has a field `{field}` that is not a string"));
    };
    let number = version.metadata.map(|metadata| metadata.version);
    tracing::debug!(secret = place, version = number, "secret read from Vault");
    let text = Zeroizing::new(text);
    let place = format!("the field `{field}` of {place}");
    content::secret(text.as_bytes(), &place)
}

/// Distinguishes a deleted version from a secret that never existed.
fn missing(body: &[u8]) -> String {
    let response = serde_json::from_slice::<KvResponse<'_>>(body).ok();
    let metadata = response.and_then(|response| response.data?.metadata);
    match metadata {
        Some(metadata) if metadata.destroyed => {
            format!(
                "was destroyed in its newest version, {}; write it again",
                metadata.version
            )
        }
        Some(metadata) if !metadata.deletion_time.is_empty() => {
            format!(
                "was deleted in its newest version, {}; undelete it, or write it again",
                metadata.version
            )
        }
        _ => {
            "does not exist; check mount and path, and that the mount is of KV version 2".to_owned()
        }
    }
}

/// Appends to the body, and wipes the old buffer when it grows.
pub(crate) fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let mut larger = Vec::with_capacity((body.len() + chunk.len()) * 2);
        larger.extend_from_slice(body);
        *body = Zeroizing::new(larger);
    }
    body.extend_from_slice(chunk);
}
