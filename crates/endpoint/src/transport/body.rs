//! The body of a response: it grows without copies left in memory, up to a limit.

use hallpass_core::TokenError;
use zeroize::Zeroizing;

use crate::hints;

/// The capacity for a body of unknown length, in bytes.
pub(super) const INITIAL_BODY_CAPACITY: usize = 4 * 1_024;

pub(super) fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let mut larger = Vec::with_capacity((body.len() + chunk.len()) * 2);
        larger.extend_from_slice(body);
        // The smaller buffer is wiped when it is dropped.
        *body = Zeroizing::new(larger);
    }
    body.extend_from_slice(chunk);
}

pub(super) fn too_large(limit: usize) -> TokenError {
    TokenError::unusable_response(format!("the response is larger than {limit} bytes"))
        .with_hint(hints::BODY_SIZE)
}
