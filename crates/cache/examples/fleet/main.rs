//! A simulation of many processes that share a token store: `cargo xtask fleet --simulate --processes 10000`.
//!
//! The caches are real; time, network, store and server are simulated. It prints the figures of each scenario, and exits
//! with an error if a promise is broken.

mod fleet;
mod report;
mod scenarios;
mod server;
mod store;

use std::{env, process::ExitCode};

use report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let processes = match arguments.as_slice() {
        [flag, number] if flag == "--processes" => number.parse().ok(),
        _ => None,
    };
    let Some(processes) = processes else {
        eprintln!("usage: fleet --processes N");
        return ExitCode::FAILURE;
    };
    let mut broken = Vec::new();
    println!("{}", Report::HEAD);
    for scenario in scenarios::ALL {
        let (report, expected) = scenarios::run(*scenario, processes, 1);
        println!("{}", report.row());
        let faults = report.broken(&expected);
        broken.extend(
            faults
                .iter()
                .map(|fault| format!("{}: {fault}", report.name)),
        );
    }
    for fault in &broken {
        eprintln!("error: {fault}");
    }
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough for each scenario's races, and few enough for a test.
    const PROCESSES: usize = 50;

    // covers: F-89, F-90
    #[test]
    fn each_simulated_fleet_keeps_its_promises() {
        for scenario in scenarios::ALL {
            let (report, expected) = scenarios::run(*scenario, PROCESSES, 1);
            assert_eq!(report.broken(&expected), [""; 0], "{}", report.row());
        }
    }

    #[test]
    fn a_seed_yields_the_same_figures_each_time() {
        for scenario in scenarios::ALL {
            let figures = |seed| scenarios::run(*scenario, 20, seed).0;
            assert_eq!(figures(2), figures(2));
        }
    }
}
