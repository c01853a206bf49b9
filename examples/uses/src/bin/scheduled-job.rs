//! A scheduled job: sends one report, and indicates by its exit code whether to run it again.
//!
//! For cron, a systemd timer or a Kubernetes CronJob. The codes are those of sysexits.h:
//!
//! | code | | |
//! |---|---|---|
//! | 0 | done | |
//! | 75 | try again later: a server is away or overloaded | `RestartForceExitStatus=75` for systemd |
//! | 77 | the credentials or the scopes were refused | someone must act |
//! | 78 | a setting is wrong | someone must act |
//! | 1 | anything else | |

use std::{error::Error, fmt, process::ExitCode, time::SystemTime};

use hallpass::{ErrorKind, TokenError, reqwest_ext::RequestBuilderExt};
use reqwest::StatusCode;
use uses::{SettingError, setting};

const TRY_AGAIN: u8 = 75;
const NO_PERMISSION: u8 = 77;
const WRONG_SETTING: u8 = 78;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    uses::log();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.why);
            failure.code.into()
        }
    }
}

async fn run() -> Result<(), Failure> {
    let api = setting("API_ORIGIN")?;
    let authorizer = uses::authorizer(uses::tokens("reports.write")?, &api)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let day = now.map_or(0, |now| now.as_secs() / 86_400);
    // The day identifies the report, so a report that is sent twice counts once.
    let answer = uses::http()?
        .put(format!("{api}/api/reports/{day}"))
        .body("all is well\n")
        .send_with(&authorizer)
        .await?;
    match answer.status() {
        status if status.is_success() => {
            println!("report {day} sent");
            Ok(())
        }
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(Failure::new(
            NO_PERMISSION,
            format!("the API answered {status}"),
        )),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Err(
            Failure::new(TRY_AGAIN, format!("the API answered {status}")),
        ),
        status => Err(Failure::new(1, format!("the API answered {status}"))),
    }
}

struct Failure {
    code: u8,
    why: String,
}

impl Failure {
    fn new(code: u8, why: impl fmt::Display) -> Self {
        Self {
            code,
            why: why.to_string(),
        }
    }
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        Self::new(WRONG_SETTING, error)
    }
}

impl From<&TokenError> for Failure {
    fn from(error: &TokenError) -> Self {
        let code = match error.kind() {
            _ if error.is_transient() => TRY_AGAIN,
            ErrorKind::Configuration => WRONG_SETTING,
            ErrorKind::CredentialsRefused | ErrorKind::RequestRefused => NO_PERMISSION,
            _ => 1,
        };
        Self::new(code, error)
    }
}

impl From<hallpass::reqwest_ext::Error> for Failure {
    fn from(error: hallpass::reqwest_ext::Error) -> Self {
        match error.token_error() {
            Some(error) => error.into(),
            None => Self::new(TRY_AGAIN, with_causes(&error)),
        }
    }
}

/// Formats an HTTP error with its chain of causes.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
