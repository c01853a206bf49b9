//! A data pipeline: reads a thousand records from an API concurrently, with one token for all of them.
//!
//! `RECORDS` and `PARALLEL` set the numbers (1,000 and 32). A progress bar is shown on a terminal; the sum goes to
//! stdout. A record that fails is retried twice if the error is transient, and counted as failed otherwise.

use std::{env, error::Error, process::ExitCode, sync::Arc, time::Duration};

use hallpass::{TokenError, reqwest_ext::RequestBuilderExt};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::StatusCode;
use tokio::{sync::Semaphore, task::JoinSet, time};
use uses::setting;

const TRIES: u32 = 3;

#[derive(Clone)]
struct Api {
    http: reqwest::Client,
    authorizer: hallpass::authorize::Authorizer,
    origin: String,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    uses::log();
    let records = number("RECORDS", 1_000)?;
    let parallel = number("PARALLEL", 32)?;
    let origin = setting("API_ORIGIN")?;
    let authorizer = uses::authorizer(uses::tokens("records.read")?, &origin)?;
    let api = Api {
        http: uses::http()?,
        authorizer,
        origin,
    };
    // Draws nothing unless stderr is a terminal.
    let style =
        ProgressStyle::with_template("{bar:40} {pos}/{len} records, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(records as u64).with_style(style);
    let places = Arc::new(Semaphore::new(parallel));
    let mut tasks = JoinSet::new();
    for record in 0..records {
        let (api, places, bar) = (api.clone(), places.clone(), bar.clone());
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            let outcome = read(&api, record).await;
            bar.inc(1);
            outcome
        });
    }
    let (mut read, mut bytes, mut failed) = (0_usize, 0_usize, 0_usize);
    while let Some(outcome) = tasks.join_next().await {
        match outcome? {
            Ok(length) => (read, bytes) = (read + 1, bytes + length),
            Err(Trouble::Record(why)) => {
                failed += 1;
                bar.suspend(|| eprintln!("{why}"));
            }
            // Without a token no other record can be fetched either.
            Err(Trouble::Token(error)) => return Err(error.into()),
        }
    }
    bar.finish_and_clear();
    println!("{read} records read, {bytes} bytes, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

enum Trouble {
    Token(TokenError),
    Record(String),
}

/// Returns the length of a record.
async fn read(api: &Api, record: usize) -> Result<usize, Trouble> {
    let url = format!("{}/api/records/{record}", api.origin);
    let mut wait = Duration::from_millis(100);
    for attempt in 1.. {
        let answer = api.http.get(&url).send_with(&api.authorizer).await;
        let why = match answer {
            Ok(answer) if answer.status().is_success() => match answer.bytes().await {
                Ok(body) => return Ok(body.len()),
                Err(error) => error.to_string(),
            },
            Ok(answer) => {
                let status = answer.status();
                if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                    return Err(Trouble::Record(format!("record {record}: {status}")));
                }
                status.to_string()
            }
            Err(error) => match error.token_error() {
                Some(error) => return Err(Trouble::Token(error.clone())),
                None => error.to_string(),
            },
        };
        if attempt == TRIES {
            return Err(Trouble::Record(format!("record {record}: {why}")));
        }
        time::sleep(wait).await;
        wait *= 2;
    }
    unreachable!("the last try returns")
}

fn number(name: &str, default: usize) -> Result<usize, String> {
    let Ok(text) = env::var(name) else {
        return Ok(default);
    };
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name}: not a number above zero"))
}
