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
        return Err(Failure::usage("`completions` needs the name of a shell")
            .with_remedy(format!("there are `{}`", shells.join("`, `"))));
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "hallpass", &mut script);
    out::bytes(&script)
}

pub(crate) fn man(folder: Option<&Path>) -> Result<(), Failure> {
    let command = args::command();
    let Some(folder) = folder else {
        if io::stdout().is_terminal() {
            return Err(not_for_terminals());
        }
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return out::bytes(&page);
    };
    let written =
        fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    written.map_err(|error| {
        Failure::new(
            Exit::Output,
            format!(
                "the manual pages could not be written to {}: {}",
                folder.display(),
                error.kind()
            ),
        )
    })
}

fn not_for_terminals() -> Failure {
    Failure::usage("a manual page is source text for `man`, and standard output is a terminal")
        .with_remedy(
            "`hallpass man | man -l -` shows it, `hallpass man --dir FOLDER` writes all pages",
        )
}
