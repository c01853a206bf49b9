//! Responses in gzip, accepted by a setting.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use hallpass::{
    AccessToken, ErrorKind, OAuthError, TokenError,
    endpoint::{ClientCredentials, HttpTransport, PublicClient, hints},
};
use hallpass_testkit::{
    leak,
    raw::{self, RawServer},
};

use crate::{
    discovery::{discover, document},
    support::{ID, builder, fetch},
};

/// A token takes the characters of RFC 6750 only.
const CANARY: &str = "c4nary+t0ken==";

const GOOD: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Creates a transport that decompresses, with a limit of 64 KiB.
fn decompressing() -> HttpTransport {
    let transport = HttpTransport::builder().compressed_responses();
    transport.max_body_bytes(64 * 1_024).build().unwrap()
}

/// Returns the result of a fetch from a server that sends `body`.
async fn decompressed(
    status: u16,
    encoding: Option<&str>,
    body: impl AsRef<[u8]>,
) -> Result<AccessToken, TokenError> {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(encoding.map(|encoding| ("content-encoding", encoding)));
    let server = RawServer::start([raw::http(status, &headers, body)]).await;
    fetch(builder(&server.url("/token")).transport(decompressing())).await
}

// covers: F-05
#[tokio::test]
async fn a_response_in_gzip_is_read_if_that_is_set() {
    for encoding in [Some("gzip"), Some("x-gzip"), Some("GZIP"), None] {
        let token = decompressed(200, encoding, gzip(GOOD)).await.unwrap();
        assert_eq!(token.expose(), "t", "{encoding:?}");
    }
    for encoding in [Some("identity"), None] {
        let token = decompressed(200, encoding, GOOD).await.unwrap();
        assert_eq!(token.expose(), "t", "{encoding:?}");
    }
    let refusal = gzip(r#"{"error":"invalid_scope","error_description":"orders:admin"}"#);
    let error = decompressed(400, Some("gzip"), refusal).await.unwrap_err();
    assert_eq!(
        error.oauth_error().map(OAuthError::code),
        Some("invalid_scope")
    );
}

// covers: F-05
#[tokio::test]
async fn metadata_in_gzip_is_read_if_that_is_set() {
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let server = RawServer::start_with(|url| {
        let metadata = document(url).to_string();
        let bodies = [&*metadata, GOOD].map(gzip);
        bodies
            .map(|body| raw::http(200, &headers, body))
            .into_iter()
            .collect()
    })
    .await;
    let endpoint = discover(&server.url("")).transport(decompressing());
    let endpoint = endpoint.build().unwrap();
    let source = ClientCredentials::builder(endpoint, ID, PublicClient::new());
    let source = source.danger_allow_http_on_loopback();
    let source = source.transport(decompressing());
    assert_eq!(fetch(source).await.unwrap().expose(), "t");
}

// covers: F-05, F-09
#[tokio::test]
async fn a_response_is_limited_after_decompression() {
    let bomb = gzip(&" ".repeat(10_000_000));
    assert!(bomb.len() < 16 * 1_024, "{}", bomb.len());
    let error = decompressed(200, Some("gzip"), bomb).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnusableResponse);
    assert_eq!(error.hint_name(), hints::BODY_SIZE.name());
    let padded = |length: usize| gzip(&format!("{GOOD}{}", " ".repeat(length - GOOD.len())));
    let at_limit = decompressed(200, Some("gzip"), padded(64 * 1_024)).await;
    assert_eq!(at_limit.unwrap().expose(), "t");
    let over = decompressed(200, Some("gzip"), padded(64 * 1_024 + 1)).await;
    assert_eq!(over.unwrap_err().hint_name(), hints::BODY_SIZE.name());
}

// covers: F-05, F-99
#[tokio::test]
async fn a_damaged_response_in_gzip_is_an_error_and_not_shown() {
    let body = format!(r#"{{"access_token":"{CANARY}","token_type":"Bearer"}}"#);
    let whole = gzip(&body);
    assert_eq!(
        decompressed(200, None, &whole).await.unwrap().expose(),
        CANARY
    );
    let mut damaged: Vec<_> = (2..whole.len())
        .step_by(5)
        .map(|length| whole[..length].to_vec())
        .collect();
    damaged.push([&*whole, b"more"].concat());
    let mut other_checksum = whole.clone();
    let last = other_checksum.len() - 5;
    other_checksum[last] ^= 1;
    damaged.push(other_checksum);
    for body in damaged {
        let error = decompressed(200, Some("gzip"), &body).await.unwrap_err();
        assert_eq!(error.hint_name(), hints::GZIP.name(), "{body:?}");
        leak::assert_clean(&format!("{error:?}{error}"), CANARY);
    }
}

// covers: F-05
#[tokio::test]
async fn other_compressions_are_errors_if_gzip_is_accepted() {
    for encoding in ["br", "deflate", "zstd", "gzip, gzip"] {
        let error = decompressed(200, Some(encoding), gzip(GOOD)).await;
        let error = error.unwrap_err();
        assert_eq!(error.hint_name(), hints::COMPRESSED.name(), "{encoding}");
    }
    let both = [
        ("content-encoding", "gzip"),
        ("content-encoding", "br"),
        ("content-type", "application/json"),
    ];
    let server = RawServer::start([raw::http(200, &both, gzip(GOOD))]).await;
    let source = builder(&server.url("/token")).transport(decompressing());
    let error = fetch(source).await.unwrap_err();
    assert_eq!(error.hint_name(), hints::COMPRESSED.name());
    let empty = decompressed(200, Some("gzip"), "").await.unwrap_err();
    assert!(empty.to_string().contains("is empty"), "{empty}");
}

// covers: F-05, F-52
#[tokio::test]
async fn a_status_counts_although_the_gzip_is_damaged() {
    let headers = [("content-encoding", "gzip"), ("retry-after", "7")];
    let cut = gzip("busy")[..12].to_vec();
    for (status, kind, body) in [
        (503, ErrorKind::Unavailable, b"busy".to_vec()),
        (503, ErrorKind::Unavailable, cut),
        (503, ErrorKind::Unavailable, gzip(&" ".repeat(1_000_000))),
        (429, ErrorKind::Unavailable, b"busy".to_vec()),
        (
            401,
            ErrorKind::CredentialsRefused,
            br#"{"error":"invalid_client"}"#.to_vec(),
        ),
    ] {
        let server = RawServer::start([raw::http(status, &headers, &body)]).await;
        let source = builder(&server.url("/token")).transport(decompressing());
        let error = fetch(source).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(error.is_transient(), status != 401, "{status}");
        assert_eq!(error.retry_after().unwrap().as_secs(), 7, "{status}");
    }
}

// covers: F-05
#[tokio::test]
async fn a_cut_response_in_gzip_may_be_whole_next_time() {
    let whole = gzip(GOOD);
    for length in [5, 12, 40, whole.len() - 1] {
        let error = decompressed(200, Some("gzip"), &whole[..length]).await;
        let error = error.unwrap_err();
        assert_eq!(error.hint_name(), hints::GZIP.name());
        assert!(error.is_transient(), "{length}: {error}");
    }
    let plain = decompressed(200, Some("gzip"), GOOD).await.unwrap_err();
    assert!(!plain.is_transient(), "{plain}");
}
