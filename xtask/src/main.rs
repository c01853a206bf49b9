//! The project's chores: `cargo xtask` alone lists them.

mod advisories;
mod bench;
mod bridges;
mod ci;
mod deps;
mod files;
mod finding;
mod fleet;
mod fuzz;
mod hints;
mod http_clients;
mod imports;
mod links;
mod matrix;
mod minimal_versions;
mod msrv;
mod mutants;
mod named_tests;
mod names;
mod peers;
mod platforms;
mod prose;
mod registry;
mod release;
mod rules;
mod rustdoc;
mod signatures;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::{
    env,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Context as _;
use xshell::Shell;

mod flags {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::pedantic,
        clippy::exhaustive_enums
    )]

    xflags::xflags! {
        /// The project's chores.
        cmd xtask {
            /// Prints this help.
            default cmd help {}

            /// Sets up what the tests need, and runs them all.
            cmd test {
                /// Runs only what a change breaks first, in less than a minute.
                optional --quick
            }

            /// Installs the authorization servers that the tests run against.
            cmd peers {}

            /// Runs all checks: format, lints, documentation, licences and sources, repository rules, and all tests.
            cmd ci {}

            /// Checks the repository rules: crate edges, dependency counts, packages, files.
            cmd tidy {}

            /// Prints the numbers of docs/requirements.md that no test names.
            cmd rules {}

            /// Checks every lock file for vulnerable, unmaintained and yanked crates; without the database, against
            /// advisories.toml.
            cmd advisories {
                /// Writes advisories.toml from the database.
                optional --update
                /// Address or path of a git repository with the database; with `--update`.
                optional --from database: String
            }

            /// Measures how comments and pages read.
            cmd prose {
                /// Lists each line to rewrite.
                optional --list
            }

            /// Tests every adapter, authentication method and decorator against every scripted answer: prints a table,
            /// and writes it to target/matrix.
            cmd matrix {
                /// Runs only the cells whose name (`scenario::configuration`) contains this text.
                optional --cell cell: String
                /// Builds each set of features of each crate as well (cargo-hack).
                optional --features-powerset
            }

            /// Tests whether the tests notice changed code (cargo-mutants), in the files of .cargo/mutants.toml.
            cmd mutants {
                /// One package; by default all that have such files.
                optional --package package: String
                /// One file: its path from the root of the repository.
                optional --file path: String
                /// Only the lines that differ from this commit.
                optional --diff base: String
            }

            /// Checks the published crates for Windows and macOS, on any system.
            cmd platforms {
                /// Also runs the tests for Windows, in Wine.
                optional --run
            }

            /// Packages and publishes the crates; without `--execute` only a rehearsal in a temporary worktree.
            cmd release {
                /// `patch`, `minor`, `major`, or a version.
                required version: String
                /// Commits, publishes and tags.
                optional --execute
            }

            /// Rehearses two releases of a clone end to end, against a registry on loopback.
            cmd rehearse {}

            /// Tests the published crates with the lowest versions of dependencies that their manifests allow.
            cmd minimal-versions {}

            /// Builds the published crates with the Rust version that they declare.
            cmd msrv {}

            /// Checks the adapters to other crates, in crates/bridges.
            cmd bridges {}

            /// Explores the interleavings of the cache's steps with a checker, in more schedules than the tests.
            cmd explore {
                /// Number of schedules of each scenario; 100,000 by default.
                optional --schedules schedules: usize
            }

            /// Runs a service and the command under load and faults, checks what must hold, and writes a page with a
            /// picture to target/soak.
            cmd soak {
                /// Duration in minutes; 1 by default. Fractions are allowed.
                optional --minutes minutes: f64
                /// The seed of the schedule; random by default, and printed.
                optional --seed seed: u64
                /// Calls a second; 40 by default.
                optional --rate rate: u32
                /// Has a fault on purpose, which a check must report: task, memory, file, thread, log, exit, requests,
                /// expired, audience or failures.
                optional --fault fault: String
                /// Runs the cache alone, with a source and a store in memory.
                optional --cache
            }

            /// Measures a fleet of processes that share a token store, and checks its promises.
            cmd fleet {
                /// Simulates it in virtual time, instead of real processes on a real Redis.
                optional --simulate
                /// Measures the targets of docs/performance.md with real processes: cold starts, jobs, a wrong secret, a refused token.
                optional --targets
                /// Number of processes; by default 50, 100 with `--targets`, or 10,000 simulated ones.
                optional --processes processes: usize
                /// Duration in minutes for real processes; 1 by default.
                optional --minutes minutes: f64
                /// Injects no faults between real processes and Redis.
                optional --without-faults
            }

            /// Runs the fuzz targets, or one of them, with libFuzzer; 20 seconds each by default.
            cmd fuzz {
                /// One target's name; all by default.
                optional target: String
                /// Duration for each target in minutes. Fractions are allowed.
                optional --minutes minutes: f64
                /// Duration for each target in seconds.
                optional --seconds seconds: f64
                /// Replaces each corpus by the inputs that reach the most code.
                optional --merge
            }

            /// Runs the benchmarks, prints their ratios and writes them to target/bench/report.md.
            cmd bench {
                /// One benchmark's name; all by default.
                optional name: String
            }
        }
    }

    impl Xtask {
        pub(crate) const HELP: &str = Self::HELP_;
    }
}

fn main() -> ExitCode {
    if let Some(code) = rustdoc::run_as_rustdoc().or_else(fuzz::run_as_rustc) {
        return code;
    }
    match without_package_variables().unwrap_or_else(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program again without the variables that `cargo run` sets for it. Build scripts of dependencies depend on
/// these: with them, each change between `cargo xtask` and another command would compile ring and all crates that use it
/// again.
fn without_package_variables() -> Option<anyhow::Result<ExitCode>> {
    let set_by_cargo =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    let names = || env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut names = names().filter(|name| set_by_cargo(name)).peekable();
    names.peek()?;
    let mut again = Command::new(env::current_exe().ok()?);
    again.args(env::args_os().skip(1));
    for name in names {
        again.env_remove(name);
    }
    Some(become_program(again))
}

/// Runs a program in place of this one, so that a Ctrl-C is for that program alone.
#[cfg(unix)]
fn become_program(mut program: Command) -> anyhow::Result<ExitCode> {
    let error = std::os::unix::process::CommandExt::exec(&mut program);
    Err(error).with_context(|| format!("{program:?} cannot be started"))
}

/// Runs a program, and ends as it does.
#[cfg(not(unix))]
fn become_program(mut program: Command) -> anyhow::Result<ExitCode> {
    let status = program.status();
    let status = status.with_context(|| format!("{program:?} cannot be started"))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn command() -> anyhow::Result<ExitCode> {
    let flags = flags::Xtask::from_env_or_exit();
    let shell = Shell::new()?;
    shell.change_dir(files::root());
    match flags.subcommand {
        flags::XtaskCmd::Help(_) => {
            println!("{}", flags::Xtask::HELP);
            Ok(())
        }
        flags::XtaskCmd::Test(test) if test.quick => test::quick(&shell),
        flags::XtaskCmd::Test(_) => test::run(&shell),
        flags::XtaskCmd::Peers(_) => peers::set_up(&shell),
        flags::XtaskCmd::Ci(_) => ci::run(&shell),
        flags::XtaskCmd::Tidy(_) => tidy::run(&shell),
        flags::XtaskCmd::Rules(_) => rules::run(),
        flags::XtaskCmd::Advisories(flags) if flags.update => {
            advisories::update(&shell, flags.from.as_deref())
        }
        flags::XtaskCmd::Advisories(_) => advisories::run(&shell),
        flags::XtaskCmd::Prose(prose) => prose::run(prose.list),
        flags::XtaskCmd::Matrix(matrix) => {
            matrix::run(&shell, matrix.cell.as_deref(), matrix.features_powerset)
        }
        flags::XtaskCmd::Mutants(flags) => {
            let scope = mutants::Scope {
                package: flags.package,
                file: flags.file,
                base: flags.diff,
            };
            mutants::run(&shell, &scope)
        }
        flags::XtaskCmd::Platforms(platforms) => platforms::run(&shell, platforms.run),
        flags::XtaskCmd::Release(flags) => release::run(&shell, &flags.version, flags.execute),
        flags::XtaskCmd::Rehearse(_) => release::rehearse(&shell),
        flags::XtaskCmd::MinimalVersions(_) => minimal_versions::run(&shell),
        flags::XtaskCmd::Msrv(_) => msrv::run(&shell),
        flags::XtaskCmd::Bridges(_) => bridges::run(&shell),
        flags::XtaskCmd::Explore(explore) => {
            test::explore(&shell, explore.schedules.unwrap_or(100_000))
        }
        flags::XtaskCmd::Soak(flags) => {
            let minutes = flags.minutes.unwrap_or(1.0);
            let soak = if flags.cache {
                soak::cache(&shell, minutes)
            } else {
                let options = soak::Options {
                    seed: flags.seed,
                    rate: flags.rate,
                    fault: flags.fault,
                };
                soak::service(&shell, minutes, options)
            };
            return become_program(soak?.into());
        }
        flags::XtaskCmd::Fleet(fleet) => {
            if fleet.simulate {
                fleet::simulate(&shell, fleet.processes.unwrap_or(10_000))
            } else if fleet.targets {
                fleet::targets(&shell, fleet.processes.unwrap_or(100))
            } else {
                let minutes = fleet.minutes.unwrap_or(1.0);
                fleet::run(
                    &shell,
                    fleet.processes.unwrap_or(50),
                    minutes,
                    fleet.without_faults,
                )
            }
        }
        flags::XtaskCmd::Fuzz(flags) => {
            let seconds = flags
                .minutes
                .map(|minutes| 60.0 * minutes)
                .or(flags.seconds);
            let options = fuzz::Options {
                target: flags.target,
                time: Duration::try_from_secs_f64(seconds.unwrap_or(20.0))?,
                merge: flags.merge,
                seed: None,
            };
            fuzz::run(&shell, &options)
        }
        flags::XtaskCmd::Bench(bench) => bench::run(&shell, bench.name.as_deref()),
    }?;
    Ok(ExitCode::SUCCESS)
}
