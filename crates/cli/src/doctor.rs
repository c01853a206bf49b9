//! `hallpass doctor`: checks each step of obtaining a token, and suggests a fix for what fails.

mod authentication;
mod binding;
#[cfg(feature = "redis")]
mod redis;
mod report;
mod steps;
mod validity;

use std::process::ExitCode;

use crate::{
    args::{Common, Doctor},
    config,
    failure::Failure,
    out, tokens,
};
use report::Report;

pub(crate) fn run(common: &Common, args: &Doctor) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    match config::read(common, &args.client) {
        Err(failure) => report.failed(steps::CONFIGURATION, &failure),
        Ok((settings, _)) => tokens::block_on(async {
            // The examination stops at the first failed step, which the report records.
            let _ = steps::run_steps(&settings, &mut report).await;
            steps::check_store(&settings, &mut report).await;
            Ok(())
        })?,
    }
    report.complete(&steps::ALL);
    if args.json {
        out::json(&report.to_json())?;
    } else {
        report.print()?;
    }
    Ok(report.exit().into())
}
