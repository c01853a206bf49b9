//! A command-line tool: `command-line-tool orders ID...` prints orders as lines of JSON.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 success; 1 an order could not be fetched; 2 wrong
//! usage or invalid setting; 3 no token; 4 the API denied access to this client.

use std::{env, process::ExitCode};

use hallpass::{
    ErrorKind,
    authorize::{ApiRefusal, Authorizer},
    reqwest_ext::RequestBuilderExt,
};
use uses::{SettingError, setting};

const USAGE: &str = "usage: command-line-tool orders ID...";
const FAILED: u8 = 1;
const USED_WRONGLY: u8 = 2;
const NO_TOKEN: u8 = 3;
const REFUSED: u8 = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    uses::log();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let code = match &arguments[..] {
        [help] if help == "--help" || help == "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [what, ids @ ..] if what == "orders" && !ids.is_empty() => orders(ids).await,
        _ => Err(complain(USED_WRONGLY, USAGE)),
    };
    code.err().map_or(ExitCode::SUCCESS, ExitCode::from)
}

async fn orders(ids: &[String]) -> Result<(), u8> {
    let wrong_setting = |error: SettingError| complain(USED_WRONGLY, error);
    let api = setting("API_ORIGIN").map_err(wrong_setting)?;
    let tokens = uses::tokens("orders.read").map_err(wrong_setting)?;
    let authorizer = uses::authorizer(tokens, &api).map_err(wrong_setting)?;
    let http = uses::http().map_err(wrong_setting)?;
    let mut outcome = Ok(());
    for id in ids {
        match order(&http, &authorizer, &api, id).await {
            Ok(order) => println!("{order}"),
            // The next one would fail too.
            Err(code @ (NO_TOKEN | REFUSED)) => return Err(code),
            Err(code) => outcome = Err(code),
        }
    }
    outcome
}

async fn order(
    http: &reqwest::Client,
    authorizer: &Authorizer,
    api: &str,
    id: &str,
) -> Result<String, u8> {
    let Ok(id) = id.parse::<u64>() else {
        return Err(complain(
            FAILED,
            format!("`{}` is no number of an order", id.escape_debug()),
        ));
    };
    let answer = http
        .get(format!("{api}/api/orders/{id}"))
        .send_with(authorizer);
    let answer = answer.await.map_err(|error| match error.token_error() {
        Some(token) if token.kind() == ErrorKind::CredentialsRefused => complain(
            NO_TOKEN,
            format!("{token}\nask for new credentials, or check those that are set"),
        ),
        Some(token) => complain(NO_TOKEN, token),
        None => complain(FAILED, error),
    })?;
    if let Some(refusal) = answer.extensions().get::<ApiRefusal>() {
        return Err(complain(REFUSED, refusal));
    }
    if !answer.status().is_success() {
        return Err(complain(
            FAILED,
            format!("order {id}: the API answered {}", answer.status()),
        ));
    }
    answer.text().await.map_err(|error| complain(FAILED, error))
}

/// Prints an error and returns the exit code.
fn complain(code: u8, why: impl std::fmt::Display) -> u8 {
    eprintln!("error: {why}");
    code
}
