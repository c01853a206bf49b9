//! Runs one target, which the variable `FUZZ_TARGET` names.
//!
//! `cargo xtask fuzz` builds it with libFuzzer and coverage. Without these it runs the target once for each file that
//! its arguments name, which repeats a crash with any debugger.
//!
//! This is an example because Cargo builds its dependencies as it builds them for tests, with the same features.

#![cfg_attr(fuzzing, no_main)]

use hallpass_fuzz::Target;

fn target() -> &'static Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    hallpass_fuzz::target(&name).unwrap_or_else(|| {
        let names: Vec<_> = hallpass_fuzz::TARGETS
            .iter()
            .map(|target| target.name)
            .collect();
        eprintln!(
            "error: set the variable FUZZ_TARGET to one of: {}",
            names.join(", ")
        );
        std::process::exit(2);
    })
}

#[cfg(fuzzing)]
mod libfuzzer {
    use std::{fs, io, path::Path, sync::OnceLock};

    use hallpass_fuzz::Target;

    static TARGET: OnceLock<&Target> = OnceLock::new();

    libfuzzer_sys::fuzz_target!(
        init: {
            let target = super::target();
            let written = std::env::var_os("FUZZ_SEEDS").map(|folder| write(target, folder.as_ref()));
            if let Some(Err(error)) = written {
                eprintln!("error: the seeds cannot be written: {error}");
                std::process::exit(2);
            }
            TARGET.get_or_init(|| target)
        },
        |bytes: &[u8]| {
            if let Some(target) = TARGET.get() {
                (target.run)(bytes);
            }
        }
    );

    /// Writes the seeds and the dictionary to a directory.
    fn write(target: &Target, folder: &Path) -> io::Result<()> {
        let seeds = folder.join("seeds");
        fs::create_dir_all(&seeds)?;
        for (at, seed) in (target.seeds)().iter().enumerate() {
            fs::write(seeds.join(at.to_string()), seed)?;
        }
        let words = target.words.iter().map(|word| {
            let escaped = word.bytes().map(|byte| format!("\\x{byte:02x}"));
            format!("\"{}\"\n", escaped.collect::<String>())
        });
        fs::write(folder.join("words.dict"), words.collect::<String>())
    }
}

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    let target = target();
    for path in std::env::args_os().skip(1) {
        (target.run)(&std::fs::read(path)?);
    }
    Ok(())
}
