//! docs/command.md: each of its commands is run and prints the documented output.

use std::fs;

use crate::support::User;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/command.md");
/// The console examples need a Unix shell.
#[cfg(unix)]
mod console {
    use super::*;
    use crate::support::{default_profile, server};

    /// Replacements in the guide for output that differs between runs.
    const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";
    const TIME: &str = "2026-11-25T12:59:58Z";

    /// Returns the commands in the guide's console blocks, each with its output.
    fn commands(guide: &str) -> Vec<(String, String)> {
        let mut commands: Vec<(String, String)> = Vec::new();
        let mut within = false;
        for line in guide.lines() {
            match line {
                "```console" => within = true,
                "```" => within = false,
                _ if !within => {}
                _ => match line.strip_prefix("$ ") {
                    Some(command) => commands.push((command.to_owned(), String::new())),
                    None => commands.last_mut().unwrap().1 += &format!("{line}\n"),
                },
            }
        }
        commands
    }

    /// Replaces the varying output of a run with the guide's text.
    fn in_the_guides_words(printed: &str, token: &str, host: &str, user: &User) -> String {
        let config = user.config().display().to_string();
        let text = printed
            .replace(token, TOKEN)
            .replace(host, "login.example")
            .replace(&config, "config.toml");
        text.split_inclusive(|c: char| " \"\n=".contains(c))
            .map(plain)
            .collect()
    }

    /// Times, durations and keys: any value of the right form matches.
    fn plain(word: &str) -> String {
        let bare = word.trim_end_matches([' ', '"', '\n', '=', ',']);
        let rest = &word[bare.len()..];
        let number = |from, to| {
            bare.parse::<u32>()
                .is_ok_and(|number| (from..=to).contains(&number))
        };
        let is_time = bare.len() == TIME.len() && bare.starts_with("20") && bare.ends_with('Z');
        let is_key = bare.len() == 12 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bare = match bare {
            _ if is_time => TIME,
            _ if is_key => "6f1ed002ab55",
            _ if number(3_500, 3_600) => "3598",
            _ if bare.len() == 3 && bare.starts_with('5') && bare.ends_with('s') => "58s",
            _ => bare,
        };
        format!("{bare}{rest}")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn commands_of_the_guide_print_the_documented_output() {
        let server = server().await;
        let user = User::of(&server);
        fs::write(user.path("order.json"), "{}").unwrap();
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJleHAiOjF9.c2ln";
        fs::write(user.path("token.jwt"), jwt).unwrap();
        let endpoint = server.token_endpoint();
        let host = endpoint
            .strip_prefix("http://")
            .and_then(|rest| rest.split('/').next())
            .unwrap();
        let token = user.prints("token");
        assert!(default_profile(&server).contains(host));

        let guide = fs::read_to_string(GUIDE).unwrap();
        let commands = commands(&guide);
        assert!(commands.len() >= 11, "{}", commands.len());
        for (line, says) in commands {
            // As a shell reads it, with the address of the test's API.
            let line = line.replace("https://api.example", &server.api_url(""));
            let mut shell = user.hallpass("");
            let program = shell.get_program().to_owned();
            let mut sh = assert_cmd::Command::new("sh");
            sh.env_clear().envs(
                shell
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            let line = line.replacen("hallpass", program.to_str().unwrap(), 1);
            let printed = sh
                .current_dir(user.path(""))
                .args(["-c", &line])
                .assert()
                .success();
            let printed = crate::support::stdout(&printed);
            let printed = in_the_guides_words(&printed, token.trim_end(), host, &user);
            same(&line, &printed, &says);
            shell.arg("--version").assert().success();
        }
    }

    /// Compares line by line; `...` matches anything up to the next word.
    fn same(line: &str, printed: &str, says: &str) {
        assert_eq!(
            printed.lines().count(),
            says.lines().count(),
            "{line}:\n{printed}"
        );
        for (printed, says) in printed.lines().zip(says.lines()) {
            let fits = match says.split_once("...") {
                Some((before, after)) => printed.starts_with(before) && printed.ends_with(after),
                None => printed == says,
            };
            assert!(fits, "{line}\nprinted: {printed}\nguide:   {says}");
        }
    }
}

#[test]
fn guide_and_help_list_the_same_exit_codes() {
    let guide = fs::read_to_string(GUIDE).unwrap();
    let help = User::new().prints("--help");
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let mut seen = 0;
    for line in codes.lines().take_while(|line| line.starts_with("  ")) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(guide.contains(&format!("| {code} | {meaning} |")), "{line}");
        seen += 1;
    }
    assert_eq!(seen, 8);
}

/// Each setting in the guide's example exists.
#[test]
fn profiles_of_the_guide_are_valid() {
    let guide = fs::read_to_string(GUIDE).unwrap();
    let (_, rest) = guide.split_once("```toml\n").unwrap();
    let (profiles, _) = rest.split_once("```").unwrap();
    let user = User::new();
    // On systems where an absolute path starts with a drive.
    let drive = if cfg!(windows) { "file:C:/" } else { "file:/" };
    user.profile(&profiles.replace("file:/", drive));
    for (name, host) in [
        ("default", "login.camall.io"),
        ("billing", "login.example"),
        ("staging", "acme-staging"),
    ] {
        let report = user
            .hallpass("doctor --json --profile")
            .arg(name)
            .env("VAULT_ADDR", "https://127.0.0.1:9")
            .env("VAULT_TOKEN", "t")
            .assert()
            .failure();
        let report: serde_json::Value =
            serde_json::from_str(&crate::support::stdout(&report)).unwrap();
        let first = &report["steps"][0];
        // The configuration is valid but the secret is missing; Vault depends on a build feature.
        let detail = first["detail"].as_str().unwrap();
        assert!(
            detail.contains(host) || detail.contains("without the feature"),
            "{report:#}"
        );
    }
}
