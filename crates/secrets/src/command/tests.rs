use hallpass_testkit::leak;

use super::*;

#[tokio::test]
async fn a_missing_program_is_named() {
    let source = CommandSecret::new("hallpass-no-such-program", ["CANARY"]);
    let error = source.secret().await.unwrap_err();
    let shown = leak::error_chain(&error);
    assert!(
        shown.contains("`hallpass-no-such-program` was not found"),
        "{shown}"
    );
    assert_eq!(shown.contains("`x.cmd`"), cfg!(windows), "{shown}");
    leak::assert_clean(&shown, "CANARY");
}

/// A program on an unresponsive file system ties up one thread only.
#[tokio::test(start_paused = true)]
async fn a_hanging_program_uses_one_thread_and_times_out() {
    let source = CommandSecret::new("hallpass-no-such-program", [""; 0]);
    let loading = source.0.get_ref().turn.try_take().unwrap();
    let error = source.secret().await.unwrap_err();
    assert!(error.is_local(), "{error}");
    assert!(error.to_string().contains("within 10s"), "{error}");
    drop(loading);
    let error = source.secret().await.unwrap_err();
    assert!(error.to_string().contains("was not found"), "{error}");
}

// covers: F-99
#[test]
fn debug_counts_the_arguments() {
    let shown = format!("{:?}", CommandSecret::new("get", ["--key", "CANARY"]));
    assert!(
        shown.contains("\"get\"") && shown.contains("arguments: 2"),
        "{shown}"
    );
    leak::assert_clean(&shown, "CANARY");
}

#[test]
fn a_call_outside_of_a_runtime_is_an_error() {
    let source = CommandSecret::new("get", [""; 0]);
    let mut future = std::pin::pin!(source.secret());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(result) = future.as_mut().poll(&mut context) else {
        panic!("it waits");
    };
    let error = result.unwrap_err().to_string();
    assert!(error.contains("outside of a tokio runtime"), "{error}");
}

#[cfg(unix)]
mod unix {
    use hallpass_testkit::ManualClock;

    use super::*;
    use crate::folder::Folder;

    pub(super) fn shell(script: &str) -> CommandSecret {
        CommandSecret::new("/bin/sh", ["-c", script])
    }

    // covers: F-106
    #[tokio::test]
    async fn the_output_is_the_secret() {
        let cat = CommandSecret::new("/bin/echo", [" two  words ", "$HOME;`id`"]);
        let secret = cat.secret().await.unwrap();
        assert_eq!(secret.expose(), " two  words  $HOME;`id`");
        // The command gets no input to wait for.
        let secret = shell("cat; printf 's3cr3t\\r\\n'").secret().await.unwrap();
        assert_eq!(secret.expose(), "s3cr3t");
    }

    #[tokio::test]
    async fn a_failure_shows_the_exit_code_and_no_output() {
        for (script, expect) in [
            (
                "echo CANARY; echo CANARY >&2; exit 3",
                "ended with exit code 3",
            ),
            ("echo CANARY; kill -9 $$", "was terminated by a signal"),
            ("true", "is empty"),
            ("printf 'CANARY\\377'", "not valid UTF-8"),
            ("yes CANARY", "more than 65536 bytes"),
            ("exec >&-; exit 0", "is empty"),
        ] {
            let error = shell(script).secret().await.unwrap_err();
            let shown = leak::error_chain(&error);
            assert!(shown.contains(expect), "{script}: {shown}");
            assert!(
                shown.contains("`/bin/sh`") && !error.is_transient(),
                "{shown}"
            );
            leak::assert_clean(&shown, "CANARY");
        }
    }

    /// A background process keeps the pipe open after the command has exited.
    #[tokio::test]
    async fn a_left_background_process_is_not_awaited() {
        let folder = Folder::new();
        let pid = folder.path().join("pid");
        let behind = |script: &str| {
            let pid = pid.display();
            shell(&format!("sleep 1000 & echo $! > {pid}; {script}"))
                .timeout(Duration::from_secs(500))
                .lifetime(Duration::ZERO)
        };
        let long = "x".repeat(5_000);
        for (script, expect) in [
            ("echo s3cr3t".to_owned(), "s3cr3t".to_owned()),
            (
                format!("echo {long}; echo {long}"),
                format!("{long}\n{long}"),
            ),
        ] {
            let secret = behind(&script).secret().await;
            kill(&pid);
            assert_eq!(secret.unwrap().expose(), expect);
        }
        let error = behind("echo CANARY; exit 7").secret().await;
        kill(&pid);
        let shown = leak::error_chain(&error.unwrap_err());
        assert!(shown.contains("exit code 7"), "{shown}");
        leak::assert_clean(&shown, "CANARY");
    }

    fn kill(pid: &std::path::Path) {
        let pid = std::fs::read_to_string(pid).unwrap();
        let killed = std::process::Command::new("kill").arg(pid.trim()).status();
        assert!(killed.unwrap().success());
    }

    // covers: F-110
    #[tokio::test]
    async fn it_runs_once_per_lifetime_and_after_a_refusal() {
        let folder = Folder::new();
        let runs = folder.path().join("runs");
        let clock = ManualClock::new();
        let script = format!("echo x >> {0}; wc -l < {0} | tr -d ' '", runs.display());
        let source = shell(&script)
            .lifetime(Duration::from_secs(60))
            .clock(clock.clone());
        let run = async || source.secret().await.unwrap().expose().to_owned();
        for _ in 0..10 {
            assert_eq!(run().await, "1");
        }
        clock.advance(Duration::from_secs(60));
        assert_eq!(run().await, "2");
        source.refused(&source.secret().await.unwrap());
        assert_eq!(run().await, "3");
        assert_eq!(source.epoch(), 2);
    }
}

/// `/proc` lists the processes.
#[cfg(target_os = "linux")]
mod linux {
    use std::{fs, path::Path};

    use super::{unix::shell, *};
    use crate::folder::Folder;

    /// Waits until the process has exited, reaped or not.
    async fn ended(pid: &str) {
        let state = || {
            let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
            stat.rsplit_once(") ")?.1.chars().next()
        };
        while !matches!(state(), None | Some('Z' | 'X')) {
            tokio::task::yield_now().await;
        }
    }

    fn pid(path: &Path) -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    }

    #[tokio::test]
    async fn it_is_killed_on_timeout_or_cancellation() {
        let folder = Folder::new();
        let path = folder.path().join("pid");
        let script = format!("echo $$ > {}; echo CANARY; exec sleep 1000", path.display());
        let slow = shell(&script).timeout(Duration::from_millis(300));
        let error = slow.secret().await.unwrap_err();
        assert!(error.is_transient() && error.is_local());
        assert!(
            error.to_string().contains("did not end within 300ms"),
            "{error}"
        );
        leak::assert_clean(&leak::error_chain(&error), "CANARY");
        ended(&pid(&path).unwrap()).await;

        fs::remove_file(&path).unwrap();
        let call = tokio::spawn(async move { shell(&script).secret().await.is_ok() });
        while pid(&path).is_none() {
            tokio::task::yield_now().await;
        }
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        ended(&pid(&path).unwrap()).await;
    }
}

#[cfg(windows)]
mod windows {
    use super::*;
    use crate::folder::Folder;

    fn script(folder: &Folder, lines: &str) -> CommandSecret {
        let path = folder.write("a script.cmd", format!("@echo off\r\n{lines}\r\n"));
        CommandSecret::new(path, ["one two", "x&echo CANARY", "100%"])
    }

    // covers: F-106
    #[tokio::test]
    async fn the_output_is_the_secret() {
        let printed = CommandSecret::new("cmd", ["/d", "/c", "echo s3cr3t"]);
        assert_eq!(printed.secret().await.unwrap().expose(), "s3cr3t");
    }

    #[tokio::test]
    async fn a_script_gets_its_arguments_unchanged() {
        let folder = Folder::new();
        let printed = script(&folder, "echo %~1/%2").secret().await.unwrap();
        assert_eq!(printed.expose(), "one two/\"x&echo CANARY\"");
    }

    #[tokio::test]
    async fn a_failure_shows_the_exit_code_and_no_output() {
        let folder = Folder::new();
        for (lines, expect) in [
            ("echo CANARY\r\nexit 3", "ended with exit code 3"),
            ("exit /b 0", "is empty"),
        ] {
            let error = script(&folder, lines).secret().await.unwrap_err();
            let shown = leak::error_chain(&error);
            assert!(shown.contains(expect), "{lines}: {shown}");
            leak::assert_clean(&shown, "CANARY");
        }
    }

    // covers: F-99
    #[tokio::test]
    async fn an_argument_unsafe_for_a_script_is_refused_and_not_shown() {
        let folder = Folder::new();
        let path = folder.write("x.cmd", "@exit 0");
        let error = CommandSecret::new(path, ["CANARY\r\n"]).secret().await;
        let shown = leak::error_chain(&error.unwrap_err());
        assert!(shown.contains("x.cmd` cannot be run"), "{shown}");
        leak::assert_clean(&shown, "CANARY");
    }

    #[tokio::test]
    async fn it_is_killed_on_timeout() {
        // A loop with step 0 never ends.
        let slow = CommandSecret::new("cmd", ["/d", "/c", "for /l %i in (0,0,1) do @rem"]);
        let slow = slow.timeout(Duration::from_millis(300));
        let error = slow.secret().await.unwrap_err();
        assert!(error.is_transient());
        assert!(error.to_string().contains("did not end within 300ms"));
    }
}
