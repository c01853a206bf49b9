//! `Retry-After`, `Date`, quotas and `DPoP-Nonce`: a wait agrees with `httpdate`, counts are those of the headers, values out
//! of range change nothing, and a nonce is the only one and has the characters of RFC 9449.

use std::{
    sync::Mutex,
    time::{Duration, SystemTime},
};

use arbitrary::Unstructured;
use hallpass_core::{
    Clock as _, ErrorKind, Proof, ProofRequest, Proofs, Prover, Quota, TokenError, TokenRequest,
    TokenSource as _, async_trait,
};
use hallpass_endpoint::{ClientCredentials, Retry};
use hallpass_testkit::ManualClock;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::support::{
    CLIENT_ID, Response, TOKEN_ENDPOINT, authentication, check_token_error, line, serve, transport,
};

pub(crate) const WORDS: &[&str] = &[
    "120",
    "Thu, 01 Jan 2026 00:01:00 GMT",
    "Thursday, 01-Jan-26 00:01:00 GMT",
    "Thu Jan  1 00:01:00 2026",
    "99999999999999999999",
    "\n",
    "x-ratelimit-remaining: 1\n",
    "x-ratelimit-reset: 30\n",
    "x-rate-limit-limit: 9\n",
    "dpop-nonce: eyJ7S_zG.eyJH0-Z.HX4w-7v\n",
    "auth0-client-quota-limit: b=per_hour;q=10;r=7;t=3540,b=per_day;q=50;r=47;t=43200\n",
];

/// The quotas of tokens: the header, the period that a bucket names, and the name of the quota.
const BUCKETS: [(&str, &str, &str); 4] = [
    ("auth0-client-quota-limit", "per_hour", "client_per_hour"),
    ("auth0-client-quota-limit", "per_day", "client_per_day"),
    (
        "auth0-organization-quota-limit",
        "per_hour",
        "organization_per_hour",
    ),
    (
        "auth0-organization-quota-limit",
        "per_day",
        "organization_per_day",
    ),
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let quotas = "x-ratelimit-limit: 9\nx-ratelimit-remaining: 1\nx-ratelimit-reset: 30\n";
    let bucket = "auth0-client-quota-limit: b=per_hour;q=10;r=7;t=3540,b=per_day;q=50;r=47;t=43200";
    let texts = [
        "120\n\n".to_owned(),
        format!("Thu, 01 Jan 2026 00:01:00 GMT\nThu, 01 Jan 2026 00:00:00 GMT\n{quotas}"),
        format!("Thu Jan  1 00:01:00 2026\nyesterday\n{bucket}\n"),
        "-1\n\n".to_owned(),
    ];
    let mut seeds = texts.map(String::into_bytes).to_vec();
    // A date before, at and after the clock's time.
    let dates = [
        "Wed, 31 Dec 2025 23:59:00 GMT",
        "Thu, 01 Jan 2026 00:00:00 GMT",
        "Thu, 01 Jan 2026 00:01:00 GMT",
    ];
    for reset in ["30", "31622401", "1767225660", "99999999999"] {
        let bucket = bucket.replace("3540", reset);
        seeds.push(
            format!("\n\nx-ratelimit-remaining: 1\nx-ratelimit-reset: {reset}\n{bucket}\n")
                .into_bytes(),
        );
    }
    for retry_after in dates {
        seeds.extend(dates.map(|date| format!("{retry_after}\n{date}\n").into_bytes()));
    }
    // Nonces: each limit of the characters and of the length, none, and two.
    let mut nonces: Vec<Vec<Vec<u8>>> = vec![vec![], vec![vec![]]];
    nonces.extend(b"\t !\"#[\\]~\x80\xff".map(|byte| vec![vec![b'a', byte, b'z']]));
    nonces.extend([1, 1_024, 1_025].map(|length| vec![vec![b'a'; length]]));
    nonces.push(vec![b"one".to_vec(), b"two".to_vec()]);
    nonces.push(vec![b"one".to_vec(), b"one".to_vec()]);
    nonces.push(vec![b"one".to_vec(), vec![]]);
    seeds.extend(nonces.iter().map(|values| {
        let lines = values
            .iter()
            .map(|value| [b"dpop-nonce: ", value.as_slice(), b"\n"].concat());
        [b"\n\n".to_vec(), lines.collect::<Vec<_>>().concat()].concat()
    }));
    seeds
}

/// The first line is `Retry-After`, the second `Date`, and the rest are headers.
pub(crate) fn run(bytes: &[u8]) {
    let (retry_after, rest) = line(bytes);
    let (date, rest) = line(rest);
    let clock = ManualClock::new();
    let mut unavailable = Response::parse(&[b"503\n", rest].concat());
    let mut headers = vec![(header::RETRY_AFTER, retry_after), (header::DATE, date)];
    headers.retain(|(_, value)| !value.is_empty());
    for (name, value) in headers {
        unavailable.headers.remove(&name);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            unavailable.headers.insert(name, value);
        }
    }
    unavailable.body.clear();
    nonce(&unavailable.headers);
    let text = |name| {
        let value: Option<&HeaderValue> = unavailable.headers.get(name);
        value.and_then(|value| value.to_str().ok())
    };
    let time = |text: Option<&str>| httpdate::parse_http_date(text?).ok();
    let now = time(text(header::DATE)).unwrap_or(clock.wall());
    let expected = text(header::RETRY_AFTER).map(str::trim).and_then(|text| {
        if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
        }
        Some(time(Some(text))?.duration_since(now).unwrap_or_default())
    });
    let mut granted =
        Response::json(br#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#);
    granted.headers.extend(
        unavailable
            .headers
            .clone()
            .into_iter()
            .filter_map(|(name, value)| {
                let fit = name
                    .as_ref()
                    .is_some_and(|name| name.as_str().contains("limit"));
                fit.then_some((name, value))
            }),
    );

    let source = ClientCredentials::builder(TOKEN_ENDPOINT, CLIENT_ID, authentication())
        .transport(transport(false))
        .retry(Retry::never())
        .clock(clock.clone())
        .build()
        .unwrap();
    let request = TokenRequest::default();
    let (error, _) = serve(move |_| unavailable.clone(), source.token(&request));
    let error = error.unwrap_err();
    check_token_error(&error);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(error.retry_after(), expected);
    let sent = granted.headers.clone();
    let (token, _) = serve(move |_| granted.clone(), source.token(&request));
    quotas(token.unwrap().quotas(), &sent);
    dates(bytes, clock.wall());
}

/// A prover that stores the nonces.
#[derive(Debug, Default)]
struct Nonces(Mutex<Vec<String>>);

#[async_trait]
impl Prover for Nonces {
    async fn prove(&self, _: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        Err(TokenError::configuration("no proof is sent"))
    }

    fn store_nonce(&self, _: &ProofRequest<'_>, nonce: &str) {
        self.0.lock().unwrap().push(nonce.to_owned());
    }
}

/// Compares the nonce in use with the headers: it is the only one, and one or more `NQCHAR` of RFC 9449 section 8.1.
fn nonce(headers: &HeaderMap) {
    const MAX_BYTES: usize = 1_024;
    let is_legal = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let values: Vec<_> = headers.get_all("dpop-nonce").iter().collect();
    let expected: Vec<_> = match values[..] {
        [value] if (1..=MAX_BYTES).contains(&value.len()) => {
            let legal = value.as_bytes().iter().all(is_legal);
            let text = legal.then(|| String::from_utf8(value.as_bytes().to_vec()).unwrap());
            text.into_iter().collect()
        }
        _ => Vec::new(),
    };
    let mut proofs = Proofs::new(Method::GET, "https://api.example/orders");
    let prover = Nonces::default();
    proofs.store_nonce(&prover, None, headers);
    assert_eq!(*prover.0.lock().unwrap(), expected);
    assert_eq!(proofs.accept_nonce(headers), !expected.is_empty());
    assert_eq!(proofs.is_demanded(), !expected.is_empty());
}

/// Compares the counts of quotas with those of the headers.
fn quotas(found: &[Quota], headers: &HeaderMap) {
    assert!(found.len() <= 5);
    for quota in found {
        let year = Duration::from_secs(366 * 86_400);
        assert!(quota.resets_in().is_none_or(|reset| reset <= year));
    }
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let text = |name: &str| text(name).filter(|text| text.len() <= 512);
    let count = |text: &str| {
        let is_number = text.trim().bytes().all(|byte| byte.is_ascii_digit());
        text.trim().parse::<u64>().ok().filter(|_| is_number)
    };
    let found = |name| {
        let quota = found.iter().find(|quota| quota.name() == name)?;
        Some((quota.remaining(), quota.limit()))
    };
    let rate_limit = ["x-ratelimit", "x-rate-limit"].iter().find_map(|prefix| {
        let field = |word| count(text(&format!("{prefix}-{word}"))?);
        Some((field("remaining")?, field("limit")))
    });
    assert_eq!(found("rate_limit"), rate_limit);
    for (header, period, name) in BUCKETS {
        let Some((remaining, limit)) = found(name) else {
            continue;
        };
        let mut buckets = text(header).unwrap().split(',');
        let fits = |bucket: &str| {
            let counts = bucket.split(';').filter_map(|part| {
                let (key, value) = part.split_once('=')?;
                Some((key.trim(), count(value)?))
            });
            let has = |key: &str, number| counts.clone().any(|part| part == (key, number));
            bucket.contains(period)
                && has("r", remaining)
                && limit.is_none_or(|limit| has("q", limit))
        };
        assert!(buckets.any(fits), "{name}");
    }
}

/// A date that is written and read back is the same to the second.
fn dates(bytes: &[u8], now: SystemTime) {
    let Ok(seconds) = Unstructured::new(bytes).int_in_range(0..=200_000_000_u64) else {
        return;
    };
    let until = now + Duration::from_secs(seconds);
    let mut response = Response::parse(b"429\n\n");
    let date = httpdate::fmt_http_date(until).parse().unwrap();
    response.headers.insert(header::RETRY_AFTER, date);
    let source = ClientCredentials::builder(TOKEN_ENDPOINT, CLIENT_ID, authentication())
        .transport(transport(false))
        .retry(Retry::never())
        .clock(ManualClock::new())
        .build()
        .unwrap();
    let request = TokenRequest::default();
    let (error, _) = serve(move |_| response.clone(), source.token(&request));
    assert_eq!(
        error.unwrap_err().retry_after(),
        Some(Duration::from_secs(seconds))
    );
}
