use std::{ffi::OsString, fmt, io, process::Stdio, time::Duration};

use async_trait::async_trait;
use hallpass_core::{Clock, Secret, SecretError, SecretSource};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
    runtime::Handle,
    time,
};

use crate::{CachedSecret, blocking::Turn, content, forward::forward};

/// A secret printed by a command: `pass`, `op`, `gopass`, or a cloud's command-line tool.
///
/// No shell is involved: program and arguments go to the system as they are. The command gets no input. The secret is
/// its standard output, at most 64 KiB, with one trailing line end removed. Its error output is discarded, since it
/// may hold a secret: an error names the program and its exit code.
///
/// The output is [cached](CachedSecret) for five minutes by default, so that the command does not run for each token; it
/// runs again at once when the server refuses the secret.
///
/// ```
/// use std::time::Duration;
/// use hallpass_secrets::CommandSecret;
///
/// let secret = CommandSecret::new("pass", ["show", "orders/client-secret"])
///     .timeout(Duration::from_secs(30)) // a person may have to unlock it
///     .lifetime(Duration::from_secs(3_600));
/// ```
///
/// A command that times out is not started again by the same token request. The command ends when the program exits: a
/// background process that it leaves behind with the output open, such as an agent, is not waited for.
///
/// # Cancellation
///
/// When the call is dropped or times out, the command is killed. Processes that it started itself are not.
pub struct CommandSecret(CachedSecret<Run>);

struct Run {
    program: OsString,
    arguments: Vec<OsString>,
    timeout: Duration,
    turn: Turn,
}

/// The time for output that the command wrote before it exited and that has not arrived yet.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

impl CommandSecret {
    /// Creates a source for the output of this program, started with these arguments. Nothing runs yet.
    ///
    /// The system searches for a program without a path. On Windows a script needs its extension: `x.cmd`.
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let run = Run {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            timeout: Duration::from_secs(10),
            turn: Turn::default(),
        };
        Self(CachedSecret::new(run, Duration::from_secs(300)))
    }

    /// Sets the time after which the command is killed. Default: 10 s.
    ///
    /// The deadline of the token request ([`Retry::deadline`], 30 s by default) still applies.
    ///
    /// [`Retry::deadline`]: https://docs.rs/hallpass-endpoint/latest/hallpass_endpoint/struct.Retry.html#method.deadline
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.get_mut().timeout = timeout;
        self
    }

    /// Sets how long the output is cached. Default: 5 minutes; zero runs the command for each token request.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self(self.0.lifetime(lifetime))
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self(self.0.clock(clock))
    }
}

forward!(CommandSecret);

#[async_trait]
impl SecretSource for Run {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let place = format!("the command {}", content::shown(self.program.as_ref()));
        if Handle::try_current().is_err() {
            return Err(SecretError::new(format!(
                "{place} cannot run outside of a tokio runtime"
            )));
        }
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let exchange = async {
            let named = place.clone();
            // The system reads the program's file first, on a file system that may not respond.
            let spawn = move || command.spawn().map_err(|error| cannot(&named, &error));
            let child = self.turn.run(self.timeout, &place, spawn).await?;
            output(child, &place).await
        };
        time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(SecretError::local(format!(
                    "{place} did not end within {:?} and was killed; run it manually to see why, or increase its timeout",
                    self.timeout
                )))
            })
    }
}

/// Reads the output of a command until the command exits. Dropping the future drops the child, which kills it.
async fn output(mut child: Child, place: &str) -> Result<Secret, SecretError> {
    let failed = |error: io::Error| cannot(place, &error);
    let mut bytes = content::buffer();
    let mut status = None;
    if let Some(stdout) = child.stdout.take() {
        let mut bounded = stdout.take(content::READ_BYTES);
        loop {
            let read = tokio::select! {
                biased;
                read = bounded.read_buf(&mut *bytes) => read.map_err(failed)?,
                exited = child.wait(), if status.is_none() => {
                    status = Some(exited.map_err(failed)?);
                    continue;
                }
                // A background process may keep the pipe open.
                () = time::sleep(DRAIN_TIMEOUT), if status.is_some() => break,
            };
            if read == 0 {
                break;
            }
        }
    }
    if bytes.len() <= content::MAX_BYTES {
        let status = match status {
            Some(status) => status,
            None => child.wait().await.map_err(failed)?,
        };
        if !status.success() {
            let outcome = match status.code() {
                Some(code) => format!("ended with exit code {code}"),
                None => "was terminated by a signal".to_owned(),
            };
            return Err(SecretError::new(format!(
                "{place} {outcome}; run it manually to see its output"
            )));
        }
    }
    content::secret(&bytes, &format_args!("the output of {place}"))
}

fn cannot(place: &str, error: &io::Error) -> SecretError {
    SecretError::new(match error.kind() {
        io::ErrorKind::NotFound if cfg!(windows) => {
            format!(
                "{place} was not found; check its path, and name a script with its ending: `x.cmd`"
            )
        }
        io::ErrorKind::NotFound => format!("{place} was not found; check its path"),
        io::ErrorKind::PermissionDenied => {
            format!("{place} cannot be run by this user; check its owner and its permissions")
        }
        _ => format!("{place} cannot be run: {error}"),
    })
}

/// Counts the arguments and does not show them, since they may hold anything.
impl fmt::Debug for CommandSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandSecret").field(&self.0).finish()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("program", &self.program)
            .field("arguments", &self.arguments.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
