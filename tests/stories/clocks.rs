//! Wall clocks that jump: what a request dates by them, and what a response is measured by.

mod reads;

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass::{
    Clock as _, ErrorKind, TokenError, TokenRequest, TokenSource as _,
    cache::CachedTokenSource,
    endpoint::{
        ClientAuthentication, ClientCredentials, ClientSecretPost, Endpoint, HttpTransport,
        MutualTls, Retry, TokenManagement,
    },
    jwt::{AssertionSettings, Dpop, PrivateKeyJwt, SpiffeJwt, WorkloadIdentity},
};
use hallpass_testkit::{
    ManualClock,
    raw::{self, RawServer},
};
use serde_json::{Value, json};

use crate::{
    mtls_server::MtlsServer,
    shared::assertions::key,
    support::{ID, secret},
};

const HOUR: u64 = 3_600;
const YEAR: u64 = 365 * 24 * HOUR;
/// The time that the clocks of the tests start at.
const START: u64 = 1_767_225_600;

/// The times that a wall clock jumps to: a second, an hour and a year in both directions, the first and the last time
/// that are accepted, before 1970, and beyond 32 bits of seconds.
fn times() -> impl Iterator<Item = (SystemTime, Option<u64>)> {
    let after = [
        START,
        START - 1,
        START + 1,
        START - HOUR,
        START + HOUR,
        START - YEAR,
        START + YEAR,
        5,
        1 << 32,
        100 * YEAR + START,
    ];
    let after = after.map(|at| (UNIX_EPOCH + Duration::from_secs(at), Some(at)));
    let before = [1, HOUR, 10 * YEAR].map(|at| (UNIX_EPOCH - Duration::from_secs(at), None));
    after.into_iter().chain(before)
}

/// Loads the certificates of the platform once.
static TRANSPORT: LazyLock<HttpTransport> =
    LazyLock::new(|| HttpTransport::builder().build().unwrap());

fn source(
    url: &str,
    authentication: impl ClientAuthentication + 'static,
    clock: &ManualClock,
) -> hallpass::endpoint::SourceBuilder<ClientCredentials> {
    ClientCredentials::builder(url, ID, authentication)
        .danger_allow_http_on_loopback()
        .transport(TRANSPORT.clone())
        .clock(clock.clone())
        .retry(Retry::never())
}

async fn fetch(source: &ClientCredentials) -> Result<Duration, TokenError> {
    let token = source.token(&TokenRequest::default()).await?;
    assert_eq!(token.lifetime(), Duration::from_secs(HOUR));
    Ok(token
        .deadline()
        .saturating_since(token.requested_at().timestamp))
}

/// Returns the claims of a JWT.
fn claims(jwt: &str) -> Value {
    let payload = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Returns what follows `name` in the last request.
fn last(server: &RawServer, name: &str) -> String {
    let text = String::from_utf8(server.requests().pop().unwrap()).unwrap();
    let rest = text.split(name).nth(1).unwrap();
    rest.split(['&', '\r']).next().unwrap().to_owned()
}

fn granted(token_type: &str) -> raw::Reply {
    let body = format!(r#"{{"access_token":"t","token_type":"{token_type}","expires_in":3600}}"#);
    raw::json(200, body)
}

/// Checks that an attempt before 1970 sends nothing, and one at any other time a single request dated by `dated_back`.
/// The lifetime of the token is the same at any time.
async fn check(
    source: &ClientCredentials,
    server: &RawServer,
    clock: &ManualClock,
    dated_back: u64,
    jwt: impl Fn() -> Value,
) {
    let mut sent = 0;
    for (wall, seconds) in times() {
        clock.set_wall(wall);
        let result = fetch(source).await;
        let Some(seconds) = seconds else {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains("before 1970"), "{error}");
            assert!(error.hint().unwrap().contains("clock"));
            assert_eq!(server.request_count(), sent, "{wall:?}");
            continue;
        };
        assert_eq!(result.unwrap(), Duration::from_secs(HOUR), "{wall:?}");
        sent += 1;
        assert_eq!(server.request_count(), sent, "{wall:?}");
        let claims = jwt();
        assert_eq!(claims["iat"], seconds - dated_back, "{wall:?}");
        if let Some(exp) = claims["exp"].as_u64() {
            assert_eq!(exp - (seconds - dated_back), 60, "{wall:?}");
        }
    }
    // Once the clock is set, nothing of it is left.
    clock.set_wall(UNIX_EPOCH + Duration::from_secs(START));
    fetch(source).await.unwrap();
    assert_eq!(server.request_count(), sent + 1);
}

// covers: C-45, F-70
#[tokio::test]
async fn an_assertion_is_dated_by_the_wall_clock_of_its_request() {
    let server = RawServer::always(granted("Bearer")).await;
    let clock = ManualClock::new();
    let settings = AssertionSettings::new("https://login.example").unwrap();
    let settings = settings.lifetime(Duration::from_secs(60)).unwrap();
    let authentication = PrivateKeyJwt::new(settings.clock(clock.clone()), key("a key"));
    let source = source(&server.url("/"), authentication, &clock);
    let jwt = || claims(&last(&server, "client_assertion="));
    check(&source.build().unwrap(), &server, &clock, 5, jwt).await;
}

#[tokio::test]
async fn a_proof_is_dated_by_the_wall_clock_of_its_request() {
    let server = RawServer::always(granted("DPoP")).await;
    let clock = ManualClock::new();
    let dpop = Dpop::generate().unwrap().clock(clock.clone());
    let authentication = ClientSecretPost::new(secret("s3cr3t"));
    let source = source(&server.url("/"), authentication, &clock).dpop(dpop);
    let jwt = || claims(&last(&server, "\r\ndpop: "));
    check(&source.build().unwrap(), &server, &clock, 2, jwt).await;
}

#[tokio::test]
async fn an_assertion_is_reused_within_its_life_by_the_wall_clock() {
    const MAX_AGE: u64 = 60 - 5 - 10;
    for from in [START, 1 << 32] {
        for (ahead, reused) in [
            (0, true),
            (1, true),
            (MAX_AGE - 1, true),
            (MAX_AGE, false),
            (HOUR, false),
            (YEAR, false),
        ] {
            for back in [false, true] {
                let server = RawServer::always(granted("Bearer")).await;
                let clock = ManualClock::new();
                clock.set_wall(UNIX_EPOCH + Duration::from_secs(from));
                let settings = AssertionSettings::new("https://login.example").unwrap();
                let settings = settings.lifetime(Duration::from_secs(60)).unwrap();
                let settings = settings.clock(clock.clone());
                let authentication = PrivateKeyJwt::new(settings, key("a key")).reuse_assertions();
                let source = source(&server.url("/"), authentication, &clock);
                let source = source.build().unwrap();
                fetch(&source).await.unwrap();
                let first = last(&server, "client_assertion=");
                let to = if back { from - ahead } else { from + ahead };
                clock.set_wall(UNIX_EPOCH + Duration::from_secs(to));
                fetch(&source).await.unwrap();
                let second = last(&server, "client_assertion=");
                let expected = reused && (!back || ahead == 0);
                assert_eq!(first == second, expected, "{from} {ahead} {back}");
                assert_eq!(server.request_count(), 2);
            }
        }
    }
}

/// Checks that a credential of another party is sent at any time, since the server's clock decides about its life, and
/// that the hint of its refusal names its end if that is over here.
async fn check_refusals(
    source: &ClientCredentials,
    clock: &ManualClock,
    end: u64,
    sent: impl Fn() -> usize,
) {
    let end = UNIX_EPOCH + Duration::from_secs(end);
    let edges = [
        end - Duration::from_secs(1),
        end,
        end + Duration::from_secs(1),
    ];
    let times = times().map(|(wall, _)| wall).chain(edges);
    for (number, wall) in times.enumerate() {
        clock.set_wall(wall);
        let error = fetch(source).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{wall:?}");
        assert_eq!(sent(), number + 1, "{wall:?}");
        // At its very end, a certificate is valid (RFC 5280 section 4.1.2.5), and a JWT is not (RFC 7519 section 4.1.4).
        if wall != end {
            let hint = error.hint().unwrap();
            assert_eq!(hint.contains("expired"), wall > end, "{wall:?}: {hint}");
        }
    }
}

// covers: F-70
#[tokio::test]
async fn an_svid_or_a_certificate_is_sent_at_any_wall_clock() {
    const AUDIENCE: &str = "https://login.example";
    /// The last day of 2999.
    const CERTIFICATE_END: u64 = 32_503_593_600;
    let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "sub": "spiffe://acme.example/orders", "aud": AUDIENCE, "exp": START });
    let header = encode(json!({ "alg": "ES256" }));
    let svid = secret(&format!("{header}.{}.c2ln", encode(claims)));
    let clock = ManualClock::new();
    let methods: [Box<dyn ClientAuthentication>; 2] = [
        Box::new(
            SpiffeJwt::new(svid.clone())
                .audience(AUDIENCE)
                .clock(clock.clone()),
        ),
        Box::new(WorkloadIdentity::new(svid).clock(clock.clone())),
    ];
    for method in methods {
        let refused = raw::json(401, r#"{"error":"invalid_client"}"#);
        let server = RawServer::always(refused).await;
        let source = source(&server.url("/"), method, &clock).build().unwrap();
        check_refusals(&source, &clock, START, || server.request_count()).await;
    }
    let server = MtlsServer::start().await;
    let pem = server.identity("not registered").pem();
    let certificate = MutualTls::new(secret(&pem)).clock(clock.clone());
    let source = server.source(certificate).retry(Retry::never());
    let source = source.clock(clock.clone()).build().unwrap();
    let sent = || server.token_requests().len();
    check_refusals(&source, &clock, CERTIFICATE_END, sent).await;
}

// covers: F-52, F-53
#[tokio::test]
async fn a_wait_until_a_date_is_bounded_at_any_time() {
    const MAX_WAIT: u64 = 3_600;
    const NOW: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
    const LATER: &str = "Thu, 01 Jan 2026 00:10:00 GMT";
    for (wall, _) in times() {
        for has_date in [true, false] {
            let mut headers = vec![("retry-after", LATER)];
            if has_date {
                headers.push(("date", NOW));
            }
            let server = RawServer::always(raw::http(503, &headers, "")).await;
            let clock = ManualClock::new();
            clock.set_wall(wall);
            let authentication = ClientSecretPost::new(secret("s3cr3t"));
            let source = source(&server.url("/"), authentication, &clock)
                .build()
                .unwrap();
            let cache = CachedTokenSource::builder(source)
                .clock(clock.clone())
                .build();
            let cache = Arc::new(cache);
            let ask = async || cache.token(&TokenRequest::default()).await.unwrap_err();
            ask().await;
            let ahead =
                (UNIX_EPOCH + Duration::from_secs(START + 600)).duration_since(clock.wall());
            let wait = if has_date {
                // By the server's own clock.
                600
            } else {
                ahead.unwrap_or_default().as_secs().min(MAX_WAIT)
            };
            let case = format!("{wall:?} {has_date}");
            // Nothing is sent before, and one request after it. The back-off of a second takes precedence.
            if wait > 1 {
                clock.advance(Duration::from_millis(wait * 1_000 - 1));
                let left = ask().await.retry_after().unwrap();
                assert!(left <= Duration::from_millis(1), "{case}: {left:?}");
                assert_eq!(server.request_count(), 1, "{case}");
            }
            clock.advance(Duration::from_secs(1));
            ask().await;
            assert_eq!(server.request_count(), 2, "{case}");
        }
    }
}

// covers: F-63
#[tokio::test]
async fn a_shutdown_revokes_tokens_by_their_life_at_any_wall_clock() {
    const LIFE: Duration = Duration::from_secs(HOUR);
    const STEP: Duration = Duration::from_millis(1);
    let server = RawServer::always(granted("Bearer")).await;
    let clock = ManualClock::new();
    let authentication = || ClientSecretPost::new(secret("s3cr3t"));
    let url = server.url("/");
    let endpoint = Endpoint::new(&url).with_revocation_endpoint(&url);
    let tokens = TokenManagement::builder(endpoint, ID, authentication())
        .danger_allow_http_on_loopback()
        .transport(TRANSPORT.clone());
    let tokens = Arc::new(tokens.build().unwrap());
    let source = source(&url, authentication(), &clock).build().unwrap();
    let source = tokens.revoke_on_shutdown(source).clock(clock.clone());
    for (wall, _) in times() {
        for (age, revoked) in [(LIFE.saturating_sub(STEP), 1), (LIFE, 0)] {
            source.token(&TokenRequest::default()).await.unwrap();
            clock.advance(age);
            clock.set_wall(wall);
            assert_eq!(
                source.shutdown().await.revoked(),
                revoked,
                "{wall:?} {age:?}"
            );
        }
    }
}
