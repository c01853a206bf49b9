//! Each configuration (adapter, grant, authentication method, with or without a cache) in each scenario (what a server
//! does): one test that runs all cells.
//!
//! With `HALLPASS_MATRIX` set to a directory, it prints a table and writes it there. This is `cargo xtask matrix`.
//! `HALLPASS_MATRIX_CELL` limits it to the cells whose name (`scenario::configuration`) contains this text.

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

use std::{env, path::Path, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet, time};

use configurations::CONFIGURATIONS;
use report::Report;
use scenarios::Scenario;

/// No cell takes as long, on any machine.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_has_its_right_result() {
    let selected = env::var("HALLPASS_MATRIX_CELL").unwrap_or_default();
    // Enough to overlap the waits of stalled cells, but few enough for all others to finish in time.
    let slots = Arc::new(Semaphore::new(8));
    let mut cells = JoinSet::new();
    for (row, scenario) in Scenario::all().enumerate() {
        for (column, configuration) in CONFIGURATIONS.iter().enumerate() {
            if !format!("{}::{}", scenario.name(), configuration.name()).contains(&selected) {
                continue;
            }
            let slots = slots.clone();
            cells.spawn(async move {
                let _slot = slots.acquire_owned().await.unwrap();
                let outcome = time::timeout(LIMIT, scenario.run(configuration)).await;
                let outcome = outcome.unwrap_or_else(|_| Err(format!("no result in {LIMIT:?}")));
                (row, column, outcome)
            });
        }
    }
    assert!(!cells.is_empty(), "no cell's name contains {selected:?}");
    println!("{} cells", cells.len());
    let mut report = Report::new();
    while let Some(cell) = cells.join_next().await {
        // A panic is a fault of the matrix, not of a cell.
        let (row, column, outcome) = cell.unwrap();
        report.put(row, column, outcome);
    }
    if let Some(folder) = env::var_os("HALLPASS_MATRIX").filter(|_| selected.is_empty()) {
        let folder = Path::new(&folder);
        println!("{}", report.markdown());
        report.write(folder).unwrap();
        println!("written to {}/matrix.{{md,json,html}}", folder.display());
    }
    assert_eq!(report.failed(), 0, "{}", report.failures());
}
