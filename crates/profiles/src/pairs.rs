//! Every setting beside every other one: both have an effect, or the error names both.
//!
//! The pairs are those of the list of settings itself. A new setting needs a row in the table; its pairs are then run
//! like all others.

#![allow(clippy::unwrap_used)]

mod base;
mod expected;
mod layers;
mod redis;
mod rows;
mod run;
#[allow(dead_code)] // Builders use more of it.
#[path = "../../../tests/shared/token_server.rs"]
mod server;

use std::collections::BTreeMap;

use base::{Profile, Table, profile};
use expected::{is_excluded, is_unseen};
use rows::Sample;
use run::{Run, World};
use server::Answer;

use crate::{ProfileError, Selection, document::KEYS, environment::Variables};

/// A token request with a profile that has two settings.
struct Plan {
    number: u32,
    profile: Profile,
    samples: [Sample; 2],
    /// The one whose probe is run.
    probed: Option<usize>,
}

impl Plan {
    fn title(&self) -> String {
        let [one, other] = self
            .samples
            .map(|sample| format!("{} = {}", sample.key, sample.value));
        match self.probed {
            None => format!("{one}, {other}"),
            Some(at) => format!("{one}, {other}, probe of {}", self.samples[at].key),
        }
    }

    /// Returns the two settings, in the order of their names.
    fn keys(&self) -> [&'static str; 2] {
        let mut keys = self.samples.map(|sample| sample.key);
        keys.sort_unstable();
        keys
    }

    /// Returns the response of the server to a client with these settings.
    fn answer(&self, all: &[Sample]) -> Answer {
        let mut answer = answer(all, &self.profile.table);
        if let Some(probe) = self.probed.and_then(|at| self.samples[at].probe) {
            (probe.answer)(&mut answer);
        }
        answer
    }
}

/// Returns the response of the server to a client with these settings.
fn answer(all: &[Sample], table: &Table) -> Answer {
    let mut answer = Answer::default();
    for key in table.keys() {
        if let Some(sample) = all.iter().find(|sample| sample.key == *key) {
            (sample.answer)(&mut answer);
        }
    }
    answer
}

/// Returns a plan for each two values of two settings, and for each probe.
///
/// Values with a common server and client are on top of those. Of the others, each is on top of the server and the
/// client of the other one.
fn plans(all: &[Sample]) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut add = |samples: [Sample; 2], probed: Option<usize>| {
        let mut profile = profile(&[&samples[0], &samples[1]]);
        if let Some(probe) = probed.and_then(|at| samples[at].probe) {
            (probe.change)(&mut profile.table);
        }
        let fits = profile.fits;
        if profile.is_replaced {
            return fits;
        }
        plans.push(Plan {
            number: u32::try_from(plans.len()).unwrap() + 1,
            profile,
            samples,
            probed,
        });
        fits
    };
    for (at, one) in all.iter().enumerate() {
        for other in all[at + 1..].iter().filter(|other| other.key != one.key) {
            let samples = [*one, *other];
            if !add(samples, None) {
                add([*other, *one], None);
                continue;
            }
            for probed in 0..2 {
                let probe = samples[probed].probe;
                if probe.is_some() && !is_unseen(&samples[probed], &samples[1 - probed]) {
                    add(samples, Some(probed));
                }
            }
        }
    }
    plans
}

/// The numbers of plans of a pair of settings by their outcome.
#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    work: usize,
    refused: usize,
}

#[test]
fn each_setting_has_a_row() {
    let all = rows::samples();
    for key in KEYS {
        assert!(
            all.iter().any(|sample| sample.key == *key),
            "{key} has no row in `pairs/rows.rs`"
        );
    }
    for sample in &all {
        assert!(KEYS.contains(&sample.key), "{}", sample.key);
    }
}

#[tokio::test(start_paused = true)]
async fn each_pair_of_settings_works_or_is_refused() {
    let world = World::new().await;
    let all = rows::samples();
    let plans = plans(&all);
    let tables = plans.iter().map(|plan| (plan.number, &plan.profile.table));
    let profiles = world.load(tables, Variables::new(|_| None));
    let mut faults = Vec::new();
    let mut outcomes = BTreeMap::<_, Outcomes>::new();
    // Held, so that later runs share their connections.
    let mut held = Vec::new();
    for plan in &plans {
        let selection = Selection::new().profile(format!("run{}", plan.number));
        let answer = plan.answer(&all);
        let table = &plan.profile.table;
        let run = world
            .run(&profiles, &selection, plan.number, table, answer)
            .await;
        let pair = outcomes.entry(plan.keys()).or_default();
        match judge(&world, plan, &run) {
            Ok(true) => pair.work += 1,
            Ok(false) => pair.refused += 1,
            Err(fault) => faults.push(format!("{}: {fault}", plan.title())),
        }
        if !table.contains_key("redis") {
            held.extend(run);
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(outcomes.len(), KEYS.len() * (KEYS.len() - 1) / 2);
    let count = |fits: fn(&Outcomes) -> bool| outcomes.values().filter(|pair| fits(pair)).count();
    let counts = [
        count(|pair| pair.refused == 0),
        count(|pair| pair.work > 0 && pair.refused > 0),
        count(|pair| pair.work == 0),
    ];
    assert_eq!(counts, expected::COUNTS, "{} runs", plans.len());
}

/// Returns true for a run that shows both effects and false for a refusal, or what is wrong.
fn judge(world: &World, plan: &Plan, run: &Result<Run, ProfileError>) -> Result<bool, String> {
    let [one, other] = &plan.samples;
    let is_refused = !plan.profile.fits || is_excluded(one, other);
    let run = match run {
        Err(error) if is_refused => return check_refusal(world, plan, error).map(|()| false),
        Err(error) => return Err(format!("refused: {error}")),
        Ok(run) => run,
    };
    let error = run.error();
    if is_refused {
        return Err(format!("not refused before the first request; {error}"));
    }
    let seen = match plan.probed {
        Some(at) => plan.samples[at]
            .probe
            .is_some_and(|probe| (probe.seen)(run)),
        None => plan.samples.iter().all(|sample| (sample.seen)(run)),
    };
    if !seen {
        let seen = plan.samples.map(|sample| (sample.seen)(run));
        return Err(format!("an effect is not seen, {seen:?}; {error}"));
    }
    Ok(true)
}

/// Checks that the error names both settings and a remedy, and shows no secret.
fn check_refusal(world: &World, plan: &Plan, error: &ProfileError) -> Result<(), String> {
    let shown = error.to_string();
    if world.leaks(&format!("{shown} {error:?}")) {
        return Err(format!("a secret is shown: {shown}"));
    }
    let is_named =
        |key: &&str| shown.contains(&format!("`{key}`")) || shown.starts_with(&format!("{key}:"));
    let mut names = plan.profile.names.iter();
    let is_incomplete = plan.profile.missing.iter().any(&is_named);
    if !is_incomplete && !names.all(|names| names.iter().any(&is_named)) {
        return Err(format!("not both are named: {shown}"));
    }
    if error.hint().is_none() {
        return Err(format!("no remedy is named: {shown}"));
    }
    Ok(())
}
