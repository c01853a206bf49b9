//! A context of a program's own within a `TokenContext`.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hallpass_rdkafka::{KafkaTokens, TokenContext};
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{
        BaseProducer, BaseRecord, Partitioner, Producer as _, ProducerContext, PurgeConfig,
    },
};
use tokio::runtime::Handle;

use crate::support::Source;

#[derive(Default)]
struct Own {
    partitioner: First,
    has_partitioner: AtomicBool,
    delivered: Mutex<Vec<(u32, Option<KafkaError>)>>,
}

#[derive(Default)]
struct First;

impl Partitioner for First {
    fn partition(&self, _: &str, _: Option<&[u8]>, _: i32, _: impl Fn(i32) -> bool) -> i32 {
        0
    }
}

impl ClientContext for Own {}

impl ProducerContext<First> for Own {
    type DeliveryOpaque = Box<u32>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u32>) {
        let error = result.as_ref().err().map(|(error, _)| error.clone());
        self.delivered.lock().unwrap().push((*number, error));
    }

    fn get_custom_partitioner(&self) -> Option<&First> {
        self.has_partitioner.store(true, Ordering::SeqCst);
        Some(&self.partitioner)
    }
}

#[tokio::test]
async fn an_inner_context_receives_the_calls_of_a_producer() {
    let tokens = KafkaTokens::new(Source::default(), Handle::current());
    let context = TokenContext::with_context(tokens, Own::default());
    let producer: BaseProducer<TokenContext<Own>, First> = ClientConfig::new()
        .set("bootstrap.servers", "127.0.0.1:1")
        // Without a topic's setting, rdkafka 0.39 sets a partitioner through a null pointer.
        .set("message.timeout.ms", "60000")
        .create_with_context(context)
        .unwrap();
    let own = producer.context().inner();
    assert!(own.has_partitioner.load(Ordering::SeqCst));
    let record = BaseRecord::with_opaque_to("orders", Box::new(7));
    assert!(producer.send(record.key("key").payload("an order")).is_ok());
    producer.purge(PurgeConfig::default().queue());
    producer.flush(Duration::from_secs(60)).unwrap();
    let purged = KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue);
    assert_eq!(*own.delivered.lock().unwrap(), [(7, Some(purged))]);
}
