//! Errors of the agent. Their text names the socket, and nothing that the agent sent.
//!
//! Permanent ones that say nothing about the identity are [inaccessible](SecretError::inaccessible): an SVID that was
//! read earlier remains usable.

use std::{fmt, io, path::Path};

use hallpass_core::SecretError;
use tonic::{Code, Status};

/// Converts the status of a call.
pub(crate) fn refused(socket: &Path, status: &Status) -> SecretError {
    let agent = socket.display();
    match status.code() {
        Code::PermissionDenied => SecretError::new(format!(
            "the SPIFFE agent at {agent} has no identity for this process; register the workload, or wait until the agent knows of it"
        )),
        Code::InvalidArgument | Code::Unimplemented | Code::Unauthenticated => {
            SecretError::inaccessible(format!(
                "the SPIFFE agent at {agent} refused the request ({:?}); check that the socket is that of a Workload API",
                status.code()
            ))
        }
        Code::OutOfRange => unusable(socket, "its response is too long"),
        code => SecretError::unavailable(format!(
            "the SPIFFE agent at {agent} is unavailable ({code:?})"
        )),
    }
}

pub(crate) fn unreachable(socket: &Path, error: &io::Error) -> SecretError {
    let message = format!(
        "the SPIFFE agent at {} cannot be reached: {}",
        socket.display(),
        error.kind()
    );
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
            SecretError::inaccessible(message)
        }
        // An agent that starts has no socket yet.
        _ => SecretError::unavailable(message),
    }
}

pub(crate) fn broken(socket: &Path, _: impl fmt::Display) -> SecretError {
    let agent = socket.display();
    SecretError::unavailable(format!(
        "the connection to the SPIFFE agent at {agent} was lost"
    ))
}

pub(crate) fn late(socket: &Path) -> SecretError {
    let agent = socket.display();
    SecretError::unavailable(format!(
        "the SPIFFE agent at {agent} did not answer in time"
    ))
}

pub(crate) fn unusable(socket: &Path, fault: &str) -> SecretError {
    let agent = socket.display();
    SecretError::inaccessible(format!(
        "the SVID of the SPIFFE agent at {agent} cannot be used: {fault}"
    ))
}

/// Creates the error for a response that omits the selected identity, or is empty.
pub(crate) fn missing(socket: &Path) -> SecretError {
    let agent = socket.display();
    SecretError::new(format!(
        "the response of the SPIFFE agent at {agent} has no SVID with this SPIFFE ID; register the workload, or check the ID"
    ))
}
