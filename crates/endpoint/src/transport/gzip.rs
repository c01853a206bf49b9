//! Responses in gzip (RFC 1952, RFC 9110 section 8.4.1.3), decompressed within a limit.

use std::io::Read as _;

use flate2::bufread::MultiGzDecoder;
use hallpass_core::TokenError;
use http::header;
use zeroize::Zeroizing;

use super::{
    answer::{Answer, GZIP_MAGIC},
    body::{INITIAL_BODY_CAPACITY, append, too_large},
};
use crate::hints;

/// Decompresses the body if it is in gzip, by its header or by its first bytes, to at most `limit` bytes. Any other
/// response, also one in another compression, is returned as it is.
pub(super) fn decompress(mut answer: Answer, limit: usize) -> Result<Answer, TokenError> {
    if !is_gzip(&answer) {
        return Ok(answer);
    }
    if !answer.body.is_empty() {
        match read(&answer.body, limit) {
            Ok(body) => answer.body = body,
            // The status of a failure counts, also with a body that cannot be read.
            Err(_) if !answer.status.is_success() => return Ok(answer),
            Err(error) => return Err(error.with_status(answer.status)),
        }
    }
    answer.headers.remove(header::CONTENT_ENCODING);
    Ok(answer)
}

fn is_gzip(answer: &Answer) -> bool {
    let mut encodings = answer.headers.get_all(header::CONTENT_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (Some(encoding), None) => ["gzip", "x-gzip"]
            .iter()
            .any(|name| encoding.as_bytes().eq_ignore_ascii_case(name.as_bytes())),
        (None, _) => answer.body.starts_with(&GZIP_MAGIC),
        // Two encodings, one after the other.
        _ => false,
    }
}

fn read(compressed: &[u8], limit: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut body = Zeroizing::new(Vec::with_capacity(INITIAL_BODY_CAPACITY));
    let mut chunk = Zeroizing::new([0; 4 * 1_024]);
    loop {
        let length = decoder.read(&mut *chunk).map_err(|error| damaged(&error))?;
        if length == 0 {
            return Ok(body);
        }
        if body.len() + length > limit {
            return Err(too_large(limit));
        }
        append(&mut body, &chunk[..length]);
    }
}

fn damaged(error: &std::io::Error) -> TokenError {
    TokenError::unusable_response(format!("the response is not valid gzip ({error})"))
        .with_hint(hints::GZIP)
        .with_transient(error.kind() == std::io::ErrorKind::UnexpectedEof)
}
