//! A system integration: copies new records from one system to another, with a separate token for each.
//!
//! One source serves both: a `TokenRequest` describes the differences, and the cache holds a token for each.
//! `CRM_ORIGIN` and `ERP_ORIGIN` name the systems. Each receives its own token and never sees the other's.

use std::{error::Error, process::ExitCode};

use hallpass::{
    TokenRequest,
    authorize::{ApiRefusal, Authorizer},
    reqwest_ext::TokenClient,
};
use reqwest::Response;
use uses::setting;

#[tokio::main]
async fn main() -> ExitCode {
    uses::log();
    match run().await {
        Ok(customers) => {
            println!("{customers} customers handed over");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<usize, Box<dyn Error>> {
    let (crm, erp) = (setting("CRM_ORIGIN")?, setting("ERP_ORIGIN")?);
    // The minimal scopes for each.
    let reads = TokenRequest::new().with_scopes("customers.read".parse()?);
    let writes = TokenRequest::new().with_scopes("ledger.write".parse()?);
    let tokens = uses::tokens("")?;
    let mut authorizer = Authorizer::builder(tokens)
        .allow_origin_with(&crm, reads)
        .allow_origin_with(&erp, writes);
    if uses::on_this_machine() {
        authorizer = authorizer.danger_allow_http_on_loopback();
    }
    // Also repeats a PUT if its token was refused, because the client knows whether the request was redirected.
    let client = TokenClient::new(authorizer.build()?, uses::http_builder())?;
    let mut handed_over = 0;
    for customer in 1..=3 {
        let record = read(&client, &format!("{crm}/api/customers/{customer}")).await?;
        write(&client, &format!("{erp}/api/ledger/{customer}"), record).await?;
        handed_over += 1;
    }
    Ok(handed_over)
}

async fn read(client: &TokenClient, url: &str) -> Result<String, Box<dyn Error>> {
    let answer = client.send(client.http().get(url)).await?;
    Ok(checked(answer)?.text().await?)
}

async fn write(client: &TokenClient, url: &str, record: String) -> Result<(), Box<dyn Error>> {
    // The number is in the URL, so a record that is copied twice exists once.
    let put = client.http().put(url).body(record);
    let answer = client.send(put).await?;
    checked(answer)?;
    Ok(())
}

/// Turns an unsuccessful response into an error, with the API's comment on the token if that is the reason.
fn checked(answer: Response) -> Result<Response, Box<dyn Error>> {
    if let Some(refusal) = answer.extensions().get::<ApiRefusal>() {
        return Err(refusal.clone().into());
    }
    Ok(answer.error_for_status()?)
}
