//! Every two flags of a subcommand, as clap describes them: they are used together, or the error names both.

use std::collections::BTreeSet;

use clap::{Arg, Parser as _};

use crate::{args, args::Args, usage};

/// A flag of a subcommand, with a value if that matters. The table is the decision about each pair of flags.
struct Row {
    subcommand: &'static str,
    flag: &'static str,
    /// The flags without which it is refused.
    requires: &'static [&'static str],
    /// The flags with which it is refused. All others have their effect beside it.
    excludes: &'static [&'static str],
    /// Its effect, which none of the others replaces.
    effect: &'static str,
}

const fn row(
    subcommand: &'static str,
    flag: &'static str,
    requires: &'static [&'static str],
    excludes: &'static [&'static str],
    effect: &'static str,
) -> Row {
    Row {
        subcommand,
        flag,
        requires,
        excludes,
        effect,
    }
}

/// The flags of a rotation, which have no effect on one key.
const ROTATION: &[&str] = &["--rotate", "--jwks", "--overlap", "--every", "--now"];
const FROM: &[&str] = &[
    "--out",
    "--rotate",
    "--jwks",
    "--overlap",
    "--every",
    "--now",
];
const NOT_RSA: &[&str] = &[
    "--from",
    "--algorithm=es256",
    "--algorithm=es384",
    "--algorithm=eddsa",
];

const ROWS: &[Row] = &[
    row("token", "--format=text", &[], &[], "the output"),
    row("token", "--format=json", &[], &[], "the output"),
    row("token", "--format=header", &[], &[], "the output"),
    row("token", "--format=env", &[], &[], "the output"),
    row("token", "--format=dpop", &["--url"], &[], "the output"),
    row("token", "--format=exec-credential", &[], &[], "the output"),
    row("token", "--name", &["--format=env"], &[], "its variable"),
    row("token", "--url", &["--format=dpop"], &[], "in the proof"),
    row("token", "--method", &["--url"], &[], "in the proof"),
    row("token", "--nonce", &["--url"], &[], "in the proof"),
    row("token", "--refresh", &[], &["--no-cache"], "the token"),
    row("exec", "--name", &[], &[], "the variable"),
    row("request", "--header", &[], &[], "in the request"),
    row("request", "--body", &[], &[], "in the request"),
    row("request", "--include", &[], &[], "the output"),
    row("request", "--allow-origin", &[], &[], "the origins"),
    row("request", "--api-timeout", &[], &[], "of the API alone"),
    row("doctor", "--json", &[], &[], "the output"),
    row("cache list", "--json", &[], &[], "the output"),
    row("keygen", "--out", &[], ROTATION, "the key"),
    row("keygen", "--from", &[], FROM, "the key"),
    row("keygen", "--rotate", &["--jwks"], &[], "the key"),
    row("keygen", "--jwks", &["--rotate"], &[], "public keys"),
    row(
        "keygen",
        "--overlap",
        &["--rotate"],
        &[],
        "when a key is used",
    ),
    row("keygen", "--every", &["--rotate"], &[], "when a key is due"),
    row(
        "keygen",
        "--now",
        &["--rotate"],
        &["--every"],
        "a key is due",
    ),
    row("keygen", "--algorithm=es256", &[], &[], "the key"),
    row("keygen", "--algorithm=es384", &[], &[], "the key"),
    row("keygen", "--algorithm=eddsa", &[], &[], "the key"),
    row("keygen", "--algorithm=rs256", &[], &[], "the key"),
    row("keygen", "--algorithm=ps256", &[], &[], "the key"),
    row("keygen", "--bits", &[], NOT_RSA, "the key's size"),
    row(
        "keygen",
        "--force",
        &[],
        &["--from", "--rotate"],
        "the file",
    ),
    row("keygen", "--public=jwks", &[], &["--rotate"], "the output"),
    row("keygen", "--public=pem", &[], &["--rotate"], "the output"),
    row("man", "--dir", &[], &[], "the output"),
];

/// The subcommands in which each global flag has an effect. In the others it is refused.
const GLOBAL: [(&str, &[&str]); 4] = [
    ("--profile", PROFILES),
    ("--config", PROFILES),
    ("--no-cache", &["token", "exec", "request"]),
    ("--verbose", SUBCOMMANDS),
];
const PROFILES: &[&str] = &[
    "token",
    "exec",
    "request",
    "doctor",
    "cache list",
    "cache clear",
];
const SUBCOMMANDS: &[&str] = &[
    "token",
    "exec",
    "request",
    "inspect",
    "doctor",
    "cache list",
    "cache clear",
    "keygen",
    "completions",
    "man",
];

/// The headings of flags that are settings. A test of the settings shows that each has its effect beside the others.
const SETTINGS: [&str; 2] = ["Token request", "Authorization server and client"];
/// The flags whose values differ in what they exclude.
const CHOICES: [&str; 3] = ["--format", "--algorithm", "--public"];

/// Returns the paths of all subcommands that clap describes.
fn subcommands(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    let below = command.get_subcommands();
    let mut below = below.filter(|one| one.get_name() != "help").peekable();
    if below.peek().is_none() {
        found.push((path.trim().to_owned(), command.clone()));
    }
    below.for_each(|one| subcommands(one, &format!("{path} {}", one.get_name()), found));
}

/// Returns the flags of a subcommand, with each of the values if that matters.
fn flags(command: &clap::Command) -> Vec<(String, &Arg)> {
    let is_own = |argument: &&Arg| {
        let name = argument.get_id().as_str();
        !argument.is_positional() && !matches!(name, "help" | "version")
    };
    let flags = command.get_arguments().filter(is_own);
    let flags = flags.flat_map(|argument| {
        let flag = format!("--{}", argument.get_long().unwrap());
        if !CHOICES.contains(&&*flag) {
            return vec![(flag, argument)];
        }
        let values = argument.get_possible_values().into_iter();
        let flags = values.map(|value| format!("{flag}={}", value.get_name()));
        flags.map(|flag| (flag, argument)).collect()
    });
    flags.collect()
}

/// Returns the flag with a value, if it takes one.
fn word(command: &clap::Command, flag: &str) -> String {
    let mut arguments = command.get_arguments();
    let argument = arguments.find(|argument| argument.get_long() == flag.strip_prefix("--"));
    let Some(argument) = argument.filter(|argument| argument.get_action().takes_values()) else {
        return flag.to_owned();
    };
    let value = match flag {
        "--authentication" => "client_secret_post",
        "--security-profile" => "fapi2",
        "--overlap" | "--every" => "1d",
        "--bits" => "2048",
        _ => "value",
    };
    assert!(
        argument
            .get_num_args()
            .is_some_and(|range| range.takes_values())
    );
    format!("{flag}={value}")
}

/// Returns the error of a command line, if there is one.
fn error(command: &clap::Command, path: &str, flags: &[&str]) -> Option<String> {
    let mut words: Vec<_> = path.split(' ').map(str::to_owned).collect();
    words.insert(0, "hallpass".to_owned());
    words.extend(flags.iter().map(|flag| word(command, flag)));
    let is_key = |flag: &&str| FROM.contains(flag) || *flag == "--from";
    let rest: &[&str] = match path {
        "exec" => &["--", "true"],
        "request" => &["GET", "https://api.example/"],
        "keygen" if !flags.iter().any(is_key) => &["--out=value"],
        _ => &[],
    };
    words.extend(rest.iter().map(|&word| word.to_owned()));
    match Args::try_parse_from(words) {
        Ok(args) => args.check_effects().err().map(|error| error.to_string()),
        Err(error) => Some(usage::failure(&error).to_string()),
    }
}

fn name(flag: &str) -> &str {
    flag.split('=').next().unwrap()
}

/// Returns the row of a flag; one of all subcommands has none.
fn row_of(path: &str, flag: &str) -> Option<&'static Row> {
    ROWS.iter()
        .find(|row| row.subcommand == path && row.flag == flag)
}

fn requires(path: &str, flag: &str) -> &'static [&'static str] {
    row_of(path, flag).map_or(&[], |row| row.requires)
}

fn excludes(path: &str, flag: &str, other: &str) -> bool {
    let either = [(flag, other), (other, flag)];
    let mut listed = either
        .map(|(flag, other)| row_of(path, flag).is_some_and(|row| row.excludes.contains(&other)));
    let another_value = flag != other && name(flag) == name(other);
    another_value || listed.iter_mut().any(|listed| *listed)
}

/// Returns the flags with those that they require, each once.
fn with_required<'a>(path: &str, flags: &[&'a str]) -> Vec<&'a str> {
    let mut words = flags.to_vec();
    let mut at = 0;
    while at < words.len() {
        for flag in requires(path, words[at]) {
            if !words.iter().any(|word| name(word) == name(flag)) {
                words.push(flag);
            }
        }
        at += 1;
    }
    words
}

/// Returns the names of each two flags that exclude each other: of these two, and of those that they require.
fn conflicts<'a>(path: &str, flag: &'a str, other: &'a str) -> Vec<[&'a str; 2]> {
    let [ones, others] = [flag, other].map(|flag| with_required(path, &[flag]));
    let mut found = Vec::new();
    for &one in &ones {
        for &another in others.iter().filter(|other| excludes(path, one, other)) {
            if name(one) != name(another) {
                found.push([name(one), name(another)]);
                continue;
            }
            // Two values of one flag, of which another flag requires at least one.
            let by = ones.iter().chain(&others).filter(|by| {
                let required = requires(path, by);
                required.contains(&one) || required.contains(&another)
            });
            found.extend(by.map(|by| [name(by), name(one)]));
        }
    }
    found
}

#[test]
fn each_flag_has_a_row() {
    let mut all = Vec::new();
    let mut command = args::command();
    command.build();
    subcommands(&command, "", &mut all);
    let paths: Vec<_> = all.iter().map(|(path, _)| &**path).collect();
    assert_eq!(paths, SUBCOMMANDS);
    let mut found = BTreeSet::new();
    for (path, command) in &all {
        for (flag, argument) in flags(command) {
            let heading = argument.get_help_heading().unwrap_or_default();
            if argument.is_global_set() {
                assert!(GLOBAL.iter().any(|(name, _)| *name == flag), "{flag}");
            } else if !SETTINGS.contains(&heading) {
                found.insert(format!("{path} {flag}"));
            }
        }
    }
    let listed = ROWS
        .iter()
        .map(|row| format!("{} {}", row.subcommand, row.flag));
    assert_eq!(found, listed.collect(), "right: `ROWS`; a flag needs one");
    assert!(ROWS.iter().all(|row| !row.effect.is_empty()));
}

#[test]
fn every_two_flags_work_or_the_error_names_both() {
    let mut all = Vec::new();
    let mut command = args::command();
    command.build();
    subcommands(&command, "", &mut all);
    let mut faults = Vec::new();
    let mut pairs = 0;
    for (path, command) in &all {
        let flags = flags(command);
        let is_refused = |flag: &str| {
            let mut global = GLOBAL.iter();
            global.any(|(name, paths)| *name == flag && !paths.contains(&&**path))
        };
        let (refused, flags): (Vec<_>, Vec<_>) = flags
            .iter()
            .map(|(flag, _)| &**flag)
            .partition(|flag| is_refused(flag));
        for flag in refused {
            let subcommand = path.split(' ').next().unwrap();
            match error(command, path, &[flag]) {
                Some(text) if text.contains(flag) && text.contains(subcommand) => {}
                other => faults.push(format!("{path} {flag}: {other:?}")),
            }
        }
        for (at, flag) in flags.iter().enumerate() {
            for missing in requires(path, flag) {
                let mut words = with_required(path, &[flag]);
                words.retain(|word| word != missing);
                match error(command, path, &words) {
                    Some(text) if text.contains(name(flag)) && text.contains(name(missing)) => {}
                    other => faults.push(format!("{path} {flag} without {missing}: {other:?}")),
                }
            }
            for other in flags[at + 1..]
                .iter()
                .filter(|other| name(other) != name(flag))
            {
                let words = with_required(path, &[flag, other]);
                let conflicts = conflicts(path, flag, other);
                let text = error(command, path, &words);
                let names_both = |text: &str| {
                    let mut conflicts = conflicts.iter();
                    conflicts.any(|names| names.iter().all(|name| text.contains(name)))
                };
                let is_right = match &text {
                    None => conflicts.is_empty(),
                    Some(text) => names_both(text),
                };
                if !is_right {
                    faults.push(format!(
                        "{path} {flag} {other}: {text:?}, not {conflicts:?}"
                    ));
                }
                pairs += 1;
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(pairs, 1_103);
}
