//! Standard output: written whole, and never with a panic where the reader has gone.

use std::io::{self, Write as _};

use serde_json::Value;

use crate::failure::Failure;

/// Writes this text.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Writes these bytes.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Writes this value as indented JSON.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    text(&format!("{value:#}\n"))
}
