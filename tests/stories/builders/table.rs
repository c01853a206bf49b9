//! A table of the settings of a client: its pairs are run with each client authentication method, and with an endpoint
//! that is set or discovered.

use std::cell::Cell;

use hallpass::{
    TokenRequest,
    endpoint::{BuildError, ClientAuthentication, Endpoint},
};
use hallpass_testkit::leak;

use super::{
    expected::{Case, Grant},
    method::Method,
    pairs::is_named,
    rows::{Row, Set},
    run::{Outcome, Run, World},
    scene::{Scene, Site},
    server::Answer,
    settings::assert_none,
};

/// A builder with its settings.
pub(super) struct Table<B, T> {
    pub(super) grant: Grant,
    pub(super) rows: Vec<Row<B>>,
    pub(super) new: fn(Endpoint, &str, Box<dyn ClientAuthentication>, &Site<'_>) -> B,
    /// Sets what all runs need.
    pub(super) base: fn(B, &Site<'_>) -> B,
    pub(super) build: fn(B, &Site<'_>) -> Result<T, BuildError>,
    pub(super) answer: fn(&mut Answer),
    pub(super) call: for<'a> fn(&'a T, &'a TokenRequest) -> Outcome<'a>,
    /// True if a call is one of this grant.
    pub(super) seen: fn(&Run) -> bool,
}

/// The number of pairs after which a method is called with the same grant again.
const TURNS: usize = Method::ALL.len();

/// The numbers of builders and of calls, and what is wrong.
#[derive(Default)]
struct Report {
    built: usize,
    refused: usize,
    called: usize,
    faults: Vec<String>,
}

/// The runs of a pair with a method.
#[derive(Clone, Copy)]
struct Turn {
    /// True if a client is called.
    is_called: bool,
    /// True if it is called without each setting, too.
    is_controlled: bool,
}

/// The runs of a table.
struct Runs<'a, B, T> {
    table: &'a Table<B, T>,
    world: World,
    /// The number of the last run.
    last: Cell<u32>,
}

impl<B, T> Table<B, T> {
    /// Runs all pairs; the numbers of builders, of those that are refused, and of calls are these.
    pub(super) async fn check(&self, expected: [usize; 3]) {
        let mut report = Report::default();
        let runs = Runs {
            table: self,
            world: World::new().await,
            last: Cell::default(),
        };
        let rows = self.rows.len();
        let pairs = (0..rows).flat_map(|one| (one + 1..rows).map(move |other| [one, other]));
        for (at, pair) in pairs.enumerate() {
            for (of, method) in Method::ALL.into_iter().enumerate() {
                for is_discovered in [false, true] {
                    let mut rows = pair.map(|at| &self.rows[at]);
                    let needs_discovery = |row: &&Row<B>| matches!(row.set, Set::Discovery(_));
                    if rows.iter().any(needs_discovery) && !is_discovered {
                        continue;
                    }
                    // Each pair with each method, and with each grant.
                    let place = 2 * self.grant as usize + usize::from(is_discovered);
                    let is_called = (at + of) % TURNS == place % TURNS;
                    // In one order with one kind of endpoint, in the other with the other kind, and the reverse with
                    // the next grant.
                    let is_reversed = (of + self.grant as usize) % 2 == 1;
                    if is_reversed {
                        rows.reverse();
                    }
                    let turn = Turn {
                        is_called,
                        is_controlled: is_reversed,
                    };
                    let case = Case {
                        settings: &rows.map(|row| row.name),
                        method,
                        grant: self.grant,
                        is_discovered,
                    };
                    let faults = runs.check(rows, &case, turn, &mut report).await;
                    let faults = faults.into_iter();
                    report
                        .faults
                        .extend(faults.map(|fault| format!("{case:?}: {fault}")));
                }
            }
        }
        assert_none(&report.faults);
        let Report {
            built,
            refused,
            called,
            ..
        } = report;
        assert_eq!([built, refused, called], expected);
    }

    /// Returns the circumstances in which these settings work.
    fn scene(&self, rows: [&Row<B>; 2], method: Method) -> Scene {
        let mut scene = Scene::new(method);
        for row in rows {
            (row.answer)(&mut scene.answer);
        }
        (self.answer)(&mut scene.answer);
        scene
    }

    /// Returns a client with these settings.
    fn client(
        &self,
        rows: &[&Row<B>],
        site: &Site<'_>,
        scene: &Scene,
        is_discovered: bool,
    ) -> Result<T, BuildError> {
        let mut endpoint = if is_discovered {
            let mut discovery = Endpoint::discover(site.issuer())
                .transport(site.world.transport.clone())
                .clock(site.world.discovery_clock.clone());
            for row in rows {
                if let Set::Discovery(set) = row.set {
                    discovery = set(discovery, site);
                }
            }
            discovery.build()?
        } else {
            Endpoint::new(site.url("token"))
                .with_introspection_endpoint(site.url("introspect"))
                .with_revocation_endpoint(site.url("revoke"))
        };
        for row in rows {
            if let Set::Endpoint(set) = row.set {
                endpoint = set(endpoint, site);
            }
        }
        let authentication = scene.method.authentication(site);
        let mut builder = (self.new)(endpoint, scene.id, authentication, site);
        builder = (self.base)(builder, site);
        for row in rows {
            builder = (row.needs)(builder, site);
        }
        for row in rows {
            if let Set::Builder(set) = row.set {
                builder = set(builder, site);
            }
        }
        (self.build)(builder, site)
    }
}

impl<B, T> Runs<'_, B, T> {
    /// Checks a pair: it is refused with both names, or each setting has an effect, without which it is not seen.
    ///
    /// Returns what is wrong.
    async fn check(
        &self,
        rows: [&Row<B>; 2],
        case: &Case<'_>,
        turn: Turn,
        report: &mut Report,
    ) -> Vec<String> {
        let excluded = case.excluded();
        report.built += 1;
        if !turn.is_called || !excluded.is_empty() {
            let scene = self.table.scene(rows, case.method);
            let site = self.site(&scene);
            let built = self.table.client(&rows, &site, &scene, case.is_discovered);
            report.refused += usize::from(built.is_err());
            return fault_of_build(built.err(), &excluded).into_iter().collect();
        }
        report.called += 1;
        let run = self.play(rows, &rows, None, case).await;
        if !run.error.is_empty() {
            return vec![run.error];
        }
        let mut faults = Vec::new();
        if !(self.table.seen)(&run) {
            faults.push("another grant".to_owned());
        }
        for (row, other) in [(rows[0], rows[1]), (rows[1], rows[0])] {
            let (name, is_unseen) = (row.name, case.is_unseen(row.name));
            if is_unseen && !turn.is_controlled {
                continue;
            }
            let is_seen = match row.scene {
                None => (row.seen)(&run),
                scene => (row.seen)(&self.play(rows, &rows, scene, case).await),
            };
            let is_seen_without = turn.is_controlled && {
                let without = self.play(rows, &[other], row.scene, case).await;
                let is_refused = row.scene.is_none() && !without.error.is_empty();
                (row.seen)(&without) && !is_refused
            };
            if (is_seen && !is_seen_without) == is_unseen {
                faults.push(format!(
                    "`{name}` is seen: {is_seen}, without it: {is_seen_without}"
                ));
            }
        }
        faults
    }

    /// Calls a client with these settings in the scene of a pair.
    async fn play(
        &self,
        pair: [&Row<B>; 2],
        rows: &[&Row<B>],
        change: Option<fn(&mut Scene)>,
        case: &Case<'_>,
    ) -> Run {
        let mut scene = self.table.scene(pair, case.method);
        if let Some(change) = change {
            change(&mut scene);
        }
        let site = self.site(&scene);
        let mut answer = scene.answer.clone();
        answer.endpoints = Some(site.origin(site.endpoints));
        site.world.server.set_answer(site.run, answer);
        let client = self.table.client(rows, &site, &scene, case.is_discovered);
        let result = match client {
            Err(error) => Err(leak::error_chain(&error)),
            Ok(client) => {
                let mut result = (self.table.call)(&client, &scene.request).await;
                if let Some(later) = scene.later {
                    later(&self.world);
                    result = (self.table.call)(&client, &scene.request).await;
                }
                result.map_err(|error| leak::error_chain(&error))
            }
        };
        Run::new(&site, result)
    }

    /// Returns a site of its own for a run.
    fn site(&self, scene: &Scene) -> Site<'_> {
        self.last.update(|last| last + 2);
        Site {
            world: &self.world,
            run: self.last.get(),
            issuer: scene.issuer,
            endpoints: scene.endpoints,
        }
    }
}

/// Returns what is wrong with the result of a builder with settings of which these exclude each other.
fn fault_of_build(error: Option<BuildError>, excluded: &[(&str, &str)]) -> Option<String> {
    let Some(error) = error else {
        return (!excluded.is_empty()).then(|| format!("not refused, {excluded:?}"));
    };
    let shown = leak::error_chain(&error);
    let mut pairs = excluded.iter();
    let are_named = pairs.any(|(one, other)| is_named(one, &shown) && is_named(other, &shown));
    (!are_named).then_some(shown)
}
