//! `cargo xtask fuzz`: runs the targets of `fuzz/` with libFuzzer, on the stable compiler.
//!
//! Only the workspace's own crates get the instruments for coverage, since this program is the wrapper of the compiler
//! for them: all others are those of the tests, and are not compiled again.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use xshell::{Shell, cmd};

use crate::workspace::{self, Variants};

/// The variable that makes this program the compiler.
const AS_RUSTC: &str = "XTASK_AS_RUSTC";

/// The instruments that libFuzzer reads, and optimized code. AddressSanitizer is not among them: our code has no
/// `unsafe`.
const INSTRUMENTS: [&str; 10] = [
    "--cfg=fuzzing",
    "-Copt-level=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-sanitizer-coverage-trace-divs",
    "-Cllvm-args=-sanitizer-coverage-trace-geps",
    "-Cdebug-assertions=on",
];

/// The limits of one input, and of a target's memory.
const MAX_BYTES: u32 = 4_096;
const SLOW_SECONDS: u32 = 5;
const MEMORY_MB: u32 = 1_024;

/// Runs the compiler with instruments and this program's arguments, if it was started in its place.
pub(crate) fn run_as_rustc() -> Option<ExitCode> {
    env::var_os(AS_RUSTC)?;
    let mut arguments = env::args_os().skip(1);
    let mut rustc = Command::new(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    // Cargo asks the compiler about itself, too.
    if arguments.iter().any(|argument| argument == "--crate-name") {
        rustc.args(INSTRUMENTS);
    }
    let status = rustc.args(arguments).env_remove(AS_RUSTC).status();
    Some(match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The flags of the command.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) target: Option<String>,
    /// The time for each target.
    pub(crate) time: Duration,
    /// Replaces the corpus by inputs that reach code which the seeds do not reach.
    pub(crate) merge: bool,
    /// The number that the inputs begin with; by default another one in each run.
    pub(crate) seed: Option<u32>,
}

pub(crate) fn run(shell: &Shell, options: &Options) -> anyhow::Result<()> {
    let names = targets(options.target.as_deref())?;
    let program = build(shell)?;
    let began = Instant::now();
    let queue = Mutex::new(names.iter());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..processes().min(names.len()) {
            scope.spawn(|| {
                // The lock is dropped before the target runs.
                let next = || queue.lock().ok()?.next();
                while let Some(name) = next() {
                    let target = Target::new(&program, name);
                    if let Err(error) = target.run(options)
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.push(format!("{name}: {error:#}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    println!(
        "{} targets in {:.0?}: no fault",
        names.len(),
        began.elapsed()
    );
    Ok(())
}

/// Four times the number of processors: a target's time is that of the clock.
fn processes() -> usize {
    4 * thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Returns the names of the targets, each of which has a corpus, or the one that is asked for.
fn targets(only: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(crate::files::root().join("fuzz/corpus"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    if let Some(only) = only {
        names.retain(|name| name == only);
    }
    if names.is_empty() {
        bail!(
            "there is no target `{}`; `fuzz/README.md` lists them",
            only.unwrap_or_default()
        );
    }
    Ok(names)
}

/// Builds the program with instruments and libFuzzer, from dependencies with the features of the tests.
fn build(shell: &Shell) -> anyhow::Result<PathBuf> {
    let selection = workspace::selection(Variants::InCi)?;
    cmd!(
        shell,
        "cargo build --quiet {selection...} --features libfuzzer-sys/link_libfuzzer --example fuzz --target-dir target"
    )
    .env("RUSTC_WORKSPACE_WRAPPER", compiler()?)
    .env(AS_RUSTC, "1")
    .run()
    .context("the targets cannot be built; libFuzzer needs a C++ compiler")?;
    // The next ordinary build replaces it.
    let folder = crate::files::root().join("target/fuzz");
    fs::create_dir_all(&folder)?;
    let program = folder.join("fuzz");
    let built = crate::files::root().join("target/debug/examples/fuzz");
    fs::copy(built, &program)?;
    Ok(program)
}

/// Copies this program to a path that depends on the flags: cargo compiles again if the wrapper has another path.
fn compiler() -> anyhow::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    INSTRUMENTS.hash(&mut hasher);
    let folder = crate::files::root().join("target/fuzz");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("rustc-{:016x}", hasher.finish()));
    fs::copy(env::current_exe()?, &path)?;
    Ok(path)
}

/// A target with its directories.
struct Target<'a> {
    program: &'a Path,
    name: &'a str,
    /// The seeds and the dictionary, which the program writes, and new inputs.
    folder: PathBuf,
    corpus: PathBuf,
}

impl<'a> Target<'a> {
    fn new(program: &'a Path, name: &'a str) -> Self {
        let root = crate::files::root();
        Self {
            program,
            name,
            folder: root.join("target/fuzz").join(name),
            corpus: root.join("fuzz/corpus").join(name),
        }
    }

    fn run(&self, options: &Options) -> anyhow::Result<()> {
        let [found, crashes, seeds] =
            ["found", "crashes", "seeds"].map(|name| self.folder.join(name));
        // The program writes those that there are now.
        let _ = fs::remove_dir_all(&seeds);
        for folder in [&found, &crashes, &seeds] {
            fs::create_dir_all(folder)?;
        }
        // The program writes it before libFuzzer reads it.
        fs::write(self.folder.join("words.dict"), "")?;
        let log = self.folder.join("log");
        let status = self
            .fuzzer(&log)?
            .arg(format!(
                "-max_total_time={:.0}",
                options.time.as_secs_f64().ceil()
            ))
            .args(options.seed.map(|seed| format!("-seed={seed}")))
            .arg(format!("-artifact_prefix={}/", crashes.display()))
            .arg(format!(
                "-dict={}",
                self.folder.join("words.dict").display()
            ))
            .args([&found, &self.corpus, &seeds])
            .status()?;
        let output = fs::read_to_string(&log).unwrap_or_default();
        if !status.success() {
            return self.fault(&output);
        }
        println!("{:24} {}", self.name, summary(&output));
        if options.merge {
            self.merge(&found, &log)?;
        }
        Ok(())
    }

    /// Returns the command with the limits of an input; its output goes to this file.
    fn fuzzer(&self, log: &Path) -> anyhow::Result<Command> {
        let mut fuzzer = Command::new(self.program);
        let file = fs::File::create(log)?;
        fuzzer
            .env("FUZZ_TARGET", self.name)
            .env("FUZZ_SEEDS", &self.folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .arg(format!("-timeout={SLOW_SECONDS}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB}"))
            .arg(format!("-max_len={MAX_BYTES}"))
            .arg("-print_final_stats=1");
        Ok(fuzzer)
    }

    fn fault(&self, output: &str) -> anyhow::Result<()> {
        let lines: Vec<_> = output.lines().collect();
        for line in &lines[lines.len().saturating_sub(60)..] {
            println!("{}: {line}", self.name);
        }
        let marker = "Test unit written to ";
        let input = output.lines().find_map(|line| line.split_once(marker));
        let (_, input) = input.context("the target failed without an input")?;
        bail!(
            "a fault; this repeats it:\n  FUZZ_TARGET={} cargo run --package hallpass-fuzz --example fuzz -- {input}",
            self.name
        )
    }

    /// Adds the inputs to the corpus that reach code which the corpus and the seeds do not reach, the smallest first.
    fn merge(&self, found: &Path, log: &Path) -> anyhow::Result<()> {
        let chosen = self.folder.join("chosen");
        let _ = fs::remove_dir_all(&chosen);
        fs::create_dir_all(&chosen)?;
        let seeds = self.folder.join("seeds");
        for seed in fs::read_dir(&seeds)? {
            fs::copy(
                seed?.path(),
                chosen.join(format!("seed-{}", chosen.read_dir()?.count())),
            )?;
        }
        let status = self
            .fuzzer(log)?
            .arg("-merge=1")
            .args([&chosen, &self.corpus, &found.to_owned()])
            .status()?;
        if !status.success() {
            bail!("the corpus cannot be merged; see {}", log.display());
        }
        let mut inputs = Vec::new();
        for entry in fs::read_dir(&chosen)? {
            let path = entry?.path();
            let input = fs::read(&path)?;
            let is_seed = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("seed-"));
            // The seeds have keys, and scanners report each copy.
            let has_key = input
                .windows(KEY_MARK.len())
                .any(|window| window == KEY_MARK);
            if !is_seed && !has_key {
                inputs.push((input.len(), path));
            }
        }
        inputs.sort();
        println!(
            "{:24} {} inputs reach code beyond the seeds",
            self.name,
            inputs.len()
        );
        fs::remove_dir_all(&self.corpus)?;
        fs::create_dir_all(&self.corpus)?;
        for (_, path) in inputs.iter().take(MAX_FILES) {
            fs::copy(path, self.corpus.join(path.file_name().unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// The maximum number of files of a corpus; a test counts them too.
const MAX_FILES: usize = 60;
/// The end of a private key's first line in PEM.
const KEY_MARK: &[u8] = b"PRIVATE KEY";

/// Returns the last numbers that libFuzzer printed.
fn summary(output: &str) -> String {
    let number = |name: &str| {
        let mut lines = output.lines().rev();
        let line = lines.find_map(|line| line.strip_prefix(name));
        line.unwrap_or("?").trim().to_owned()
    };
    let coverage = output
        .lines()
        .rev()
        .find_map(|line| line.split_once(" cov: "));
    let coverage = coverage.and_then(|(_, rest)| rest.split(' ').next());
    format!(
        "{} inputs, {} per second, {} places reached, {} MB",
        number("stat::number_of_executed_units:"),
        number("stat::average_exec_per_sec:"),
        coverage.unwrap_or("?"),
        number("stat::peak_rss_mb:"),
    )
}
