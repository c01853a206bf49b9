//! Every adapter, authentication method and decorator against every scripted response: one named test per cell.
//!
//! With `HALLPASS_MATRIX` set to a directory, it runs all cells at once, prints one table and writes it there. This is
//! `cargo xtask matrix`.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../shared/assertions.rs"]
mod assertions;
mod configurations;
mod report;
mod scenarios;
#[path = "../shared/tls_front.rs"]
mod tls_front;
#[path = "../shared/tls_server.rs"]
mod tls_server;

use std::{env, path::PathBuf, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use tokio::{runtime, sync::Semaphore, task::JoinSet};

use configurations::{CONFIGURATIONS, Configuration};
use report::Report;
use scenarios::Scenario;

fn main() -> ExitCode {
    match env::var_os("HALLPASS_MATRIX") {
        Some(folder) => all_at_once(&PathBuf::from(folder)),
        None => libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    }
}

fn trials() -> Vec<Trial> {
    let cell = |scenario: Scenario, configuration: &'static Configuration| {
        let name = format!("{}::{}", scenario.name(), configuration.name());
        Trial::test(name, move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(scenario.run(configuration))?)
        })
    };
    Scenario::all()
        .flat_map(|scenario| {
            let row = CONFIGURATIONS.iter();
            row.map(move |configuration| cell(scenario, configuration))
        })
        .collect()
}

fn all_at_once(folder: &std::path::Path) -> ExitCode {
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(async {
        // Enough to overlap the waits of stalled cells, but few enough for all others to finish in time.
        let slots = Arc::new(Semaphore::new(8));
        let mut cells = JoinSet::new();
        for (row, scenario) in Scenario::all().enumerate() {
            for (column, configuration) in CONFIGURATIONS.iter().enumerate() {
                let slots = slots.clone();
                cells.spawn(async move {
                    let _slot = slots.acquire_owned().await.unwrap();
                    (row, column, scenario.run(configuration).await)
                });
            }
        }
        let mut report = Report::new();
        while let Some(cell) = cells.join_next().await {
            // A panic is a fault of the matrix, not of a cell.
            let (row, column, outcome) = cell.unwrap();
            report.put(row, column, outcome);
        }
        report
    });
    println!("{}", report.markdown());
    report.write(folder).unwrap();
    println!("written to {}/matrix.{{md,json,html}}", folder.display());
    if report.failed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
