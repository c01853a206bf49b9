//! The settings of the adapter to camall.io.

use std::time::Duration;

use hallpass::{
    TokenRequest, TokenSource as _,
    camall::{Authentication, Camall, CamallBuilder},
    endpoint::Retry,
};
use hallpass_testkit::leak;

use super::{
    pairs::{Chosen, Setting, check},
    run::{ID, Run, World},
    scene::{Origin, Site},
    server::Answer,
};
use crate::support::secret;

/// The observations of a source.
struct Seen {
    run: Run,
    is_partial_grant_refused: bool,
    /// The number of requests to a server that is unavailable.
    attempts: usize,
}

fn rows<'a>() -> Vec<Setting<CamallBuilder, Site<'a>, Seen>> {
    let row = Setting::<CamallBuilder, Site<'a>, Seen>::new;
    vec![
        row(
            "authentication",
            |one, _| one.authentication(Authentication::Basic),
            |seen| seen.run.header("authorization").starts_with("Basic "),
        ),
        row(
            "clock",
            |one, site| one.clock(site.world.clock.clone()),
            |seen| seen.run.is_by_clock(),
        ),
        row(
            "danger_allow_http_on_loopback",
            |one, _| one.danger_allow_http_on_loopback(),
            |seen| {
                seen.run
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
            |seen| seen.run.sent("scope", "orders.read"),
        ),
        row(
            "token_endpoint",
            |one, site| one.token_endpoint(site.url("replaced")),
            |seen| seen.run.requested("/replaced"),
        ),
        row(
            "transport",
            |one, site| one.transport(site.world.other_transport.clone()),
            |seen| seen.run.header("user-agent") == "other/1.0",
        ),
        row(
            "with_endpoint",
            |one, _| one.with_endpoint(|endpoint| endpoint.parameter("tenant", "blue")),
            |seen| seen.run.sent("tenant", "blue"),
        ),
    ]
}

#[tokio::test]
async fn every_two_settings_of_camall_work() {
    let rows = rows();
    let world = World::new().await;
    let runs = std::cell::Cell::new(0);
    let run = async |chosen: &Chosen<'_, _, _, _>| {
        runs.set(runs.get() + 2);
        let is_plain = chosen.has("danger_allow_http_on_loopback");
        let origin = if is_plain {
            Origin::Plain
        } else {
            Origin::Named
        };
        let site = Site::new(&world, runs.get(), origin);
        let builder = Camall::builder(ID, secret("s3cr3t"))
            .token_endpoint(site.url("token"))
            .retry(Retry::new().min_delay(Duration::ZERO))
            .transport(world.transport.clone());
        let source = chosen.set(builder, &site).build();
        let source = source.map_err(|error| leak::error_chain(&error))?;
        let token = source.token(&TokenRequest::default()).await.unwrap();
        let run = Run::new(&site, Ok(Some(token)));
        let set_answer = |answer| world.server.set_answer(site.run, answer);
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
        let before = world.server.requests(site.run).len();
        source.token(&TokenRequest::default()).await.unwrap_err();
        Ok(Seen {
            run,
            is_partial_grant_refused: partial.is_err(),
            attempts: world.server.requests(site.run).len() - before,
        })
    };
    assert_eq!(
        check(("camall", "CamallBuilder"), &rows, &[], run).await,
        [81, 0]
    );
}
