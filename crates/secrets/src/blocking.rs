use hallpass_core::SecretError;
use tokio::runtime::Handle;

/// Does what may block on a thread that may be blocked; where there is no runtime there is no worker to spare.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SecretError> + Send + 'static,
) -> Result<T, SecretError> {
    let Ok(runtime) = Handle::try_current() else {
        return work();
    };
    // It fails where the work panicked, which it does not, or where the runtime shuts down.
    runtime.spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(SecretError::unavailable(
            "the secret was not read: the runtime is shutting down",
        ))
    })
}
