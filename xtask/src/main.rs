//! The tasks of this repository: `cargo xtask` alone lists them.

mod advisories;
mod bench;
mod bridges;
mod ci;
mod deps;
mod files;
mod finding;
mod flags;
mod fleet;
mod fuzz;
mod hints;
mod http_clients;
mod imports;
mod links;
mod matrix;
mod minimal_versions;
mod missing;
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

use flags::XtaskCmd;

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
    let command = flags::from_env_or_exit();
    let shell = Shell::new()?;
    shell.change_dir(files::root());
    match command {
        XtaskCmd::Help(_) => {
            println!("{}", flags::HELP);
            Ok(())
        }
        XtaskCmd::Test(test) if test.quick => test::quick(&shell),
        XtaskCmd::Test(_) => test::run(&shell),
        XtaskCmd::Peers(_) => missing::report(&peers::set_up(&shell)?, workspace::is_ci()),
        XtaskCmd::Ci(_) => ci::run(&shell),
        XtaskCmd::Tidy(_) => tidy::run(&shell),
        XtaskCmd::Rules(_) => rules::run(),
        XtaskCmd::Advisories(flags) if flags.update => {
            advisories::update(&shell, flags.from.as_deref())
        }
        XtaskCmd::Advisories(_) => advisories::run(&shell),
        XtaskCmd::Prose(prose) => prose::run(prose.list),
        XtaskCmd::Matrix(matrix) => {
            matrix::run(&shell, matrix.cell.as_deref(), matrix.features_powerset)
        }
        XtaskCmd::Mutants(flags) => {
            let scope = mutants::Scope {
                package: flags.package,
                file: flags
                    .file
                    .map(|path| path.trim_start_matches("./").to_owned()),
                base: flags.diff,
            };
            mutants::run(&shell, &scope)
        }
        XtaskCmd::Platforms(platforms) => platforms::run(&shell, platforms.run),
        XtaskCmd::Release(flags) => release::run(&shell, &flags.version, flags.execute),
        XtaskCmd::Rehearse(_) => release::rehearse(&shell),
        XtaskCmd::MinimalVersions(_) => minimal_versions::run(&shell),
        XtaskCmd::Msrv(_) => msrv::run(&shell),
        XtaskCmd::Bridges(_) => bridges::run(&shell),
        XtaskCmd::Explore(explore) => {
            test::explore(&shell, explore.schedules.unwrap_or(flags::Count(100_000)))
        }
        XtaskCmd::Soak(flags) => {
            let minutes = flags.minutes.unwrap_or(flags::MINUTE);
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
        XtaskCmd::Fleet(fleet) => {
            let processes = |default| fleet.processes.unwrap_or(flags::Count(default));
            if fleet.simulate {
                fleet::simulate(&shell, processes(10_000))
            } else if fleet.targets {
                fleet::targets(&shell, processes(100))
            } else {
                let minutes = fleet.minutes.unwrap_or(flags::MINUTE);
                fleet::run(&shell, processes(50), minutes, fleet.without_faults)
            }
        }
        XtaskCmd::Fuzz(flags) => {
            let minutes = flags.minutes.map(|minutes| minutes.0);
            let time = minutes.or(flags.seconds.map(|seconds| seconds.0));
            let options = fuzz::Options {
                target: flags.target,
                time: time.unwrap_or(Duration::from_secs(20)),
                merge: flags.merge,
                seed: None,
            };
            fuzz::run(&shell, &options)
        }
        XtaskCmd::Bench(bench) => bench::run(&shell, bench.name.as_deref()),
    }?;
    Ok(ExitCode::SUCCESS)
}
