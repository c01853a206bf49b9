//! Tenants of a configuration file: client certificates, certificate authorities, metrics.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc, time::Duration};

use hallpass::{
    TokenRequest, TokenSource as _, TokenSourceExt as _,
    profiles::{Profiles, TenantMetrics, TenantSource, Tenants},
};
use metrics_util::debugging::DebuggingRecorder;
use tempfile::TempDir;

use crate::{mtls_server::MtlsServer, tls::Authority};

struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Loads tenants that authenticate with certificates: the name of each, and the file of its certificate.
    fn tenants(&self, server: &MtlsServer, tenants: &[(&str, &str)]) -> Tenants {
        let authority = self.write("ca.pem", &server.authority.certificate().pem());
        let profiles = tenants.iter().map(|(name, certificate)| {
            format!(
                "[profile.{name}]\ntoken_endpoint = '{}'\nclient_id = '{name}'\n\
                 certificate = 'file:{}'\nca_file = '{}'\n",
                server.url("/token"),
                self.0.path().join(certificate).display(),
                authority.display(),
            )
        });
        let file = self.write("tenants.toml", &profiles.collect::<String>());
        // A refused token is replaced at once.
        let builder =
            Tenants::builder().cache(|_, cache| cache.min_interval(Duration::from_millis(1)));
        builder.load(Profiles::builder().file(file)).unwrap()
    }
}

/// Requests a new token.
async fn refetch(source: &Arc<TenantSource>) {
    let request = TokenRequest::default();
    if let Some(token) = source.ready_token(&request) {
        source.invalidate(&token);
    }
    source.access_token(&request).await.unwrap();
}

#[tokio::test]
async fn tenants_do_not_share_connections_of_certificates() {
    let server = MtlsServer::start().await;
    let directory = Directory::new();
    for name in ["a", "b"] {
        let identity = server.identity(name);
        server.register(&identity);
        directory.write(&format!("{name}.pem"), &identity.pem());
    }
    // The last two have the same certificate, and still an identity each.
    let tenants = [("a", "a.pem"), ("b", "b.pem"), ("c", "b.pem")];
    let tenants = directory.tenants(&server, &tenants);
    let sources = ["a", "b", "c"].map(|name| tenants.source(name).unwrap());
    for _ in 0..3 {
        for source in &sources {
            refetch(source).await;
        }
    }
    let requests = server.token_requests();
    assert_eq!(requests.len(), 9);
    for (nth, request) in requests.iter().enumerate() {
        assert_eq!(request.connection, nth % 3);
        assert_eq!(request.client, ["a", "b", "b"][nth % 3]);
    }
}

#[tokio::test]
async fn a_reload_uses_replaced_authorities_and_keeps_tokens() {
    let server = MtlsServer::start().await;
    let directory = Directory::new();
    let identity = server.identity("a");
    server.register(&identity);
    directory.write("a.pem", &identity.pem());
    let tenants = directory.tenants(&server, &[("a", "a.pem")]);
    let source = tenants.source("a").unwrap();
    refetch(&source).await;
    tenants.reload().await.unwrap();
    refetch(&source).await;
    let connections = || {
        let requests = server.token_requests().into_iter();
        requests
            .map(|request| request.connection)
            .collect::<Vec<_>>()
    };
    // The control: the file is the same, and so is the transport.
    assert_eq!(connections(), [0, 0]);
    let authority = server.authority.certificate().pem();
    let other = Authority::new("other").certificate().pem();
    directory.write("ca.pem", &(authority + &other));
    let reload = tenants.reload().await.unwrap();
    assert!(reload.changed.is_empty() && reload.failed.is_empty());
    source.access_token(&TokenRequest::default()).await.unwrap();
    assert_eq!(connections(), [0, 0]);
    refetch(&source).await;
    assert_eq!(connections(), [0, 0, 1]);
    // A file that is no certificate is reported, and the certificates that were read stay in use.
    directory.write("ca.pem", "no certificate");
    let reload = tenants.reload().await.unwrap();
    let (name, error) = &reload.failed[0];
    assert!(
        name == "a" && error.to_string().contains("ca_file"),
        "{error}"
    );
    refetch(&source).await;
    assert_eq!(connections(), [0, 0, 1, 1]);
}

#[tokio::test]
async fn many_tenants_add_one_set_of_metrics_by_default() {
    for (metrics, labels) in [
        (TenantMetrics::default(), &["tenants"][..]),
        (TenantMetrics::PerTenant, &["t0", "t1", "t2"]),
        (TenantMetrics::None, &[]),
    ] {
        let recorder = DebuggingRecorder::new();
        let _recording = metrics::set_default_local_recorder(&recorder);
        let tenants = Tenants::builder().metrics(metrics).build(|_| {
            let token = hallpass_testkit::StaticSource::new("t");
            Ok::<_, std::convert::Infallible>(token)
        });
        for number in 0..3 {
            let source = tenants.source(&format!("t{number}")).unwrap();
            source.access_token(&TokenRequest::default()).await.unwrap();
        }
        let series = recorder.snapshotter().snapshot().into_vec();
        let keys = series.into_iter().map(|(key, ..)| key.into_parts().1);
        let caches = keys.map(|key| {
            let label = key.labels().find(|label| label.key() == "cache").unwrap();
            label.value().to_owned()
        });
        let caches: BTreeSet<String> = caches.collect();
        assert_eq!(caches.iter().collect::<Vec<_>>(), labels);
    }
}
