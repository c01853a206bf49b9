//! The main flow, end to end: get a token, call an API with it, share the token between ten thousand calls, refresh it
//! under load, see a refusal.
//!
//! `cargo run --example quickstart` runs against an authorization server and an API that it starts on this machine.
//! With `CAMALL_CLIENT_ID` and `CAMALL_CLIENT_SECRET` (and optionally `CAMALL_SCOPE`) set, it uses camall.io, and
//! calls the API at `CAMALL_API_URL`.

use std::{
    env,
    error::Error,
    future::poll_fn,
    pin::pin,
    process::ExitCode,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use hallpass::{
    AccessToken, Secret, TokenError, TokenRequest, TokenSource, TokenSourceExt,
    cache::CachedTokenSource,
    camall::{Camall, TOKEN_ENDPOINT},
};
use hallpass_testkit::{AuthorizationServer, Client};
use tokio::task::JoinSet;

const ID: &str = "orders-service";
const SECRET: &str = "a-secret-of-this-example";

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = if env::var_os("CAMALL_CLIENT_ID").is_some() {
        with_camall().await
    } else {
        with_embedded_servers().await
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn with_embedded_servers() -> Result<(), Box<dyn Error>> {
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, SECRET).scopes("orders.read orders.write"))
        .api_scope("orders.read")
        .start()
        .await;
    println!("authorization server at {}", server.token_endpoint());
    let camall = |secret| -> Result<Arc<dyn TokenSource>, Box<dyn Error>> {
        let source = Camall::builder(ID, Secret::new(secret)?)
            .token_endpoint(server.token_endpoint())
            .danger_allow_http_on_loopback()
            .scope("orders.read")
            .build()?;
        Ok(Arc::new(CachedTokenSource::new(source)))
    };

    let source = camall(SECRET)?;
    let token = source.access_token(&TokenRequest::default()).await?;
    show(&token);

    call(&server.api_url("/orders"), &token).await?;

    share(&server, &camall(SECRET)?).await?;
    refresh(&server, &camall(SECRET)?).await?;

    println!("\nthe same with a wrong secret");
    match camall("not-the-secret")?
        .access_token(&TokenRequest::default())
        .await
    {
        Ok(_) => return Err("the server took a wrong secret".into()),
        Err(error) => explain(&error),
    }
    Ok(())
}

async fn with_camall() -> Result<(), Box<dyn Error>> {
    let endpoint = env::var("CAMALL_TOKEN_ENDPOINT").unwrap_or_else(|_| TOKEN_ENDPOINT.to_owned());
    println!("authorization server at {endpoint}");
    let source: Arc<dyn TokenSource> =
        Arc::new(CachedTokenSource::new(Camall::from_env()?.build()?));
    match source.access_token(&TokenRequest::default()).await {
        Ok(token) => {
            show(&token);
            if let Ok(url) = env::var("CAMALL_API_URL") {
                return call(&url, &token).await;
            }
            println!("\nset CAMALL_API_URL to call an API with it");
            Ok(())
        }
        Err(error) => {
            explain(&error);
            Err("no token".into())
        }
    }
}

async fn call(url: &str, token: &AccessToken) -> Result<(), Box<dyn Error>> {
    let answer = reqwest::Client::new()
        .get(url)
        .header("authorization", token.header_value().clone())
        .send()
        .await?;
    println!("\nGET {url}");
    println!("  HTTP {}", answer.status());
    println!("  {}", answer.text().await?);
    Ok(())
}

/// Makes ten thousand concurrent calls, before there is a token.
async fn share(
    server: &AuthorizationServer,
    source: &Arc<dyn TokenSource>,
) -> Result<(), Box<dyn Error>> {
    const CALLS: usize = 10_000;
    let before = server.token_request_count();
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let source = source.clone();
        calls.spawn(async move { source.access_token(&TokenRequest::default()).await });
    }
    for outcome in calls.join_all().await {
        outcome?;
    }
    let requests = server.token_request_count() - before;
    println!("\n{CALLS} calls at once");
    println!("  requests at the server  {requests}");
    if requests != 1 {
        return Err("one request was to be enough".into());
    }
    Ok(())
}

/// Issues tokens of five seconds, with a server latency of 200 ms, while 64 tasks keep requesting tokens. A token is
/// refreshed about a second before it expires.
async fn refresh(
    server: &AuthorizationServer,
    source: &Arc<dyn TokenSource>,
) -> Result<(), Box<dyn Error>> {
    const LATENCY: Duration = Duration::from_millis(200);
    server.set_lifetime(Duration::from_secs(5));
    server.set_latency(LATENCY);
    source.access_token(&TokenRequest::default()).await?;
    let before = server.token_request_count();
    let end = Instant::now() + Duration::from_secs(9);
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let source = source.clone();
        tasks.spawn(async move {
            let (mut calls, mut waits) = (0_u64, 0_u64);
            let request = TokenRequest::default();
            while Instant::now() < end {
                let mut call = pin!(source.access_token(&request));
                // A call that does not wait is ready at its first poll.
                let first = poll_fn(|context| Poll::Ready(call.as_mut().poll(context)));
                match first.await {
                    Poll::Ready(outcome) => drop(outcome?),
                    Poll::Pending => {
                        waits += 1;
                        call.await?;
                    }
                }
                calls += 1;
                tokio::task::yield_now().await;
            }
            Ok::<_, TokenError>((calls, waits))
        });
    }
    let (mut calls, mut waits) = (0, 0);
    for outcome in tasks.join_all().await {
        let (some, waited) = outcome?;
        calls += some;
        waits += waited;
    }
    server.set_latency(Duration::ZERO);
    println!("\n64 tasks, while the token is refreshed at a server that takes {LATENCY:?}");
    println!(
        "  refreshes               {}",
        server.token_request_count() - before
    );
    println!("  calls                   {calls}");
    println!("  calls that waited       {waits}");
    if waits > 0 {
        return Err("no call was to wait for the server".into());
    }
    Ok(())
}

/// Prints the grant, never the token.
fn show(token: &AccessToken) {
    println!("granted");
    println!("  type      {}", token.token_type());
    println!("  scopes    {}", token.scopes());
    println!("  lifetime  {} s", token.lifetime().as_secs());
}

fn explain(error: &TokenError) {
    println!("  {error}");
    println!("  kind      {:?}", error.kind());
    println!("  transient {}", error.is_transient());
}
