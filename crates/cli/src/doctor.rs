//! `hallpass doctor`: the way to a token step by step, with a remedy for what fails.

mod proof;
mod report;
mod steps;

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
        Ok(settings) => tokens::block_on(async {
            // It stops at the first step that fails, which the report knows.
            let _ = steps::examine(&settings, &mut report).await;
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
