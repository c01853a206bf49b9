use std::{error::Error, sync::Arc};

use rdkafka::{
    ClientContext, Statistics,
    client::{DefaultClientContext, OAuthToken},
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::KafkaError,
    message::DeliveryResult,
    producer::{Partitioner, ProducerContext},
};

use crate::KafkaTokens;

/// A context of a Kafka client that authenticates with the tokens of a source (SASL/OAUTHBEARER, RFC 7628).
///
/// It can wrap a context of your own, to which it forwards all other calls, for any producer. A consumer's callbacks name the type of
/// its context, so that they cannot be forwarded: give your own consumer context a field of type [`KafkaTokens`].
#[derive(Debug)]
pub struct TokenContext<C = DefaultClientContext> {
    tokens: Arc<KafkaTokens>,
    inner: C,
}

impl TokenContext {
    /// Creates a context with these tokens, and rdkafka's default behaviour.
    pub fn new(tokens: impl Into<Arc<KafkaTokens>>) -> Self {
        Self::with_context(tokens, DefaultClientContext)
    }
}

impl<C> TokenContext<C> {
    /// Creates a context with these tokens around another one, which receives all other calls.
    ///
    /// Keep an `Arc` of the tokens to read their [last error](KafkaTokens::last_error): a `FutureProducer` does not show
    /// its context.
    pub fn with_context(tokens: impl Into<Arc<KafkaTokens>>, inner: C) -> Self {
        let tokens = tokens.into();
        Self { tokens, inner }
    }

    /// Returns the tokens.
    pub fn tokens(&self) -> &KafkaTokens {
        &self.tokens
    }

    /// Returns the inner context.
    pub fn inner(&self) -> &C {
        &self.inner
    }
}

impl<C: ClientContext> ClientContext for TokenContext<C> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.inner.log(level, fac, log_message);
    }

    fn stats(&self, statistics: Statistics) {
        self.inner.stats(statistics);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.inner.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.tokens.handle_error(&error, reason);
        self.inner.error(error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.tokens.oauth_token()?)
    }
}

impl<C, P> ProducerContext<P> for TokenContext<C>
where
    C: ProducerContext<P>,
    P: Partitioner,
{
    type DeliveryOpaque = C::DeliveryOpaque;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        self.inner.delivery(result, opaque);
    }

    fn get_custom_partitioner(&self) -> Option<&P> {
        self.inner.get_custom_partitioner()
    }
}

impl ConsumerContext for TokenContext {}
