//! Vault's responses, read without leaving copies, and never shown.

use std::collections::HashMap;

use hallpass_core::{Secret, SecretError};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::content;

/// Limit on a response, in bytes: the default limit of a KV version 2 secret.
pub(crate) const MAX_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Option<Version<'a>>,
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    data: Option<HashMap<String, &'a RawValue>>,
    metadata: Option<Metadata>,
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
                "was asked for in a way that Vault refuses; check mount, path and namespace",
            );
        }
        401 | 403 => {
            return inaccessible(
                "may not be read with this token; check that it is valid, and that its policy allows `read`",
            );
        }
        404 => return wrong(missing(body)),
        301..=308 => {
            return inaccessible(
                "is answered with a redirect, which is not followed; give the address of the active server",
            );
        }
        412 => return unavailable("is not there yet: this server is behind another one"),
        429 => {
            return unavailable(
                "cannot be had: Vault asks for fewer requests, or this server is on standby",
            );
        }
        472 | 473 => return unavailable("cannot be had: this server is on standby"),
        503 => return unavailable("cannot be had: Vault is sealed, or down for maintenance"),
        500..=599 => return unavailable("cannot be had: Vault failed"),
        status => {
            return inaccessible(&format!(
                "was answered with HTTP {status}, which is no answer of Vault's"
            ));
        }
    }
    // The library's error may quote the body.
    let Ok(Answer {
        data: Some(version),
    }) = serde_json::from_slice(body)
    else {
        return inaccessible(
            "was answered with what is no secret; check that this is Vault's address",
        );
    };
    let Some(fields) = version.data else {
        return wrong(missing(body));
    };
    let Some(value) = fields.get(field) else {
        return wrong(format!(
            "has no field `{field}`; check its name, and that the mount is of KV version 2"
        ));
    };
    let Ok(text) = serde_json::from_str::<String>(value.get()) else {
        return wrong(format!("has a field `{field}` that is no text"));
    };
    let number = version.metadata.map(|metadata| metadata.version);
    tracing::debug!(secret = place, version = number, "Vault yielded a secret");
    let text = Zeroizing::new(text);
    let place = format!("the field `{field}` of {place}");
    content::secret(text.as_bytes(), &place)
}

/// Distinguishes a deleted version from a secret that never existed.
fn missing(body: &[u8]) -> String {
    let answer = serde_json::from_slice::<Answer<'_>>(body).ok();
    let metadata = answer.and_then(|answer| answer.data?.metadata);
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
        _ => "is not there; check mount and path, and that the mount is of KV version 2".to_owned(),
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
