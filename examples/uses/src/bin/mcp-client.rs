//! A client of an MCP server that has no user: it follows the OAuth client credentials extension of the Model Context
//! Protocol (SEP-1046; `io.modelcontextprotocol/oauth-client-credentials`, draft revision of the repository `ext-auth`).
//!
//! It calls the server without a token, reads the resource metadata that the 401 names (RFC 9728), discovers the
//! authorization server (RFC 8414), gets a token for the resource (RFC 8707) and calls the server again.
//!
//! | variable | |
//! |---|---|
//! | `MCP_SERVER` | required; the URL of the server, `https://tools.example/mcp` |
//! | `MCP_ISSUER` | required; the issuer that may issue tokens for it, which has this client registered |
//! | `CLIENT_ID` | required |
//! | `PRIVATE_KEY` | where the key for `private_key_jwt` lives, PEM: `file:/run/secrets/client.pem` |
//! | `CLIENT_SECRET` | where the secret lives, if there is no `PRIVATE_KEY`: `file:/run/secrets/client` |
//! | `DANGER_HTTP_ON_LOOPBACK` | set it to try the program against servers on this machine |

use std::{env, error::Error, process::ExitCode};

use hallpass::{
    authorize::Authorizer,
    cache::CachedTokenSource,
    endpoint::{
        ClientAuthentication, ClientCredentials, ClientSecretBasic, ClientSecretPost,
        ProtectedResource, ResourceDiscovery, Strongest,
    },
    jwt::{AssertionSettings, PrivateKeyJwt, SigningKey},
    reqwest_ext::RequestBuilderExt,
    secrets::SecretReference,
};
use reqwest::{RequestBuilder, StatusCode, Url, header};
use uses::{on_this_machine, setting};

/// The first message of a session (revision 2025-11-25 of the protocol).
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"extensions":{"io.modelcontextprotocol/oauth-client-credentials":{}}},"clientInfo":{"name":"mcp-client","version":"0.1.0"}}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    uses::log();
    match run().await {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<String, Box<dyn Error>> {
    let server: Url = setting("MCP_SERVER")?.parse()?;
    let http = uses::http()?;
    let first = initialize(http.post(server.clone())).send().await?;
    if first.status() != StatusCode::UNAUTHORIZED {
        return Ok(first.error_for_status()?.text().await?);
    }
    let origin = server.origin().ascii_serialization();
    let mut resources = ResourceDiscovery::builder()
        .allow_resource(&origin)
        .allow_issuer(setting("MCP_ISSUER")?)
        // A server may name its origin, or a path above its endpoint.
        .accept_parent_resource();
    if on_this_machine() {
        resources = resources.danger_allow_http_on_loopback();
    }
    let resource = resources
        .build()?
        .discover_from(server.as_str(), first.headers())
        .await?;
    eprintln!(
        "{} issues tokens for {}",
        resource.issuer(),
        resource.resource()
    );

    let tokens = CachedTokenSource::new(source(&resource)?);
    let mut authorizer = Authorizer::builder(tokens).allow_origin(&origin);
    if on_this_machine() {
        authorizer = authorizer.danger_allow_http_on_loopback();
    }
    let call = initialize(http.post(server));
    let answer = call.send_with(&authorizer.build()?).await?;
    Ok(answer.error_for_status()?.text().await?)
}

fn initialize(request: RequestBuilder) -> RequestBuilder {
    request
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .body(INITIALIZE)
}

/// Creates the source of tokens for this resource.
fn source(resource: &ProtectedResource) -> Result<ClientCredentials, Box<dyn Error>> {
    let server = resource.authorization_server().build()?;
    let builder = ClientCredentials::builder(server, setting("CLIENT_ID")?, authentication()?)
        .resource(resource.resource());
    Ok(if on_this_machine() {
        builder.danger_allow_http_on_loopback().build()?
    } else {
        builder.build()?
    })
}

/// Returns `private_key_jwt` if there is a key, or else the method for a secret that the server supports.
fn authentication() -> Result<Box<dyn ClientAuthentication>, Box<dyn Error>> {
    if env::var_os("PRIVATE_KEY").is_some() {
        let key = setting("PRIVATE_KEY")?.parse::<SecretReference>()?.open()?;
        // The audience is the issuer that is discovered.
        let settings = AssertionSettings::for_discovered_issuer();
        let signed = PrivateKeyJwt::from_source(settings, key, SigningKey::from_pem);
        return Ok(Box::new(signed));
    }
    let secret = setting("CLIENT_SECRET")?
        .parse::<SecretReference>()?
        .open()?;
    let basic = ClientSecretBasic::new(secret.clone());
    Ok(Box::new(
        Strongest::new(ClientSecretPost::new(secret)).or(basic),
    ))
}
