//! Detection of requests on pooled connections, as opposed to connections opened for them.

use std::{
    cell::Cell,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    /// Set when the client starts a connection while it sends this task's request.
    static CONNECTING: Cell<bool>;
}

/// Sends a request; returns its result, and true if no connection was opened for it.
///
/// If a connection was opened but a pooled one became free first, the request counts as one on a new connection, which
/// is the safe choice.
pub(super) async fn observe<T>(sent: impl Future<Output = T>) -> (T, bool) {
    let observed = async {
        let result = sent.await;
        (result, !CONNECTING.with(Cell::get))
    };
    CONNECTING.scope(Cell::new(false), observed).await
}

/// A layer around the client's connector, which is called in the task of the request that needs a connection.
#[derive(Clone, Copy)]
pub(super) struct ObserveConnects;

#[derive(Clone)]
pub(super) struct ConnectObserver<S>(S);

impl<S> Layer<S> for ObserveConnects {
    type Service = ConnectObserver<S>;

    fn layer(&self, connector: S) -> ConnectObserver<S> {
        ConnectObserver(connector)
    }
}

impl<S: Service<R>, R> Service<R> for ConnectObserver<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: R) -> S::Future {
        // Fails if a connection is opened for no request in particular.
        let _ = CONNECTING.try_with(|connecting| connecting.set(true));
        self.0.call(target)
    }
}
