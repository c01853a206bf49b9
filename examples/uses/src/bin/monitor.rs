//! A monitor: calls an API repeatedly, and distinguishes token failures from API failures.
//!
//! Each check prints one line, `up`, `down: token` or `down: api`, with the duration of the token request and the call.
//! `CHECKS` limits the number of checks (unlimited by default), `INTERVAL_MS` is the time between them (30,000). The
//! exit code is that of the last check: 0 up, 1 the API is down, 3 no token.

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use hallpass::{
    TokenError, TokenRequest, TokenSourceExt, authorize::ApiRefusal, reqwest_ext::RequestBuilderExt,
};
use tokio::{signal, time};
use uses::{SettingError, Tokens, setting};

const API_DOWN: u8 = 1;
const WRONG_SETTING: u8 = 2;
const NO_TOKEN: u8 = 3;

struct Monitor {
    http: reqwest::Client,
    authorizer: hallpass::authorize::Authorizer,
    tokens: Tokens,
    url: String,
}

enum Trouble {
    Token(TokenError),
    Api(String),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    uses::log();
    let monitor = match Monitor::new() {
        Ok(monitor) => monitor,
        Err(error) => {
            eprintln!("error: {error}");
            return WRONG_SETTING.into();
        }
    };
    let number = |name| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let checks = number("CHECKS").unwrap_or(u64::MAX);
    let mut interval = time::interval(Duration::from_millis(
        number("INTERVAL_MS").unwrap_or(30_000).max(1),
    ));
    // After a slow check the next one does not need to start at once.
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut code = 0;
    for _ in 0..checks {
        tokio::select! {
            _ = interval.tick() => code = monitor.check().await,
            _ = signal::ctrl_c() => break,
        }
    }
    code.into()
}

impl Monitor {
    fn new() -> Result<Self, SettingError> {
        let api = setting("API_ORIGIN")?;
        let tokens = uses::tokens("status.read")?;
        let authorizer = uses::authorizer(tokens.clone(), &api)?;
        let http = uses::http()?;
        let url = format!("{api}/api/status");
        Ok(Self {
            http,
            authorizer,
            tokens,
            url,
        })
    }

    /// Runs one check, prints one line and returns the exit code.
    async fn check(&self) -> u8 {
        let began = Instant::now();
        let token = self.tokens.access_token(&TokenRequest::default()).await;
        let token_ms = began.elapsed().as_millis();
        let outcome = match token {
            Ok(_) => self.call().await,
            Err(error) => Err(Trouble::Token(error)),
        };
        let all_ms = began.elapsed().as_millis();
        let times = format!("token_ms={token_ms} all_ms={all_ms}");
        match outcome {
            Ok(()) => {
                println!("up {times}");
                0
            }
            Err(Trouble::Token(error)) => {
                println!(
                    "down: token {times} kind={:?} transient={}: {error}",
                    error.kind(),
                    error.is_transient()
                );
                NO_TOKEN
            }
            Err(Trouble::Api(why)) => {
                println!("down: api {times}: {why}");
                API_DOWN
            }
        }
    }

    async fn call(&self) -> Result<(), Trouble> {
        // Sends the cached token, and a new one if the API refuses it.
        let answer = self.http.get(&self.url).send_with(&self.authorizer).await;
        let answer = answer.map_err(|error| match error.token_error() {
            Some(error) => Trouble::Token(error.clone()),
            None => Trouble::Api(error.to_string()),
        })?;
        if let Some(refusal) = answer.extensions().get::<ApiRefusal>() {
            return Err(Trouble::Api(refusal.to_string()));
        }
        let status = answer.status();
        status
            .is_success()
            .then_some(())
            .ok_or_else(|| Trouble::Api(status.to_string()))
    }
}
