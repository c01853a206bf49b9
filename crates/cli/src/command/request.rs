//! `hallpass request`.

use std::{
    collections::HashSet,
    io::{self, Read as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use hallpass::{
    authorize::{ApiRefusal, Authorizer},
    reqwest_ext::TokenClient,
    secrets::RegularFile,
};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};

use tokio::time::timeout;
use url::Position;

use crate::{
    args::{Common, Request},
    config::{self, Settings, parse_duration},
    explain,
    failure::{Exit, Failure},
    http, out,
    tokens::{self, Tokens},
};

pub(crate) fn run(common: &Common, args: &Request) -> Result<ExitCode, Failure> {
    let method = Method::from_bytes(args.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| Failure::usage("invalid HTTP method"))?;
    let url = parse_url(&args.url)?;
    let headers = parse_headers(&args.header)?;
    let idle_timeout = parse_duration(&args.api_timeout)
        .map_err(|why| Failure::usage(format!("`--api-timeout`: {why}")))?;
    let tokens = Tokens::new(config::read(common, &args.client)?)?;
    let authorizer = build_authorizer(&tokens, &url, &args.allow_origin)?;
    let body = args.body.as_deref().map(read_body).transpose()?;
    let host = url.authority().to_owned();
    tokens::block_on(async {
        let client = http::client_with_certificate(&tokens.settings, &url)
            .await?
            // The timeout covers the whole request, including the upload.
            .read_timeout(idle_timeout.saturating_add(upload_time(body.as_deref())));
        let client = TokenClient::new(authorizer, client)
            .map_err(|error| http::request_failure(&error, "the HTTP client", None))?;
        let mut request = client.http().request(method, url.clone()).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let shown = match send_request(&client, request, &tokens.settings, &url).await {
            Ok(response) => {
                let options = OutputOptions {
                    include: args.include,
                    verbose: common.verbose > 0,
                    idle_timeout,
                };
                print_response(response, &options, &host).await
            }
            Err(failure) => Err(failure),
        };
        tokens.settle().await;
        shown
    })
}

pub(super) fn parse_url(text: &str) -> Result<Url, Failure> {
    let wrong = |what: &str| Err(Failure::usage(format!("the URL {what}")));
    // The URL is not repeated: it may contain credentials.
    let Ok(url) = Url::parse(text) else {
        return wrong("is not absolute; write it as `https://api.example/orders`");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("contains a user name or password, and the request is authorized by a token");
    }
    if url.host().is_none() || !matches!(url.scheme(), "https" | "http") {
        return wrong("must start with `https://`");
    }
    Ok(url)
}

fn parse_headers(lines: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for line in lines {
        // The header is not repeated: it may contain a secret.
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let Some((name, value)) = parsed else {
            return Err(Failure::usage(
                "`--header` must have the form `NAME: VALUE`",
            ));
        };
        if name == AUTHORIZATION {
            return Err(Failure::usage(
                "the `Authorization` header is set by this command",
            ));
        }
        headers.append(name, value);
    }
    Ok(headers)
}

/// Returns the origins that may receive the token: those the profile allows, or else the one of the URL, which the user
/// typed.
fn build_authorizer(tokens: &Tokens, url: &Url, further: &[String]) -> Result<Authorizer, Failure> {
    let Settings {
        allowed_origins,
        request,
        danger_allow_http_on_loopback,
        ..
    } = &*tokens.settings;
    let typed = url.origin().ascii_serialization();
    let mut authorizer = Authorizer::builder(tokens.source.clone()).name("hallpass");
    let typed_too = allowed_origins.is_empty().then_some(&typed);
    let mut named = HashSet::new();
    for origin in typed_too.into_iter().chain(allowed_origins).chain(further) {
        // A duplicate origin is added once; an invalid one is refused by the authorizer.
        let spelled = Url::parse(origin)
            .ok()
            .filter(|url| url[Position::BeforePath..] == *"/");
        let spelled = spelled.map(|url| url.origin().ascii_serialization());
        if named.insert(spelled.unwrap_or_else(|| origin.clone())) {
            authorizer = authorizer.allow_origin_with(origin, request.clone());
        }
    }
    if *danger_allow_http_on_loopback {
        authorizer = authorizer.danger_allow_http_on_loopback();
    }
    let built = authorizer.build();
    let built = built.map_err(|error| Failure::configuration(error.to_string()))?;
    let allowed = |origin: String| origin == typed;
    if built.origins().map(ToString::to_string).any(allowed) {
        return Ok(built);
    }
    Err(Failure::configuration(format!(
        "{typed} is not one of the profile's `allowed_origins`"
    ))
    .with_remedy(format!(
        "add it there, or pass `--allow-origin {typed}` for this request"
    )))
}

/// The longest request body in bytes. It is held in memory, so that the request can be repeated after a 401.
const MAX_BODY_BYTES: usize = 64 << 20;

/// Reads the body from a file, or from standard input.
fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    if path != Path::new("-") {
        let body = RegularFile::open(path).and_then(|file| file.read(MAX_BODY_BYTES));
        return body.map_err(|error| {
            Failure::usage(format!("the request body {} {error}", path.display()))
                .with_remedy("to send the output of a program, pipe it and use `--body -`")
        });
    }
    let mut body = Vec::new();
    let mut input = io::stdin().lock().take(MAX_BODY_BYTES as u64 + 1);
    input.read_to_end(&mut body).map_err(|error| {
        let what = format!("standard input cannot be read: {}", error.kind());
        Failure::usage(what)
    })?;
    if body.len() > MAX_BODY_BYTES {
        return Err(Failure::usage(
            "the request body on standard input is longer than 64 MiB",
        ));
    }
    Ok(body)
}

async fn send_request(
    client: &TokenClient,
    request: RequestBuilder,
    settings: &Settings,
    url: &Url,
) -> Result<Response, Failure> {
    // Without user name and password, which `parse_url` refuses.
    let host = url.authority();
    match client.send(request).await {
        Ok(response) => Ok(response),
        Err(error) => Err(match (error.token_error(), error.http_error()) {
            (Some(error), _) => explain::token_error(error, settings),
            (None, Some(error)) => {
                let proxy = http::proxy_for(settings, url);
                let failure = http::request_failure(error, host, proxy.as_deref());
                explain::connection_failure(failure, settings, url)
            }
            (None, None) => Failure::new(Exit::Unavailable, format!("{host} could not be reached")),
        }),
    }
}

/// Returns the time that uploading the body may take, added to the timeout for the response.
fn upload_time(body: Option<&[u8]>) -> Duration {
    /// A rate below that of any connection over which such a body is sent.
    const BYTES_PER_SECOND: usize = 16 << 10;
    let seconds = body.unwrap_or_default().len() / BYTES_PER_SECOND;
    Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX))
}

struct OutputOptions {
    include: bool,
    verbose: bool,
    /// The timeout for each part of the body.
    idle_timeout: Duration,
}

/// Streams the body to standard output, regardless of the status.
async fn print_response(
    mut response: Response,
    options: &OutputOptions,
    host: &str,
) -> Result<ExitCode, Failure> {
    let status = response.status();
    let mut has_reader = !options.include || out::write_part(&response_head(&response))?;
    if options.verbose {
        out::note(&format!("{host}: HTTP {}", status.as_u16()));
    }
    let refusal = response.extensions().get::<ApiRefusal>().cloned();
    // The response may take any time, as long as data arrives and is read.
    while has_reader {
        match timeout(options.idle_timeout, response.chunk()).await {
            Ok(Ok(Some(part))) => has_reader = out::write_part(&part)?,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(http::request_failure(&error, host, None)),
            Err(_) => {
                let what = format!("{host} did not respond in time");
                return Err(Failure::new(Exit::Unavailable, what));
            }
        }
    }
    if !is_error(status) {
        return Ok(Exit::Ok.into());
    }
    Err(api_failure(status, refusal.as_ref(), host))
}

/// A redirect that was not followed is not a result either.
fn is_error(status: StatusCode) -> bool {
    !status.is_success() && status != StatusCode::NOT_MODIFIED
}

fn api_failure(status: StatusCode, refusal: Option<&ApiRefusal>, host: &str) -> Failure {
    let error = refusal.and_then(ApiRefusal::error);
    let error = error.map(|error| format!(": {error}")).unwrap_or_default();
    // With the reason phrase, if there is one: `403 Forbidden`.
    let text = format!("{host} returned HTTP {status}{error}");
    let failure = Failure::new(Exit::Api, text.replace(" <unknown status code>", ""));
    let scope = refusal.and_then(ApiRefusal::scope);
    match scope {
        Some(scope) => failure.with_remedy(format!(
            "the API requires the scope `{scope}`: assign it to this client, and request it with `--scope`"
        )),
        None if status.is_redirection() => failure.with_remedy(
            "it redirects to another origin, which receives no token, or the token is bound to a key (`dpop`) and its proof is for this URL; request the other URL directly if it is correct",
        ),
        None => failure,
    }
}

/// Prints the status and the headers as received.
fn response_head(response: &Response) -> Vec<u8> {
    let mut head = format!("{:?} {}\n", response.version(), response.status()).into_bytes();
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.push(b'\n');
    }
    head.push(b'\n');
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: I-14
    #[test]
    fn errors_do_not_print_arguments() {
        for wrong in [
            parse_url("https://user:CANARY@api.example/").unwrap_err(),
            parse_url("CANARY").unwrap_err(),
            parse_url("data:CANARY").unwrap_err(),
            parse_url("ftp://api.example/CANARY").unwrap_err(),
            parse_headers(&["CANARY".into()]).unwrap_err(),
            parse_headers(&["X: CANARY\n".repeat(2)]).unwrap_err(),
            parse_headers(&["authorization: Bearer CANARY".into()]).unwrap_err(),
        ] {
            assert_eq!(wrong.exit().code(), 2);
            assert!(!wrong.to_string().contains("CANARY"), "{wrong}");
        }
    }

    #[test]
    fn statuses_without_a_result_are_errors() {
        for (status, error) in [
            (200, false),
            (204, false),
            (304, false),
            (302, true),
            (404, true),
            (500, true),
        ] {
            assert_eq!(
                is_error(StatusCode::from_u16(status).unwrap()),
                error,
                "{status}"
            );
        }
    }
}
