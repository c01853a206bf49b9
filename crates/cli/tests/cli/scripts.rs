//! Completions and manual pages.

use std::fs;

use crate::support::User;

#[test]
fn each_shell_has_a_completion_script() {
    let user = User::new();
    for (shell, says) in [
        ("bash", "complete -F _hallpass"),
        ("zsh", "#compdef hallpass"),
        ("fish", "complete -c hallpass"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = user.prints(&format!("completions {shell}"));
        assert!(
            script.contains(says) && script.contains("allow-origin"),
            "{shell}"
        );
    }
}

#[test]
fn each_subcommand_has_a_manual_page() {
    let user = User::new();
    let page = user.prints("man");
    assert!(
        page.contains(".TH hallpass 1") && page.contains("Exit codes"),
        "{page}"
    );
    user.prints("man --dir pages");
    for name in [
        "hallpass",
        "hallpass-token",
        "hallpass-exec",
        "hallpass-request",
        "hallpass-keygen",
        "hallpass-cache-list",
    ] {
        let page = fs::read_to_string(user.path(&format!("pages/{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn bash_and_zsh_parse_the_scripts() {
    let user = User::new();
    for shell in ["bash", "zsh"] {
        let script = user.prints(&format!("completions {shell}"));
        let path = user.path(shell);
        fs::write(&path, script).unwrap();
        // A shell that is not installed cannot check the script.
        if let Ok(status) = std::process::Command::new(shell)
            .arg("-n")
            .arg(&path)
            .status()
        {
            assert!(status.success(), "{shell}");
        }
    }
}
