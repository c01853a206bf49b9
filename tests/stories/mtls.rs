//! Clients that authenticate with a certificate, against a server with TLS.

use std::time::Duration;

use hallpass::{
    ErrorKind, SystemClock,
    cache::{CachedTokenSource, MemoryTokenStore},
    endpoint::{
        ClientCredentials, Endpoint, HttpTransport, MutualTls, PublicClient, Retry, TokenManagement,
    },
};
use hallpass_testkit::{
    AuthorizationServer,
    leak::{self, Capture},
};

use crate::{
    mtls_server::{Identity, MtlsServer, ask, client},
    support::{ID, secret},
    tls::Authority,
};

// covers: C-08, C-63, C-65
#[tokio::test]
async fn the_certificate_is_presented_and_the_form_names_the_client() {
    let server = MtlsServer::start().await;
    let identity = server.identity("a");
    server.register(&identity);
    let (certificate, key) = (secret(&identity.certificate), secret(&identity.key));
    let source = server.source(MutualTls::from_pair(certificate, key));
    let source = source.build().unwrap();
    for _ in 0..3 {
        let token = ask(&source).await.unwrap();
        assert!(token.binding().is_some_and(|binding| !binding.has_ended()));
    }
    let requests = server.token_requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(
            request.form,
            format!("grant_type=client_credentials&client_id={ID}")
        );
        assert_eq!((&*request.client, request.status), ("a", 200));
        assert_eq!(request.connection, 0, "connections are pooled");
    }
}

/// Without idle connections each request opens one, and TLS sessions are resumed only for the same certificate.
// covers: C-65, F-110
#[tokio::test]
async fn certificates_share_no_connection_and_no_tls_session() {
    for pooled in [true, false] {
        let server = MtlsServer::start().await;
        let (_a, text) = client(&server, "a");
        let b = server.identity("b");
        server.register(&b);
        let transport = server.transport();
        let transport = if pooled {
            transport
        } else {
            transport.pool_idle_timeout(Duration::ZERO)
        };
        let source = server.source(MutualTls::new(text.clone()));
        let source = source
            .transport(transport.build().unwrap())
            .build()
            .unwrap();
        let first = ask(&source).await.unwrap();
        ask(&source).await.unwrap();
        text.rotate(&b.pem());
        let second = ask(&source).await.unwrap();
        ask(&source).await.unwrap();
        assert!(first.binding().unwrap().has_ended());
        assert!(!second.binding().unwrap().has_ended());
        let records = server.records();
        let seen: Vec<_> = records
            .iter()
            .map(|record| (&*record.client, record.connection, record.resumed))
            .collect();
        if pooled {
            assert_eq!(
                seen,
                [
                    ("a", 0, false),
                    ("a", 0, false),
                    ("b", 1, false),
                    ("b", 1, false)
                ]
            );
            // Connections idle with the old certificate are closed at once, not by a timeout.
            while server.ended() != [0] {
                tokio::task::yield_now().await;
            }
        } else {
            assert_eq!(
                seen,
                [
                    ("a", 0, false),
                    ("a", 1, true),
                    ("b", 2, false),
                    ("b", 3, true)
                ]
            );
        }
    }
}

// covers: F-110
#[tokio::test]
async fn a_certificate_replaced_after_a_refusal_is_tried_once() {
    let server = MtlsServer::start().await;
    let (a, text) = client(&server, "a");
    let b = server.identity("b");
    server.register(&b);
    let source = server.source(MutualTls::new(text.clone())).build().unwrap();
    server.forget(&a);
    text.rotate_after_reading(&b.pem());
    ask(&source).await.unwrap();
    let answers: Vec<_> = server
        .token_requests()
        .iter()
        .map(|request| (request.client.clone(), request.status))
        .collect();
    assert_eq!(
        answers,
        [("a stranger".to_owned(), 401), ("b".to_owned(), 200)]
    );
    assert_eq!(text.refusals(), 1);

    // An unchanged certificate is not retried.
    server.forget(&b);
    let error = ask(&source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    let hint = error.hint().unwrap();
    assert!(hint.contains("trusts the certificate's issuer"), "{hint}");
    assert_eq!((server.token_requests().len(), text.refusals()), (3, 2));
}

// covers: F-43
#[tokio::test]
async fn a_certificate_refused_in_tls_is_not_an_outage() {
    let server = MtlsServer::start().await;
    let stranger = Identity::new(&Authority::new("a stranger"), "a");
    let authentication = MutualTls::new(secret(&stranger.pem())).self_signed();
    let error = ask(&server.source(authentication).build().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
    assert!(!error.is_transient() && error.to_string().contains("client certificate in TLS"));
    let hint = error.hint().unwrap();
    assert!(hint.contains("this very certificate"), "{hint}");

    let none = server.source(MutualTls::new(secret("unused")));
    let error = ask(&none.authentication(PublicClient::new()).build().unwrap()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
    assert!(
        error.to_string().contains("the server requires one"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("`MutualTls`"));
    assert!(server.records().is_empty());
}

#[tokio::test]
async fn where_a_certificate_cannot_be_presented_nothing_is_sent() {
    let server = MtlsServer::start().await;
    let (_a, text) = client(&server, "a");
    let authentication = MutualTls::new(text);
    let theirs = HttpTransport::danger_from_client(reqwest::Client::new());
    let source = server
        .source(authentication.clone())
        .transport(theirs)
        .build()
        .unwrap();
    let error = ask(&source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("danger_from_client"), "{error}");
    assert!(server.records().is_empty());

    let plain = AuthorizationServer::builder().start().await;
    let source = server
        .source(authentication)
        .token_endpoint(plain.token_endpoint());
    let source = source.danger_allow_http_on_loopback().build().unwrap();
    let error = ask(&source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("over plain HTTP"), "{error}");
    assert_eq!(plain.token_request_count(), 0);
}

// covers: C-64
#[tokio::test]
async fn the_alias_is_for_clients_with_a_certificate_alone() {
    let server = MtlsServer::open_to_all().await;
    let (_a, text) = client(&server, "a");
    let transport = || server.transport().build().unwrap();
    let issuer = server.issuer();
    server.publish(format!(
        r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/usual","introspection_endpoint":"{issuer}/usual",
            "mtls_endpoint_aliases":{{"token_endpoint":"{issuer}/token","introspection_endpoint":"{issuer}/introspect"}}}}"#
    ));
    let known = Endpoint::new(server.url("/usual")).with_mtls_alias(server.url("/token"));
    let found = Endpoint::discover(issuer.clone()).transport(transport());
    let found = found.build().unwrap();
    for endpoint in [known, found.clone()] {
        let source = server.source(MutualTls::new(text.clone()));
        let source = source.token_endpoint(endpoint.clone()).build().unwrap();
        ask(&source).await.unwrap();
        assert_eq!(server.records().pop().unwrap().path, "/token");
        let without = ClientCredentials::builder(endpoint, ID, PublicClient::new())
            .transport(transport())
            .retry(Retry::never());
        ask(&without.build().unwrap()).await.unwrap_err();
        assert_eq!(server.records().pop().unwrap().path, "/usual");
    }
    let source = server.source(MutualTls::new(text.clone())).build().unwrap();
    let token = ask(&source).await.unwrap();
    server.publish(format!(
        r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/token",
            "mtls_endpoint_aliases":{{"introspection_endpoint":"{issuer}/introspect"}}}}"#
    ));
    let alone = Endpoint::discover(issuer).transport(transport());
    let alone = alone.build().unwrap();
    for endpoint in [found, alone.clone()] {
        let tokens = TokenManagement::builder(endpoint, ID, MutualTls::new(text.clone()))
            .transport(transport())
            .build()
            .unwrap();
        assert!(tokens.introspect(&token).await.unwrap().is_active());
        let last = server.records().pop().unwrap();
        assert_eq!((&*last.path, &*last.client), ("/introspect", "a"));
    }
    let without = TokenManagement::builder(alone, ID, PublicClient::new()).transport(transport());
    let error = without.build().unwrap().introspect(&token).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Configuration);

    let wrong = Endpoint::new(server.url("/token")).with_mtls_alias("http://localhost/token");
    let source = ClientCredentials::builder(wrong, ID, PublicClient::new()).build();
    assert_eq!(source.unwrap_err().setting(), "mtls_alias");
}

// covers: C-65
#[tokio::test]
async fn a_shared_store_has_tokens_that_are_bound_to_nothing_alone() {
    let server = MtlsServer::start().await;
    let (_a, text) = client(&server, "a");
    let authentication = MutualTls::new(text);
    for (authentication, requests) in [
        (authentication.clone(), 2),
        (authentication.unbound_tokens(), 1),
    ] {
        let store = MemoryTokenStore::new(SystemClock);
        let before = server.records().len();
        for _ in 0..2 {
            let source = server.source(authentication.clone()).build().unwrap();
            let cache = CachedTokenSource::builder(source).store(store.clone(), "mtls");
            let cache = cache.build();
            ask(&cache).await.unwrap();
            while cache.stats().flights > 0 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(server.records().len() - before, requests);
    }
}

/// One transport serves clients with different certificates, each on its own connections.
#[tokio::test]
async fn clients_that_share_a_transport_do_not_share_connections() {
    let server = MtlsServer::start().await;
    let transport = server.transport().build().unwrap();
    let sources: Vec<_> = ["a", "b"]
        .map(|name| {
            let (_, text) = client(&server, name);
            let source = server.source(MutualTls::new(text));
            source.transport(transport.clone()).build().unwrap()
        })
        .into();
    for _ in 0..3 {
        for source in &sources {
            ask(source).await.unwrap();
        }
    }
    for (nth, record) in server.records().iter().enumerate() {
        assert_eq!(record.connection, nth % 2);
        assert_eq!(record.client, ["a", "b"][nth % 2]);
    }
}

// covers: F-99, F-100, F-101, I-14
#[tokio::test]
async fn nothing_that_is_shown_or_traced_holds_key_or_certificate() {
    let capture = Capture::start();
    let server = MtlsServer::start().await;
    let (a, text) = client(&server, "a");
    let b = server.identity("b");
    let authentication = MutualTls::new(text.clone());
    let unbuilt = server.source(authentication.clone());
    let mut shown = format!("{unbuilt:?} {unbuilt:#?}");
    let source = unbuilt.build().unwrap();
    let token = ask(&source).await.unwrap();
    shown += &format!(
        "{source:?} {authentication:?} {token:?} {:?}",
        token.binding()
    );
    // First unknown to the server, then unusable for various reasons.
    text.rotate(&b.pem());
    shown += &leak::error_chain(&ask(&source).await.unwrap_err());
    for wrong in [
        format!("{}{}", a.certificate, b.key),
        a.key.clone(),
        b.pem().replace("-----END", "----END"),
    ] {
        text.rotate(&wrong);
        shown += &leak::error_chain(&ask(&source).await.unwrap_err());
    }
    let texts = [&shown, &capture.text()];
    for identity in [&a, &b] {
        for line in identity.key.lines().filter(|line| !line.starts_with('-')) {
            // Positive control: it is the text that was read.
            assert!(leak::find(&identity.pem(), line).is_some());
            for text in texts {
                leak::assert_clean(text, line);
            }
        }
    }
    assert!(capture.text().contains("certificate changed"));
    assert!(capture.text().contains("hyper_util"), "nothing was traced");
}
