//! Metrics for Prometheus, traces for a collector, and the log on stderr.

use std::{env, error::Error};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// What is exported unless `RUST_LOG` says otherwise: the spans of this service and hallpass's, which hold no secret.
/// What an HTTP library traces at these levels is not known to.
const TRACED: &str = "off,observed_service=info,hallpass=debug";

#[derive(Clone)]
pub(crate) struct Telemetry {
    metrics: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs the exporters for this process; once.
    pub(crate) fn start(service: &'static str) -> Result<Self, Box<dyn Error>> {
        // Without buckets the exporter would make summaries, which cannot be added up over instances.
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Full("hallpass_fetch_duration_seconds".to_owned()),
                &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            )?
            .set_buckets_for_metric(
                Matcher::Full("hallpass_waiters".to_owned()),
                &[0.0, 1.0, 10.0, 100.0, 1_000.0],
            )?
            .set_buckets_for_metric(
                Matcher::Full("hallpass_token_age_seconds".to_owned()),
                &[10.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 86_400.0],
            )?
            .install_recorder()?;
        let traces = match env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT") {
            Some(_) => Some(exporter(service)?),
            None => None,
        };
        let filter = || EnvFilter::try_from_default_env().unwrap_or_else(|_| TRACED.into());
        let spans = traces.as_ref().map(|provider| {
            let layer = tracing_opentelemetry::layer();
            layer
                .with_tracer(provider.tracer(service))
                .with_filter(filter())
        });
        let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        tracing_subscriber::registry()
            .with(spans)
            .with(log.with_filter(filter()))
            .try_init()?;
        Ok(Self { metrics, traces })
    }

    /// All metrics as Prometheus reads them.
    pub(crate) fn metrics(&self) -> String {
        self.metrics.run_upkeep();
        self.metrics.render()
    }

    /// Exports what is left.
    pub(crate) fn end(&self) {
        if let Some(Err(error)) = self.traces.as_ref().map(SdkTracerProvider::shutdown) {
            eprintln!("traces were lost: {error}");
        }
    }
}

/// To the address in `OTEL_EXPORTER_OTLP_ENDPOINT`, by OTLP over HTTP.
fn exporter(service: &'static str) -> Result<SdkTracerProvider, Box<dyn Error>> {
    let exporter = SpanExporter::builder().with_http().build()?;
    let resource = Resource::builder().with_service_name(service).build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter);
    Ok(provider.build())
}
