//! `hallpass completions` and `hallpass man`: written from the same description as the command line itself.

use std::{fs, path::Path};

use clap_complete::Shell;
use clap_mangen::Man;

use crate::{
    args,
    failure::{Exit, Failure},
    out,
};

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "hallpass", &mut script);
    out::bytes(&script)
}

pub(crate) fn man(folder: Option<&Path>) -> Result<(), Failure> {
    let command = args::command();
    let Some(folder) = folder else {
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
