//! The table of token management.

use std::time::Duration;

use hallpass::endpoint::{Retry, TokenManagement, TokenManagementBuilder};
use serde_json::json;

use super::{
    expected::ClientKind,
    rows,
    table::{Counts, Table},
};
use crate::support::static_token;

#[tokio::test]
async fn token_management() {
    let table = Table {
        client: ClientKind::Management,
        rows: rows::management(),
        new: |endpoint, id, authentication, _| {
            TokenManagement::builder(endpoint, id, authentication)
        },
        base: |builder: TokenManagementBuilder, urls| {
            builder
                .transport(urls.world.transport.clone())
                .retry(Retry::new().min_delay(Duration::ZERO))
        },
        build: |builder, _| builder.build(),
        answer: |answer| answer.members.push(("active", json!(true))),
        call: |tokens, _| {
            Box::pin(async {
                let token = static_token("t");
                assert!(tokens.introspect(&token).await?.is_active());
                tokens.revoke(&token).await?;
                Ok(None)
            })
        },
        seen: |record| record.sent("token", "t"),
    };
    table
        .check(Counts {
            built: 3_066,
            refused: 570,
            called: 224,
        })
        .await;
}
