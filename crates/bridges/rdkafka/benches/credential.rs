//! The cost of a cached token in librdkafka's callback, compared with a token from a static text.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../turns.rs"]
mod turns;

use std::{error::Error, hint::black_box};

use hallpass_cache::CachedTokenSource;
use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_rdkafka::{KafkaTokens, TokenContext};
use hallpass_testkit::FakeTokens;
use rdkafka::{ClientContext, client::OAuthToken};
use tokio::runtime::Handle;

/// A context as a program without token requests writes it.
struct Fixed {
    token: String,
    lifetime_ms: i64,
}

impl ClientContext for Fixed {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(OAuthToken {
            token: self.token.clone(),
            principal_name: "hallpass".to_owned(),
            lifetime_ms: self.lifetime_ms,
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let source = CachedTokenSource::builder(FakeTokens::valid()).build();
    let token = source.token(&TokenRequest::new()).await.unwrap();
    let cached = TokenContext::new(KafkaTokens::new(source, Handle::current()));
    let fixed = Fixed {
        token: token.expose().to_owned(),
        lifetime_ms: i64::MAX,
    };
    turns::compare(
        "credential",
        1_000,
        async || generate(&cached),
        async || generate(&fixed),
    )
    .await;
    turns::allocations(
        "credential",
        async || generate(&cached),
        async || generate(&fixed),
    );
}

fn generate(context: &impl ClientContext) {
    drop(black_box(context.generate_oauth_token(None).unwrap()));
}
