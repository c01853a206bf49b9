use hallpass_blocking::{BlockingTokenSource, BlockingTokenSourceBuilder};
use hallpass_core::TokenSource;
use opentelemetry::Context;

/// Creates a builder for the tokens of exporters: an async source with a thread and a tokio runtime of its own.
///
/// The batch processors of the SDK export on threads that have no runtime, and at the end of a process also when the
/// program's runtime no longer runs; the fetch of a token needs one.
///
/// Telemetry of the tasks on this thread is suppressed, such as the spans and log records of an HTTP client's
/// connections: exporting them would produce more of them. `source` should be a cache, and may be shared with the rest of
/// the program.
pub fn exporter_tokens(source: impl TokenSource + 'static) -> BlockingTokenSourceBuilder {
    BlockingTokenSource::builder(source).thread_scope(Context::enter_telemetry_suppressed_scope)
}
