//! No token is sent from HTTPS to plain HTTP, not even at the same host and port.

use std::sync::{Arc, Mutex};

use hallpass::{
    authorize::Authorizer,
    reqwest_ext::{RequestBuilderExt as _, same_origin_redirects},
};
use hallpass_testkit::StaticSource;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, rustls::pki_types::PrivateKeyDer};

use crate::{support::static_token, tls_server::server_config};

type RequestLog = Arc<Mutex<Vec<(bool, String)>>>;

/// A server with TLS and plain HTTP on one port. Over TLS, it redirects to `http://` at the same address.
async fn serve(acceptor: TlsAcceptor) -> (u16, RequestLog, JoinSet<()>) {
    const TLS_HANDSHAKE: u8 = 0x16;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = RequestLog::default();
    let mut tasks = JoinSet::new();
    let noted = seen.clone();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, noted) = (acceptor.clone(), noted.clone());
            connections.spawn(async move {
                let mut first = [0];
                stream.peek(&mut first).await.unwrap();
                if first[0] == TLS_HANDSHAKE {
                    let there = format!("location: http://localhost:{port}/there\r\n");
                    let stream = acceptor.accept(stream).await.unwrap();
                    let request = answer(stream, "307 Temporary Redirect", &there).await;
                    noted.lock().unwrap().push((true, request));
                } else {
                    let request = answer(stream, "200 OK", "").await;
                    noted.lock().unwrap().push((false, request));
                }
            });
        }
    });
    (port, seen, tasks)
}

async fn answer<S>(mut stream: S, status: &str, header: &str) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
    let answer =
        format!("HTTP/1.1 {status}\r\n{header}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(request).unwrap()
}

fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn acceptor(issuer: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = server_config()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

// covers: C-37, I-03, I-04
#[tokio::test]
async fn a_redirect_to_plain_http_carries_no_token() {
    let issuer = issuer();
    let (port, seen, _tasks) = serve(acceptor(&issuer)).await;
    let origin = format!("https://localhost:{port}");
    let source = Arc::new(StaticSource::new(static_token("CANARY-token")));
    let authorizer = Authorizer::builder(source)
        .allow_origin(&origin)
        .build()
        .unwrap();
    let builder = || {
        let root = reqwest::Certificate::from_pem(issuer.pem().as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([root])
    };

    // A client that follows redirects as reqwest does by default.
    let following = builder().build().unwrap();
    let response = following.get(&origin).send_with(&authorizer).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.url().scheme()),
        (200, "http")
    );
    let requests = std::mem::take(&mut *seen.lock().unwrap());
    let [(true, over_tls), (false, plain)] = &requests[..] else {
        panic!("{requests:?}");
    };
    assert!(
        over_tls.contains("authorization: Bearer CANARY-token"),
        "{over_tls}"
    );
    assert!(
        plain.starts_with("GET /there") && !plain.contains("CANARY"),
        "{plain}"
    );

    // A client without redirects sends no further request.
    let staying = builder().redirect(same_origin_redirects()).build().unwrap();
    let response = staying.get(&origin).send_with(&authorizer).await.unwrap();
    assert_eq!(response.status(), 307);
    assert_eq!(seen.lock().unwrap().len(), 1);

    // And plain HTTP was never allowed.
    let plain = origin.replace("https", "http");
    let error = following
        .get(&plain)
        .send_with(&authorizer)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("use `https://`"), "{error}");
}
