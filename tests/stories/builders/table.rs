//! A table of the settings of a client: its pairs are run with each client authentication method, and with an endpoint
//! that is set or discovered.

use std::cell::Cell;

use hallpass::{
    TokenRequest,
    endpoint::{BuildError, ClientAuthentication, Endpoint},
};
use hallpass_testkit::leak;

use super::{
    call_setup::{CallSetup, ServerUrls},
    expected::{Case, ClientKind},
    method::Method,
    pairs::is_named,
    rows::{Effect, Row, Setter},
    run::{CallRecord, Outcome, World},
    server::Answer,
    settings::{assert_none, effect_fault},
};

/// A builder with its settings.
pub(super) struct Table<B, T> {
    pub(super) client: ClientKind,
    pub(super) rows: Vec<Row<B>>,
    pub(super) new: fn(Endpoint, &str, Box<dyn ClientAuthentication>, &ServerUrls<'_>) -> B,
    /// Sets what all calls need.
    pub(super) base: fn(B, &ServerUrls<'_>) -> B,
    pub(super) build: fn(B, &ServerUrls<'_>) -> Result<T, BuildError>,
    pub(super) answer: fn(&mut Answer),
    pub(super) call: for<'a> fn(&'a T, &'a TokenRequest) -> Outcome<'a>,
    /// True if a call is one of this kind of client.
    pub(super) seen: fn(&CallRecord) -> bool,
}

/// The numbers of builders and of calls.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) built: usize,
    /// Builders whose `build` failed.
    pub(super) refused: usize,
    /// Checks that called a client.
    pub(super) called: usize,
}

/// A check of a pair with a method and a kind of endpoint.
struct Turn<'a, B> {
    /// The pair, in the order in which it is set.
    rows: [&'a Row<B>; 2],
    method: Method,
    is_discovered: bool,
    /// True if a client is called.
    is_called: bool,
    /// True if the call is repeated without each setting (control run).
    is_controlled: bool,
}

/// The calls of the clients of a table.
struct TableRunner<'a, B, T> {
    table: &'a Table<B, T>,
    world: World,
    last_prefix: Cell<u32>,
    counts: Counts,
}

impl<B, T> Table<B, T> {
    /// Checks all pairs, and that the numbers of builders and calls are the expected ones.
    pub(super) async fn check(&self, expected: Counts) {
        let mut faults = Vec::new();
        let mut runner = TableRunner {
            table: self,
            world: World::new().await,
            last_prefix: Cell::default(),
            counts: Counts::default(),
        };
        for turn in self.schedule() {
            let case = Case {
                settings: &turn.rows.map(|row| row.name),
                method: turn.method,
                client: self.client,
                is_discovered: turn.is_discovered,
            };
            let found = runner.check(&turn, &case).await;
            faults.extend(found.iter().map(|fault| format!("{case:?}: {fault}")));
        }
        assert_none(&faults);
        assert_eq!(runner.counts, expected);
    }

    /// Returns the checks of all pairs. Each pair is built with each method, and each kind of endpoint.
    ///
    /// A pair calls one client with an endpoint that is set, and one with an endpoint that is discovered. The methods of
    /// these two are neighbours in `Method::ALL`. Each next pair starts one method earlier, and each next kind of client
    /// two methods later, so that the kinds of clients together call with each method.
    ///
    /// A pair with `security_profile` also calls one with each method that the profile allows, since `build` fails with
    /// others.
    ///
    /// The pair is in reverse order with every second method, that is, with one of its two calls. With the next kind of
    /// client it is in reverse order with the other one.
    fn schedule(&self) -> Vec<Turn<'_, B>> {
        const METHODS: usize = Method::ALL.len();
        let client = self.client as usize;
        let count = self.rows.len();
        let pairs = (0..count).flat_map(|one| (one + 1..count).map(move |other| [one, other]));
        let mut turns = Vec::new();
        for (at, pair) in pairs.enumerate() {
            let has_profile = pair
                .map(|at| self.rows[at].name)
                .contains(&"security_profile");
            for (number, method) in Method::ALL.into_iter().enumerate() {
                let is_reversed = (number + client) % 2 == 1;
                for is_discovered in [false, true] {
                    let mut rows = pair.map(|at| &self.rows[at]);
                    let needs_discovery = |row: &&Row<B>| matches!(row.set, Setter::Discovery(_));
                    if rows.iter().any(needs_discovery) && !is_discovered {
                        continue;
                    }
                    if is_reversed {
                        rows.reverse();
                    }
                    let first = 2 * client + usize::from(is_discovered);
                    turns.push(Turn {
                        rows,
                        method,
                        is_discovered,
                        is_called: (at + number) % METHODS == first % METHODS
                            || (has_profile && method.is_strong() && is_discovered),
                        is_controlled: is_reversed,
                    });
                }
            }
        }
        turns
    }

    /// Returns the setup in which these settings work.
    fn call_setup(&self, rows: [&Row<B>; 2], method: Method) -> CallSetup {
        let mut setup = CallSetup::new(method);
        for row in rows {
            (row.answer)(&mut setup.answer);
        }
        (self.answer)(&mut setup.answer);
        setup
    }

    /// Returns a client with these settings.
    fn client(
        &self,
        rows: &[&Row<B>],
        urls: &ServerUrls<'_>,
        setup: &CallSetup,
        is_discovered: bool,
    ) -> Result<T, BuildError> {
        let mut endpoint = if is_discovered {
            let mut discovery = Endpoint::discover(urls.issuer())
                .transport(urls.world.transport.clone())
                .clock(urls.world.discovery_clock.clone());
            for row in rows {
                if let Setter::Discovery(set) = row.set {
                    discovery = set(discovery, urls);
                }
            }
            discovery.build()?
        } else {
            Endpoint::new(urls.url("token"))
                .with_introspection_endpoint(urls.url("introspect"))
                .with_revocation_endpoint(urls.url("revoke"))
        };
        for row in rows {
            if let Setter::Endpoint(set) = row.set {
                endpoint = set(endpoint, urls);
            }
        }
        let authentication = setup.method.authentication(urls);
        let mut builder = (self.new)(endpoint, setup.id, authentication, urls);
        builder = (self.base)(builder, urls);
        for row in rows {
            builder = (row.needs)(builder, urls);
        }
        for row in rows {
            if let Setter::Builder(set) = row.set {
                builder = set(builder, urls);
            }
        }
        (self.build)(builder, urls)
    }
}

impl<B, T> TableRunner<'_, B, T> {
    /// Checks a pair: either `build` fails and names both, or each setting's effects are seen, and are not seen without
    /// the setting.
    ///
    /// Returns the faults.
    async fn check(&mut self, turn: &Turn<'_, B>, case: &Case<'_>) -> Vec<String> {
        let rows = turn.rows;
        let excluded = case.excluded();
        self.counts.built += 1;
        if !turn.is_called || !excluded.is_empty() {
            let setup = self.table.call_setup(rows, case.method);
            let urls = self.urls(&setup);
            let built = self.table.client(&rows, &urls, &setup, case.is_discovered);
            let error = built.err();
            self.counts.refused += usize::from(error.is_some());
            return fault_of_build(error, &excluded).into_iter().collect();
        }
        self.counts.called += 1;
        let record = self.call_client(rows, &rows, None, case).await;
        if !record.error.is_empty() {
            return vec![record.error];
        }
        let mut faults = Vec::new();
        if !(self.table.seen)(&record) {
            faults.push("another kind of client".to_owned());
        }
        for (row, other) in [(rows[0], rows[1]), (rows[1], rows[0])] {
            let (name, is_unseen) = (row.name, case.is_unseen(row.name));
            if is_unseen && !turn.is_controlled {
                continue;
            }
            for &Effect { change_setup, seen } in &row.effects {
                let is_seen = match change_setup {
                    None => seen(&record),
                    change => seen(&self.call_client(rows, &rows, change, case).await),
                };
                let is_seen_without = turn.is_controlled && {
                    let without = self.call_client(rows, &[other], change_setup, case).await;
                    // A client that fails without the setting does not show its effect.
                    let is_refused = change_setup.is_none() && !without.error.is_empty();
                    seen(&without) && !is_refused
                };
                faults.extend(effect_fault(name, is_unseen, is_seen, is_seen_without));
            }
        }
        faults
    }

    /// Calls a client with these settings in the setup of a pair.
    async fn call_client(
        &self,
        pair: [&Row<B>; 2],
        rows: &[&Row<B>],
        change_setup: Option<fn(&mut CallSetup)>,
        case: &Case<'_>,
    ) -> CallRecord {
        let mut setup = self.table.call_setup(pair, case.method);
        if let Some(change) = change_setup {
            change(&mut setup);
        }
        let urls = self.urls(&setup);
        let mut answer = setup.answer.clone();
        answer.endpoints = Some(urls.origin(urls.endpoints));
        urls.world.server.set_answer(urls.path_prefix, answer);
        let client = self.table.client(rows, &urls, &setup, case.is_discovered);
        let result = match client {
            Err(error) => Err(leak::error_chain(&error)),
            Ok(client) => {
                let mut result = (self.table.call)(&client, &setup.request).await;
                if let Some(later) = setup.later {
                    later(&self.world);
                    result = (self.table.call)(&client, &setup.request).await;
                }
                result.map_err(|error| leak::error_chain(&error))
            }
        };
        CallRecord::new(&urls, result)
    }

    /// Returns the URLs of servers that no other call uses.
    fn urls(&self, setup: &CallSetup) -> ServerUrls<'_> {
        // The prefix between is for `second_server`.
        self.last_prefix.update(|last| last + 2);
        ServerUrls {
            world: &self.world,
            path_prefix: self.last_prefix.get(),
            issuer: setup.issuer,
            endpoints: setup.endpoints,
            is_prover_weak: setup.is_prover_weak,
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
