//! Metrics for Prometheus, traces for a collector, and logs on stderr.

use std::{env, error::Error};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// The default filter: spans of this service and of hallpass, which contain no secrets. Traces of HTTP libraries at
/// these levels may contain some.
const TRACED: &str = "off,observed_service=info,hallpass=debug";

#[derive(Clone)]
pub(crate) struct Telemetry {
    metrics: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs the exporters for this process; call it once.
    pub(crate) fn start(service: &'static str) -> Result<Self, Box<dyn Error>> {
        // Without buckets the exporter would produce summaries, which cannot be aggregated over instances.
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

    /// Renders all metrics in Prometheus's text format.
    pub(crate) fn metrics(&self) -> String {
        self.metrics.run_upkeep();
        self.metrics.render()
    }

    /// Exports the remaining spans.
    pub(crate) fn end(&self) {
        if let Some(Err(error)) = self.traces.as_ref().map(SdkTracerProvider::shutdown) {
            eprintln!("traces were lost: {error}");
        }
    }
}

/// Creates an OTLP exporter over HTTP for the address in `OTEL_EXPORTER_OTLP_ENDPOINT`.
fn exporter(service: &'static str) -> Result<SdkTracerProvider, Box<dyn Error>> {
    let exporter = SpanExporter::builder().with_http().build()?;
    let resource = Resource::builder().with_service_name(service).build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter);
    Ok(provider.build())
}
