//! TLS and HTTP/2 behaviour of servers: invalid certificates, connections that are shut down.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hallpass::{
    AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource,
    endpoint::{ClientCredentials, HttpTransport, HttpTransportBuilder, Retry, SourceBuilder},
};
use http::Response;
use rcgen::{Certificate, CertificateParams, CertifiedIssuer, KeyPair};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::{TlsAcceptor, rustls::pki_types::PrivateKeyDer};

use crate::{support::builder, tls_server::server_config};

const GOOD: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;

/// A certificate authority for a test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Issues a certificate for `name` that is valid until the end of `year`, with its key.
    pub(crate) fn issue(&self, name: &str, year: i32) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate, key)
    }

    /// Returns the authority's own certificate.
    pub(crate) fn certificate(&self) -> &Certificate {
        self.0.as_ref()
    }

    /// Returns a server's settings with a certificate for `name` that is valid until the end of `year`.
    pub(crate) fn server(&self, name: &str, year: i32) -> TlsAcceptor {
        let (certificate, key) = self.issue(name, year);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = server_config()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    fn trusted(&self) -> HttpTransport {
        self.transport().build().unwrap()
    }

    /// Returns a transport that trusts this authority only.
    pub(crate) fn transport(&self) -> HttpTransportBuilder {
        HttpTransport::builder()
            .add_root_certificates_pem(self.0.pem())
            .only_added_root_certificates()
    }
}

/// The behaviour of an HTTP/2 server on one connection.
#[derive(Clone, Copy)]
enum Plan {
    /// Answers every request.
    Answer,
    /// Resets the first request's stream with a code, and answers the next.
    Reset(h2::Reason),
    /// Resets the second request's stream with a code, and answers all others.
    ResetSecond(h2::Reason),
    /// Answers one request and announces the end of the connection.
    GoAway,
    /// Closes the connection when the first request arrives.
    Abort,
}

/// Starts an HTTP/2 server with one plan per connection; the last one repeats.
async fn serve(acceptor: TlsAcceptor, plans: Vec<Plan>) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        for nth in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let plan = plans[nth.min(plans.len() - 1)];
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                // A client that refuses the certificate disconnects here.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                // An error is the end of the connection.
                let _ = speak(h2::server::handshake(stream).await.unwrap(), plan).await;
            });
        }
    });
    (address, tasks)
}

async fn speak<T>(
    mut connection: h2::server::Connection<T, bytes::Bytes>,
    plan: Plan,
) -> Result<(), h2::Error>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut requests = 0;
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request?;
        requests += 1;
        match (plan, requests) {
            (Plan::Reset(reason), 1) | (Plan::ResetSecond(reason), 2) => {
                respond.send_reset(reason);
                continue;
            }
            _ => {}
        }
        if matches!(plan, Plan::Abort) {
            connection.abrupt_shutdown(h2::Reason::NO_ERROR);
            continue;
        }
        let head = Response::builder()
            .header("content-type", "application/json")
            .body(())
            .unwrap();
        respond
            .send_response(head, false)?
            .send_data(GOOD.into(), true)?;
        if matches!(plan, Plan::GoAway) {
            connection.graceful_shutdown();
        }
    }
    Ok(())
}

fn source(
    builder: SourceBuilder<ClientCredentials>,
    transport: HttpTransport,
) -> ClientCredentials {
    builder.transport(transport).build().unwrap()
}

async fn fetch(address: SocketAddr, transport: HttpTransport) -> Result<AccessToken, TokenError> {
    let url = format!("https://localhost:{}/token", address.port());
    source(builder(&url), transport)
        .token(&TokenRequest::default())
        .await
}

// covers: C-30, F-43
#[tokio::test]
async fn only_a_good_certificate_is_taken() {
    let authority = Authority::new("ours");
    let stranger = Authority::new("a stranger");
    for (name, year, trusts, says) in [
        ("localhost", 2999, &authority, None),
        (
            "localhost",
            2999,
            &stranger,
            Some("none of the certificate authorities"),
        ),
        ("localhost", 2001, &authority, Some("certificate expired")),
        (
            "other.example",
            2999,
            &authority,
            Some("certificate is not valid for `localhost`, only for `other.example`"),
        ),
    ] {
        let (address, _server) = serve(authority.server(name, year), vec![Plan::Answer]).await;
        let result = fetch(address, trusts.trusted()).await;
        let Some(says) = says else {
            assert_eq!(result.unwrap().expose(), "t");
            continue;
        };
        let error = result.unwrap_err();
        let text = error.to_string();
        assert_eq!(
            (error.kind(), error.is_transient()),
            (ErrorKind::Configuration, false),
            "{text}"
        );
        assert!(text.contains(says) && text.contains("localhost:"), "{text}");
        assert!(!text.contains("danger"), "{text}");
    }
}

// covers: F-58
#[tokio::test]
async fn http_2_connections_that_wind_down_cost_no_call() {
    let authority = Authority::new("ours");
    let acceptor = authority.server("localhost", 2999);
    // A back-off that never fits into the deadline: only requests that the server did not process are sent again.
    let unprocessed = Retry::new().min_delay(Duration::from_secs(3_600));
    let quick = Retry::new().min_delay(Duration::from_millis(1));
    for (plans, retry) in [
        (vec![Plan::Reset(h2::Reason::REFUSED_STREAM)], unprocessed),
        (vec![Plan::GoAway], unprocessed),
        (vec![Plan::Abort, Plan::Answer], quick),
    ] {
        let (address, _server) = serve(acceptor.clone(), plans).await;
        let url = format!("https://localhost:{}/token", address.port());
        let source = source(builder(&url).retry(retry), authority.trusted());
        for _ in 0..3 {
            let token = source.token(&TokenRequest::default()).await;
            assert_eq!(token.unwrap().expose(), "t");
        }
    }
}

/// The server has read the request, however old the connection is.
// covers: F-48, F-58
#[tokio::test]
async fn a_request_whose_stream_was_reset_is_not_repeated() {
    let authority = Authority::new("ours");
    let acceptor = authority.server("localhost", 2999);
    let retry = Retry::new().min_delay(Duration::from_secs(3_600));
    for (reason, repeated) in [
        (h2::Reason::REFUSED_STREAM, true),
        (h2::Reason::INTERNAL_ERROR, false),
        (h2::Reason::CANCEL, false),
    ] {
        let plans = vec![Plan::ResetSecond(reason)];
        let (address, _server) = serve(acceptor.clone(), plans).await;
        let url = format!("https://localhost:{}/token", address.port());
        let source = source(builder(&url).retry(retry), authority.trusted());
        let request = TokenRequest::default();
        source.token(&request).await.unwrap();
        // A third request would be answered.
        let second = source.token(&request).await;
        assert_eq!(second.is_ok(), repeated, "{reason:?}: {second:?}");
    }
}

// covers: F-58
#[tokio::test]
async fn without_retries_a_refused_stream_is_an_error() {
    let authority = Authority::new("ours");
    for plan in [Plan::Reset(h2::Reason::REFUSED_STREAM), Plan::Abort] {
        let plans = vec![plan, Plan::Answer];
        let (address, _server) = serve(authority.server("localhost", 2999), plans).await;
        // The next stream or connection would be answered.
        let error = fetch(address, authority.trusted()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

// covers: F-58
#[tokio::test]
async fn a_server_that_asks_for_calm_is_left_alone() {
    let authority = Authority::new("ours");
    let calm = Plan::Reset(h2::Reason::ENHANCE_YOUR_CALM);
    let (address, _server) = serve(authority.server("localhost", 2999), vec![calm]).await;
    let error = fetch(address, authority.trusted()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(
        error.to_string().contains("limits the request rate"),
        "{error}"
    );
}
