//! For this repository's fuzz targets, without stability guarantees.

use hallpass_core::{Secret, SecretError};

use crate::content;
#[cfg(feature = "vault")]
use crate::vault::read_response;

/// Reads the content of a file, a variable or a command's output.
///
/// # Errors
///
/// Those of the source.
pub fn secret(content: &[u8]) -> Result<Secret, SecretError> {
    content::secret(content, &"the place")
}

/// Reads Vault's response to the request for this field. `None` for a number that is not a status code.
///
/// # Errors
///
/// Those of the source.
#[cfg(feature = "vault")]
pub fn vault_secret(status: u16, body: &[u8], field: &str) -> Option<Result<Secret, SecretError>> {
    let status = reqwest::StatusCode::from_u16(status).ok()?;
    Some(read_response(status, body, "the place", field))
}
