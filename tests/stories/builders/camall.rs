//! The settings of the adapter to camall.io.

use std::time::Duration;

use hallpass::{
    TokenRequest, TokenSource as _,
    camall::{Authentication, Camall, CamallBuilder},
    endpoint::Retry,
};
use hallpass_testkit::leak;

use super::{
    call_setup::{Origin, ServerUrls},
    pairs::{PairCounts, Setting, SettingSelection, check},
    run::{CallRecord, ID, World},
    server::Answer,
};
use crate::support::secret;

/// The observations of a source.
struct Observations {
    record: CallRecord,
    is_partial_grant_refused: bool,
    /// The number of requests to a server that is unavailable.
    attempts: usize,
}

fn rows<'a>() -> Vec<Setting<CamallBuilder, ServerUrls<'a>, Observations>> {
    let row = Setting::<CamallBuilder, ServerUrls<'a>, Observations>::new;
    vec![
        row(
            "authentication",
            |one, _| one.authentication(Authentication::Basic),
            |seen| seen.record.header("authorization").starts_with("Basic "),
        ),
        row(
            "clock",
            |one, urls| one.clock(urls.world.clock.clone()),
            |seen| seen.record.is_by_clock(),
        ),
        row(
            "danger_allow_http_on_loopback",
            |one, _| one.danger_allow_http_on_loopback(),
            |seen| {
                seen.record
                    .first()
                    .is_some_and(|request| !request.connection.is_tls)
            },
        ),
        row(
            "require_granted_scopes",
            |one, _| one.require_granted_scopes(),
            |seen| seen.is_partial_grant_refused,
        ),
        row(
            "retry",
            |one, _| one.retry(Retry::never()),
            |seen| seen.attempts == 1,
        ),
        row(
            "scope",
            |one, _| one.scope("orders.read"),
            |seen| seen.record.sent("scope", "orders.read"),
        ),
        row(
            "token_endpoint",
            |one, urls| one.token_endpoint(urls.url("replaced")),
            |seen| seen.record.requested("/replaced"),
        ),
        row(
            "transport",
            |one, urls| one.transport(urls.world.other_transport.clone()),
            |seen| seen.record.header("user-agent") == "other/1.0",
        ),
        row(
            "with_endpoint",
            |one, _| one.with_endpoint(|endpoint| endpoint.parameter("tenant", "blue")),
            |seen| seen.record.sent("tenant", "blue"),
        ),
    ]
}

#[tokio::test]
async fn every_two_settings_of_camall_work() {
    let rows = rows();
    let world = World::new().await;
    let runs = std::cell::Cell::new(0);
    let run = async |selection: &SettingSelection<'_, _, _, _>| {
        runs.set(runs.get() + 2);
        let is_plain = selection.has("danger_allow_http_on_loopback");
        let origin = if is_plain {
            Origin::Plain
        } else {
            Origin::Named
        };
        let urls = ServerUrls::new(&world, runs.get(), origin);
        let builder = Camall::builder(ID, secret("s3cr3t"))
            .token_endpoint(urls.url("token"))
            .retry(Retry::new().min_delay(Duration::ZERO))
            .transport(world.transport.clone());
        let source = selection.set(builder, &urls).build();
        let source = source.map_err(|error| leak::error_chain(&error))?;
        let token = source.token(&TokenRequest::default()).await.unwrap();
        let record = CallRecord::new(&urls, Ok(Some(token)));
        let set_answer = |answer| world.server.set_answer(urls.path_prefix, answer);
        set_answer(Answer {
            scope: Some("one"),
            ..Answer::default()
        });
        let both = TokenRequest::new().with_scopes("one two".parse().unwrap());
        let partial = source.token(&both).await;
        set_answer(Answer {
            status: 503,
            ..Answer::default()
        });
        let before = world.server.requests(urls.path_prefix).len();
        source.token(&TokenRequest::default()).await.unwrap_err();
        Ok(Observations {
            record,
            is_partial_grant_refused: partial.is_err(),
            attempts: world.server.requests(urls.path_prefix).len() - before,
        })
    };
    assert_eq!(
        check(("camall", "CamallBuilder"), &rows, &[], run).await,
        PairCounts {
            built: 81,
            refused: 0
        }
    );
}
