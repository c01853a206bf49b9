//! A table of the settings of a client: its pairs are run with each client authentication method, and with an endpoint
//! that is set or discovered.

use hallpass::endpoint::{BuildError, ClientAuthentication, Endpoint};
use hallpass_testkit::leak;

use super::{
    expected::{Case, Grant},
    method::Method,
    pairs::is_named,
    rows::{Row, Set},
    run::{ID, Outcome, Run, Site, UTF8_ID, World},
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
    pub(super) build: fn(B) -> Result<T, BuildError>,
    pub(super) answer: fn(&mut Answer),
    pub(super) call: fn(T, Site<'_>) -> Outcome<'_>,
    /// True if a call is one of this grant.
    pub(super) seen: fn(&Run) -> bool,
}

/// The number of pairs after which a method is called with the same grant again.
const TURNS: usize = Method::ALL.len();

/// The numbers of builders and of calls, and what is wrong.
#[derive(Default)]
struct Report {
    run: u32,
    refused: usize,
    called: usize,
    faults: Vec<String>,
}

impl<B, T> Table<B, T> {
    /// Runs all pairs; the numbers of builders, of those that are refused, and of calls are these.
    pub(super) async fn check(&self, expected: [usize; 3]) {
        let world = World::new().await;
        let mut report = Report::default();
        let rows = self.rows.len();
        let pairs = (0..rows).flat_map(|one| (one + 1..rows).map(move |other| [one, other]));
        for (at, pair) in pairs.enumerate() {
            for (of, method) in Method::ALL.into_iter().enumerate() {
                for is_discovered in [false, true] {
                    // Each pair with each method, and with each grant.
                    let place = 2 * self.grant as usize + usize::from(is_discovered);
                    let is_called = (at + of) % TURNS == place % TURNS;
                    let client = (method, is_discovered);
                    self.check_pair(&world, pair, client, is_called, &mut report)
                        .await;
                }
            }
        }
        assert_none(&report.faults);
        let built = report.run as usize / 2;
        assert_eq!([built, report.refused, report.called], expected);
    }

    async fn check_pair(
        &self,
        world: &World,
        pair: [usize; 2],
        (method, is_discovered): (Method, bool),
        is_called: bool,
        report: &mut Report,
    ) {
        let rows = pair.map(|at| &self.rows[at]);
        let has = |name: &str| rows.iter().any(|row| row.name == name);
        let needs_discovery = rows.iter().any(|row| matches!(row.set, Set::Discovery(_)));
        if needs_discovery && !is_discovered {
            return;
        }
        let is_remote = [
            "security_profile",
            "refuse_local_endpoint",
            "Discovery::refuse_local_issuer",
        ];
        report.run += 2;
        let site = Site {
            world,
            run: report.run,
            is_over_tls: method.has_certificate() || is_remote.iter().any(|name| has(name)),
        };
        let case = Case {
            settings: &rows.map(|row| row.name),
            method,
            grant: self.grant,
            is_discovered,
        };
        let title = || {
            format!(
                "{:?} {method:?} {is_discovered} {:?}",
                self.grant, case.settings
            )
        };
        let excluded = case.excluded();
        let built = self
            .builder(rows, &site, method, is_discovered)
            .and_then(self.build);
        let source = match built {
            Err(error) => {
                report.refused += 1;
                let shown = leak::error_chain(&error);
                let mut pairs = excluded.iter();
                let are_named =
                    |(one, other): &(&str, &str)| is_named(one, &shown) && is_named(other, &shown);
                if !pairs.any(are_named) {
                    report.faults.push(format!("{}: {shown}", title()));
                }
                return;
            }
            Ok(source) => source,
        };
        if !excluded.is_empty() {
            report
                .faults
                .push(format!("{}: not refused, {excluded:?}", title()));
            return;
        }
        if !is_called {
            return;
        }
        report.called += 1;
        let mut answer = Answer::default();
        for row in rows {
            (row.answer)(&mut answer);
        }
        (self.answer)(&mut answer);
        world.server.set_answer(site.run, answer);
        match (self.call)(source, site).await {
            Err(error) => report
                .faults
                .push(format!("{}: {}", title(), leak::error_chain(&error))),
            Ok(token) => {
                let run = Run::new(&site, token);
                let unseen = rows
                    .iter()
                    .filter(|row| !case.is_unseen(row.name) && !(row.seen)(&run));
                let unseen: Vec<_> = unseen.map(|row| row.name).collect();
                if !(self.seen)(&run) {
                    report.faults.push(format!("{}: another grant", title()));
                }
                if !unseen.is_empty() {
                    report
                        .faults
                        .push(format!("{}: no effect of {unseen:?}", title()));
                }
            }
        }
    }

    /// Returns a builder with these settings.
    fn builder(
        &self,
        rows: [&Row<B>; 2],
        site: &Site<'_>,
        method: Method,
        is_discovered: bool,
    ) -> Result<B, BuildError> {
        let mut endpoint = if is_discovered {
            let mut discovery =
                Endpoint::discover(site.issuer()).transport(site.world.transport.clone());
            if !site.is_over_tls {
                discovery = discovery.danger_allow_http_on_loopback();
            }
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
        let is_utf8 = rows.iter().any(|row| row.name == "allow_utf8_credentials");
        let id = if is_utf8 && !method.is_of_spiffe() {
            UTF8_ID
        } else {
            ID
        };
        for row in rows {
            if let Set::Endpoint(set) = row.set {
                endpoint = set(endpoint, site);
            }
        }
        let mut builder = (self.new)(endpoint, id, method.authentication(site), site);
        builder = (self.base)(builder, site);
        for row in rows {
            if let Set::Builder(set) = row.set {
                builder = set(builder, site);
            }
        }
        Ok(builder)
    }
}
