//! Responses: a token, a refusal, or neither.

pub(crate) mod json;
pub(crate) mod layout;
pub(crate) mod pointer;
pub(crate) mod quota;
pub(crate) mod redact;
pub(crate) mod refusal;
pub(crate) mod skew;
pub(crate) mod token;
pub(crate) mod wording;
