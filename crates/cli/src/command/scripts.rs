//! `hallpass completions` and `hallpass man`, generated from the definition of the command line.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::Path,
};

use clap::ValueEnum as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{
    args,
    failure::{Exit, Failure},
    out,
};

pub(crate) fn completions(shell: Option<Shell>) -> Result<(), Failure> {
    let Some(shell) = shell else {
        let shells = Shell::value_variants().iter().map(ToString::to_string);
        let shells: Vec<String> = shells.collect();
        return Err(Failure::usage("`completions` requires a shell")
            .with_remedy(format!("supported shells: `{}`", shells.join("`, `"))));
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "hallpass", &mut script);
    out::bytes(&script)
}

pub(crate) fn man(directory: Option<&Path>) -> Result<(), Failure> {
    let command = args::command();
    let Some(directory) = directory else {
        if io::stdout().is_terminal() {
            return Err(not_for_terminals());
        }
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return out::bytes(&page);
    };
    let written =
        fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    written.map_err(|error| {
        Failure::new(
            Exit::Output,
            format!(
                "the manual pages could not be written to {}: {}",
                directory.display(),
                error.kind()
            ),
        )
    })
}

fn not_for_terminals() -> Failure {
    Failure::usage("a manual page is written in roff, and standard output is a terminal")
        .with_remedy(
            "`hallpass man | man -l -` shows it, `hallpass man --dir DIRECTORY` writes all pages",
        )
}
