//! `hallpass doctor`.
use std::process::ExitCode;
use crate::{args::{Common, Doctor}, failure::Failure};
pub(crate) fn run(_: &Common, _: &Doctor) -> Result<ExitCode, Failure> { Ok(ExitCode::SUCCESS) }
