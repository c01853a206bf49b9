//! A collector on loopback that checks the token of each export, and exporters that send to it.

#![allow(dead_code, clippy::unwrap_used)]

mod collector;

use std::{sync::Arc, time::Duration};

use hallpass_blocking::BlockingAuthorizer;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    AccessToken, Secret, TokenError, TokenRequest, TokenSource, authorize::Authorizer,
};
use hallpass_endpoint::{ClientCredentials, ClientSecretBasic};
use hallpass_opentelemetry::{TokenHttpClient, exporter_tokens, token_channel};
use hallpass_testkit::{AuthorizationServer, Client, ManualClock};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, RetryPolicy, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{error::OTelSdkResult, trace::SdkTracerProvider};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

pub(crate) use collector::Collector;

pub(crate) const LIFETIME: Duration = Duration::from_secs(3_600);
/// The age of a token that is refreshed at its next use, a second before it expires.
pub(crate) const NEARLY_EXPIRED: Duration = Duration::from_secs(3_599);
pub(crate) const DEFAULT: TokenRequest = TokenRequest::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Http,
    Grpc,
}

pub(crate) const BOTH: [Transport; 2] = [Transport::Http, Transport::Grpc];

/// An authorization server, a cache of its tokens, and a collector, on a runtime that the exporters do not know.
pub(crate) struct World {
    pub(crate) server: AuthorizationServer,
    pub(crate) clock: ManualClock,
    pub(crate) tokens: Arc<dyn TokenSource>,
    pub(crate) collector: Collector,
    http: String,
    grpc: String,
    runtime: Runtime,
}

impl World {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let collector = Collector::default();
        let (server, http, grpc) = runtime.block_on(async {
            let server = AuthorizationServer::builder().client(Client::new("orders", "s3cr3t"));
            let server = server.lifetime(LIFETIME).start().await;
            (
                server,
                collector.serve_http().await,
                collector.serve_grpc().await,
            )
        });
        let clock = ManualClock::new();
        let tokens = cached_tokens(&server, &clock);
        Self {
            server,
            clock,
            tokens,
            collector,
            http,
            grpc,
            runtime,
        }
    }

    pub(crate) fn url(&self, transport: Transport) -> &str {
        match transport {
            Transport::Http => &self.http,
            Transport::Grpc => &self.grpc,
        }
    }

    /// Creates an authorizer for exports to the collector, with tokens of `source`.
    pub(crate) fn authorizer(
        &self,
        transport: Transport,
        source: impl TokenSource + 'static,
    ) -> BlockingAuthorizer {
        let tokens = exporter_tokens(source).build().unwrap();
        let authorizer = Authorizer::builder(tokens.source())
            .allow_origin(self.url(transport))
            .clock(self.clock.clone())
            .danger_allow_http_on_loopback();
        BlockingAuthorizer::new(tokens, authorizer.build().unwrap())
    }

    pub(crate) fn channel(&self, authorizer: &BlockingAuthorizer) -> Result<Channel, TokenError> {
        token_channel(
            authorizer,
            &Endpoint::from_shared(self.grpc.clone()).unwrap(),
        )
    }

    pub(crate) fn span_exporter(
        &self,
        transport: Transport,
        authorizer: &BlockingAuthorizer,
    ) -> SpanExporter {
        let exporter = SpanExporter::builder();
        match transport {
            Transport::Http => exporter
                .with_http()
                .with_endpoint(format!("{}/v1/traces", self.http))
                .with_http_client(TokenHttpClient::new(authorizer, http_client()))
                .with_retry_policy(fast_retries())
                .build(),
            Transport::Grpc => exporter
                .with_tonic()
                .with_channel(self.channel(authorizer).unwrap())
                .with_retry_policy(fast_retries())
                .build(),
        }
        .unwrap()
    }

    pub(crate) fn log_exporter(
        &self,
        transport: Transport,
        authorizer: &BlockingAuthorizer,
    ) -> LogExporter {
        let exporter = LogExporter::builder();
        match transport {
            Transport::Http => exporter
                .with_http()
                .with_endpoint(format!("{}/v1/logs", self.http))
                .with_http_client(TokenHttpClient::new(authorizer, http_client()))
                .build(),
            Transport::Grpc => exporter
                .with_tonic()
                .with_channel(self.channel(authorizer).unwrap())
                .build(),
        }
        .unwrap()
    }

    pub(crate) fn metric_exporter(
        &self,
        transport: Transport,
        authorizer: &BlockingAuthorizer,
    ) -> MetricExporter {
        let exporter = MetricExporter::builder();
        match transport {
            Transport::Http => exporter
                .with_http()
                .with_endpoint(format!("{}/v1/metrics", self.http))
                .with_http_client(TokenHttpClient::new(authorizer, http_client()))
                .build(),
            Transport::Grpc => exporter
                .with_tonic()
                .with_channel(self.channel(authorizer).unwrap())
                .build(),
        }
        .unwrap()
    }

    /// Creates a pipeline with the SDK's batch processor, and tokens of `source`.
    pub(crate) fn traces(
        &self,
        transport: Transport,
        source: impl TokenSource + 'static,
    ) -> SdkTracerProvider {
        let authorizer = self.authorizer(transport, source);
        let exporter = self.span_exporter(transport, &authorizer);
        SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .build()
    }

    /// Returns the cached token.
    pub(crate) fn current(&self) -> AccessToken {
        self.tokens.ready_token(&DEFAULT).unwrap()
    }
}

/// Ends a span of this name, and exports it.
pub(crate) fn export(provider: &SdkTracerProvider, name: &'static str) -> OTelSdkResult {
    provider.tracer("test").start(name).end();
    provider.force_flush()
}

/// Three retries, as by default, but at once.
fn fast_retries() -> RetryPolicy {
    RetryPolicy::default()
        .with_initial_delay(Duration::from_millis(1))
        .with_max_delay(Duration::from_millis(1))
        .with_max_jitter(Duration::ZERO)
}

pub(crate) fn http_client() -> reqwest::Client {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    client.build().unwrap()
}

fn cached_tokens(server: &AuthorizationServer, clock: &ManualClock) -> Arc<dyn TokenSource> {
    let secret = Secret::new("s3cr3t").unwrap();
    let source = ClientCredentials::builder(
        server.token_endpoint(),
        "orders",
        ClientSecretBasic::new(secret),
    );
    let source = source
        .clock(clock.clone())
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    Arc::new(
        CachedTokenSource::builder(source)
            .clock(clock.clone())
            .build(),
    )
}
