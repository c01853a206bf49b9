//! The results of a run.

use std::{fmt::Write as _, path::Path, process::ExitStatus};

use crate::{
    AUDIENCES, CLIENTS,
    director::{LANES, Mark},
    ledger::{Ledger, Micros, SECOND, Statement},
    lives,
    remains::{self, End, Growth},
    samples::{RESOURCES, Resource, SHORTEST, Sample, growth},
    scan::{CHANNELS, Scanner},
};

/// The measurements of a run.
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) rate: u32,
    pub(crate) start: Micros,
    pub(crate) end: Micros,
    pub(crate) with_redis: bool,
    /// The number of parts of the schedule that ended before the run did.
    pub(crate) ended_early: usize,
    /// The exit status of the service.
    pub(crate) status: ExitStatus,
    pub(crate) samples: Vec<Sample>,
    /// The remains of each shutdown of the service.
    pub(crate) ends: Vec<End>,
    pub(crate) marks: Vec<Mark>,
}

/// A statement with its result.
pub(crate) struct Check {
    pub(crate) statement: String,
    pub(crate) seen: String,
    pub(crate) passed: bool,
}

impl Check {
    fn new(statement: impl Into<String>, seen: String, passed: bool) -> Self {
        Self {
            statement: statement.into(),
            seen,
            passed,
        }
    }
}

impl Run {
    pub(crate) fn seconds(&self) -> u64 {
        (self.end - self.start) / SECOND
    }

    /// Returns the number of calls with this outcome.
    pub(crate) fn outcome(&self, name: &str) -> u64 {
        self.samples.iter().map(|sample| sample.outcome(name)).sum()
    }

    /// Returns the results of all checks but that of the page itself.
    pub(crate) fn checks(&self, ledger: &Ledger, scanner: &Scanner) -> Vec<Check> {
        let mut checks: Vec<_> = Statement::ALL
            .iter()
            .map(|statement| broken(*statement, ledger))
            .collect();
        checks.push(Check::new(
            "the service and the schedule run until the end",
            format!(
                "the service: {}; {} parts of the schedule ended early",
                self.status, self.ended_early
            ),
            self.status.success() && self.ended_early == 0,
        ));
        checks.push(exercised(ledger));
        checks.push(self.scheduled());
        let ok = self.outcome("ok");
        let calls = ok + self.outcome("fault of the API") + self.outcome("failed");
        checks.push(Check::new(
            "at least 80 % of the calls succeed",
            format!("{ok} of {calls}"),
            calls > 0 && ok * 5 >= calls * 4,
        ));
        checks.extend((0..RESOURCES.len()).map(|nth| self.growth(nth)));
        checks.extend((0..RESOURCES.len()).map(|nth| self.growth_in_life(nth)));
        checks.push(self.remains());
        let left: Vec<String> = self.ends.iter().map(|end| end.tasks.to_string()).collect();
        checks.push(Check::new(
            "no task is left 5 s after a shutdown of the service",
            format!("tasks after {} shutdowns: {}", left.len(), left.join(", ")),
            !left.is_empty() && self.ends.iter().all(|end| end.tasks == 0),
        ));
        checks.push(leaks(scanner));
        checks
    }

    /// Checks that the service had something to withstand.
    fn scheduled(&self) -> Check {
        let counts = LANES.map(|lane| {
            let marks = self.marks.iter().filter(|mark| mark.lane == lane);
            (lane, marks.count())
        });
        let seen = counts.map(|(lane, count)| format!("{count} {lane}"));
        Check::new(
            "a run of a minute has faults, rotations, revocations and commands",
            seen.join(", "),
            self.end - self.start < SHORTEST || counts.iter().all(|(_, count)| *count > 0),
        )
    }

    fn growth(&self, nth: usize) -> Check {
        let resource = RESOURCES[nth];
        let (name, unit, allowance) = (resource.name, resource.unit, resource.allowance);
        let statement = format!(
            "{name}: the median of the last quarter exceeds that of the second by at most {allowance} {unit}"
        );
        let (seen, passed) = match growth(&self.samples, nth) {
            Some(growth) => (
                format!("{} and {} {unit}", growth.before, growth.after),
                growth.after <= growth.before + allowance,
            ),
            None => self.unmeasured("the run is shorter than a minute"),
        };
        Check::new(statement.trim_end(), seen, passed)
    }

    fn growth_in_life(&self, nth: usize) -> Check {
        let Resource {
            name,
            unit,
            in_life: allowance,
            ..
        } = RESOURCES[nth];
        let statement = format!(
            "{name}: within a life of the service, the level at the end exceeds that after the start by at most {allowance} {unit}"
        );
        let measurements = self.samples.iter();
        let measurements = measurements.map(|sample| (sample.life, sample.resources[nth]));
        let (seen, passed) = match lives::Growth::largest(&measurements.collect::<Vec<_>>()) {
            Some(growth) => (
                format!(
                    "in a life of {} s: {} and {} {unit}",
                    growth.seconds, growth.before, growth.after
                ),
                growth.is_allowed(allowance),
            ),
            None => self.unmeasured("no life of the service is long enough"),
        };
        Check::new(statement.trim_end(), seen, passed)
    }

    /// Returns what is seen, and true if the run is short: a long one without measurements has a fault itself.
    fn unmeasured(&self, why: &str) -> (String, bool) {
        (
            format!("not measured: {why}, or this system has no /proc"),
            self.end - self.start < 2 * SHORTEST || !Path::new("/proc/self/status").exists(),
        )
    }

    /// Checks that each call releases its memory.
    fn remains(&self) -> Check {
        let (seen, passed) = match Growth::between(&self.ends) {
            Some(growth) => (growth.to_string(), growth.is_allowed()),
            None => (
                "not measured: the service did not restart".into(),
                self.end - self.start < 2 * SHORTEST,
            ),
        };
        Check::new(remains::statement(), seen, passed)
    }
}

/// Checks that the statements are about something.
fn exercised(ledger: &Ledger) -> Check {
    let all = CLIENTS.len() * AUDIENCES.len() * 2;
    let accepted = ledger.accepted.keys();
    let accepted = accepted.filter(|(key, _)| CLIENTS.contains(&key.client.as_str()));
    let accepted = accepted.count();
    Check::new(
        "each client, audience and protocol has accepted calls",
        format!("{accepted} of {all}"),
        accepted == all,
    )
}

fn broken(statement: Statement, ledger: &Ledger) -> Check {
    const SHOWN: usize = 5;
    let broken = ledger.violations.get(&statement);
    let broken = broken.map_or(&[][..], Vec::as_slice);
    let of = match statement {
        Statement::NotExpired | Statement::Known => "API calls",
        Statement::Available => "calls that failed for lack of a token",
        Statement::Recovered => "calls refused",
        Statement::Explained => "tokens issued",
        Statement::RetryAfter => "token requests",
        Statement::Commands => "runs of the command",
    };
    let mut seen = format!("{} of {} {of}", broken.len(), ledger.total(of));
    for one in broken.iter().take(SHOWN) {
        // Writing to a String cannot fail.
        let _ = write!(seen, "; {one}");
    }
    Check::new(statement.text(), seen, broken.is_empty())
}

fn leaks(scanner: &Scanner) -> Check {
    let found = scanner.found();
    let (megabytes, assertions) = (scanner.megabytes(), scanner.assertions());
    let mut seen = format!(
        "{} in {megabytes} MB, after {assertions} signed assertions",
        found.len()
    );
    for (one, times) in &found {
        let _ = write!(seen, "; {one} ({times} times)");
    }
    // The page is searched last.
    let missing = CHANNELS[..CHANNELS.len() - 1]
        .iter()
        .filter(|channel| !scanner.control(channel));
    let missing: Vec<_> = missing.copied().collect();
    if !missing.is_empty() {
        let _ = write!(
            seen,
            "; the planted text was not found in {}",
            missing.join(", ")
        );
    }
    Check::new(
        "no secret is in traces, errors, metrics and output, in which a planted text is found",
        seen,
        found.is_empty() && missing.is_empty(),
    )
}
