//! The commands with their flags, and the pairs of flags that exclude each other.

use std::{ffi::OsString, fmt, str::FromStr, time::Duration};

use commands::Xtask;
pub(crate) use commands::XtaskCmd;

/// The text that lists the commands.
pub(crate) const HELP: &str = Xtask::HELP;

/// Flags of a command of which one would have no effect beside the other.
const EXCLUSIVE: [(&str, &[&str], &[&str]); 5] = [
    (
        "fleet",
        &["--simulate"],
        &["--targets", "--minutes", "--without-faults"],
    ),
    ("fleet", &["--targets"], &["--minutes", "--without-faults"]),
    ("fuzz", &["--minutes"], &["--seconds"]),
    ("mutants", &["--file"], &["--package"]),
    ("soak", &["--cache"], &["--seed", "--rate", "--fault"]),
];

/// Flags of a command that have no effect without another one.
const REQUIRES: [(&str, &str, &str); 1] = [("advisories", "--from", "--update")];

/// Parses the arguments of this process, or ends it with an error.
pub(crate) fn from_env_or_exit() -> XtaskCmd {
    let arguments = std::env::args_os().skip(1).collect();
    parse(arguments).unwrap_or_else(|error| error.exit())
}

fn parse(arguments: Vec<OsString>) -> xflags::Result<XtaskCmd> {
    let words: Vec<String> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let parsed = Xtask::from_vec(arguments)?;
    if let Some(refusal) = refusal(&words) {
        return Err(xflags::Error::new(format!("error: {refusal}")));
    }
    Ok(parsed.subcommand)
}

/// Returns the reason why these words cannot be together. No value of a flag begins with two hyphens.
fn refusal(words: &[String]) -> Option<String> {
    let command = words.first()?;
    let has = |flag: &&&str| words.iter().any(|word| word == **flag);
    let exclusive = EXCLUSIVE.iter().filter(|(name, ..)| name == command);
    for (_, some, others) in exclusive {
        if let (Some(one), Some(other)) = (some.iter().find(has), others.iter().find(has)) {
            return Some(format!(
                "`{command} {one}` and `{other}` exclude each other"
            ));
        }
    }
    let mut requires = REQUIRES.iter().filter(|(name, ..)| name == command);
    requires.find_map(|(_, flag, other)| {
        let is_alone = has(&flag) && !has(&other);
        is_alone.then(|| format!("`{command} {flag}` has no effect without `{other}`"))
    })
}

/// A duration, which `--minutes` has in minutes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minutes(pub(crate) Duration);

pub(crate) const MINUTE: Minutes = Minutes(Duration::from_secs(60));

/// A duration, which `--seconds` has in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(pub(crate) Duration);

impl FromStr for Minutes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        duration(text, 60.0).map(Self)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        duration(text, 1.0).map(Self)
    }
}

/// In minutes, as `--minutes` of the programs that this one starts.
impl fmt::Display for Minutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs_f64() / 60.0)
    }
}

/// Reads a number of units of `unit` seconds. A run of no time would report success and check nothing.
fn duration(text: &str, unit: f64) -> Result<Duration, String> {
    const RANGE: std::ops::RangeInclusive<f64> = 1.0..=7.0 * 24.0 * 3_600.0;
    let seconds = text.parse::<f64>().map(|number| number * unit);
    let seconds = seconds.ok().filter(|seconds| RANGE.contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        format!("`{text}` is out of range: the time is from one second to a week, and may have a fraction")
    })?;
    Ok(Duration::from_secs_f64(seconds))
}

/// A number from 1 to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count<const MAX: usize>(pub(crate) usize);

impl<const MAX: usize> FromStr for Count<MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=MAX).contains(number));
        let number = number.ok_or_else(|| format!("`{text}` is not a number from 1 to {MAX}"));
        number.map(Self)
    }
}

impl<const MAX: usize> fmt::Display for Count<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

pub(crate) type Rate = Count<10_000>;
pub(crate) type Processes = Count<1_000_000>;
pub(crate) type Schedules = Count<1_000_000_000>;

mod commands {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::pedantic,
        clippy::exhaustive_enums
    )]

    use super::{Minutes, Processes, Rate, Schedules, Seconds};

    xflags::xflags! {
        /// The tasks of this repository.
        cmd xtask {
            /// Prints this help.
            default cmd help {}

            /// Sets up what the tests need, and runs all but those of the adapters (`bridges`).
            cmd test {
                /// Runs only the fast tests, in about a minute.
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
                /// Address or path of a git repository with the database. Requires `--update`.
                optional --from database: String
            }

            /// Measures how comments and pages read.
            cmd prose {
                /// Lists each line to rewrite.
                optional --list
            }

            /// Tests each configuration (adapter, grant, authentication method, with or without a cache) in each scenario
            /// (what a server does). Without `--cell` it prints a table of all cells, and writes it to target/matrix.
            cmd matrix {
                /// Runs only the cells whose name (`scenario::configuration`) contains this text.
                optional --cell cell: String
                /// Builds each crate with each feature and each pair of them as well (cargo-hack).
                optional --features-powerset
            }

            /// Tests whether the tests notice changed code (cargo-mutants), in the files of .cargo/mutants.toml.
            cmd mutants {
                /// One package; by default all that have such files.
                optional --package package: String
                /// One file: its path from the root of the repository. Excludes `--package`.
                optional --file path: String
                /// Only the lines that differ from this commit, those of new files included.
                optional --diff base: String
            }

            /// Checks the published crates for Windows and macOS, on any system.
            cmd platforms {
                /// Also runs the tests for Windows, in Wine.
                optional --run
            }

            /// Packages and publishes the crates; without `--execute` only a dry run in a temporary worktree.
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
                optional --schedules schedules: Schedules
            }

            /// Runs a service and the command under load and faults, checks what must hold, and writes a report with
            /// charts to target/soak.
            cmd soak {
                /// Duration in minutes; 1 by default. Fractions are allowed.
                optional --minutes minutes: Minutes
                /// The seed of the schedule; random by default, and printed.
                optional --seed seed: u64
                /// Calls a second; 40 by default.
                optional --rate rate: Rate
                /// Makes the service faulty, which a check must report: task, memory, file, file-until-shutdown, thread,
                /// log, assertion, exit, requests, expired, audience or failures.
                optional --fault fault: String
                /// Runs the cache alone, with a source and a store in memory. Excludes `--seed`, `--rate` and `--fault`.
                optional --cache
            }

            /// Measures a fleet of processes that share a token store, and checks its promises.
            cmd fleet {
                /// Simulates it in virtual time, instead of real processes on a real Redis. Excludes the other flags but
                /// `--processes`.
                optional --simulate
                /// Measures the targets of docs/performance.md with real processes: cold starts, jobs, a wrong secret, a refused
                /// token. Excludes the other flags but `--processes`.
                optional --targets
                /// Number of processes; by default 50, 100 with `--targets`, or 10,000 simulated ones.
                optional --processes processes: Processes
                /// Duration in minutes for real processes; 1 by default.
                optional --minutes minutes: Minutes
                /// Injects no faults between real processes and Redis.
                optional --without-faults
            }

            /// Runs the fuzz targets, or one of them, with libFuzzer; 20 seconds each by default.
            cmd fuzz {
                /// One target's name; all by default.
                optional target: String
                /// Duration for each target in minutes. Fractions are allowed.
                optional --minutes minutes: Minutes
                /// Duration for each target in seconds. Excludes `--minutes`.
                optional --seconds seconds: Seconds
                /// Replaces the corpus of each target that runs by at most 60 small inputs that reach code which the seeds do
                /// not reach.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    /// Flags of a command of which any two have their effects together.
    const TOGETHER: [(&str, &[&str]); 11] = [
        ("advisories", &["--update", "--from"]),
        ("fleet", &["--minutes", "--without-faults", "--processes"]),
        ("fleet", &["--simulate", "--processes"]),
        ("fleet", &["--targets", "--processes"]),
        ("fuzz", &["--minutes", "--merge"]),
        ("fuzz", &["--seconds", "--merge"]),
        ("matrix", &["--cell", "--features-powerset"]),
        ("mutants", &["--package", "--diff"]),
        ("mutants", &["--file", "--diff"]),
        ("soak", &["--minutes", "--seed", "--rate", "--fault"]),
        ("soak", &["--minutes", "--cache"]),
    ];

    /// A flag, with a value if it has one.
    type Flag = Vec<&'static str>;

    /// Returns the flags of each command, as the help lists them.
    fn commands() -> Vec<(&'static str, Vec<Flag>)> {
        let mut commands = Vec::new();
        for line in HELP.lines() {
            if let Some(name) = line.strip_prefix("xtask ") {
                commands.push((name, Vec::new()));
            } else if let (Some(flag), Some((_, flags))) =
                (line.strip_prefix("    --"), commands.last_mut())
            {
                let name = flag.split(' ').next().unwrap_or_default();
                let name = &line[4..][..name.len() + 2];
                let value = flag.contains('<').then_some("1");
                flags.push([name].into_iter().chain(value).collect());
            }
        }
        commands
    }

    fn error(words: &[&str]) -> Option<String> {
        let result = parse(words.iter().map(OsString::from).collect());
        result.err().map(|error| error.to_string())
    }

    #[test]
    fn two_flags_have_their_effects_or_the_error_names_both() {
        let (mut together, mut refused) = (0, 0);
        for (command, flags) in commands() {
            for (at, one) in flags.iter().enumerate() {
                for other in &flags[at + 1..] {
                    let both = [one[0], other[0]];
                    let is_listed = TOGETHER.iter().any(|(name, set)| {
                        *name == command && both.iter().all(|flag| set.contains(flag))
                    });
                    let pairs = [(one, other), (other, one)];
                    for words in pairs.map(|(one, other)| [&[command], &**one, other].concat()) {
                        match error(&words) {
                            None => assert!(is_listed, "{words:?}: one has no effect"),
                            Some(error) => {
                                assert!(!is_listed, "{words:?}: {error}");
                                let names = both.iter().filter(|flag| error.contains(**flag));
                                assert_eq!(names.count(), 2, "{words:?}: {error}");
                            }
                        }
                    }
                    *(if is_listed {
                        &mut together
                    } else {
                        &mut refused
                    }) += 1;
                }
            }
        }
        assert_eq!((together, refused), (18, 10));
    }

    #[test]
    fn a_flag_without_the_one_that_it_needs_is_refused() {
        for (command, flag, other) in REQUIRES {
            let error = error(&[command, flag, "1"]).unwrap();
            assert!(error.contains(flag) && error.contains(other), "{error}");
        }
    }

    #[test]
    fn a_number_out_of_its_range_is_refused() {
        const DURATIONS: [&str; 10] = [
            "-1", "0", "-0", "NaN", "inf", "-inf", "1e30", "1e-9", "20000", "ten",
        ];
        const COUNTS: [&str; 5] = ["0", "-1", "1.5", "99999999999999999999", "10000000000"];
        let mut checked = 0;
        for (command, flags) in commands() {
            for flag in flags {
                let values: &[&str] = match *flag {
                    ["--minutes", _] => &DURATIONS,
                    ["--seconds", _] => &["-1", "0", "NaN", "inf", "0.5", "604801"],
                    ["--rate" | "--processes" | "--schedules", _] => &COUNTS,
                    ["--seed", _] => &["-1", "1.5"],
                    _ => continue,
                };
                for value in values {
                    let error = error(&[command, flag[0], value]).unwrap();
                    assert!(error.contains(flag[0]), "{error}");
                }
                assert_eq!(error(&[command, flag[0], "1"]), None);
                checked += 1;
            }
        }
        assert_eq!(checked, 8);
    }

    #[test]
    fn the_commands_of_scripts_and_pages_exist() {
        let mut files = files::sources(&files::PAGES, "md").unwrap();
        files.extend([".ci/run", ".ci/weekly"].map(|file| files::root().join(file)));
        let mut checked = 0;
        for path in files {
            let text = files::text(&path).unwrap();
            for line in text.lines() {
                for rest in line.split("cargo xtask ").skip(1) {
                    let command = rest.split(['`', '#', '|']).next().unwrap_or_default();
                    let value = |word: &str| if word.contains('$') { "1" } else { word }.to_owned();
                    let words: Vec<_> = command.split_whitespace().map(value).collect();
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    let error = error(&words);
                    // A page may name a command without its arguments.
                    let is_wrong = error
                        .as_ref()
                        .is_some_and(|text| !text.contains("is required"));
                    assert!(!is_wrong, "{}: {words:?}: {error:?}", path.display());
                    checked += 1;
                }
            }
        }
        assert!(checked > 50, "{checked}");
    }

    #[test]
    fn a_duration_has_fractions() {
        let minutes: Minutes = "0.1".parse().unwrap();
        assert_eq!(minutes.0, Duration::from_secs(6));
        assert_eq!(minutes.to_string(), "0.1");
        let seconds: Seconds = "1.5".parse().unwrap();
        assert_eq!(seconds.0, Duration::from_millis(1_500));
    }
}
