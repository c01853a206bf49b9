//! A table of the settings of a builder: each alone, and each two in both orders.

use std::collections::BTreeSet;

use super::settings::{assert_none, effect_fault, setters};

/// A setting of the builder `B`, whose effect is seen in `S`. `W` is what the runs of a table share.
pub(super) struct Setting<B, W, S> {
    pub(super) name: &'static str,
    pub(super) set: fn(B, &W) -> B,
    /// True if the effect is seen.
    pub(super) seen: fn(&S) -> bool,
    /// The settings beside which it has no effect.
    unseen: &'static [&'static str],
}

impl<B, W, S> Setting<B, W, S> {
    pub(super) fn new(name: &'static str, set: fn(B, &W) -> B, seen: fn(&S) -> bool) -> Self {
        Self {
            name,
            set,
            seen,
            unseen: &[],
        }
    }

    /// Names the settings beside which it has no effect, as its documentation says.
    pub(super) fn unseen_beside(self, unseen: &'static [&'static str]) -> Self {
        Self { unseen, ..self }
    }
}

/// The settings that exclude each other: a setting, and those that it excludes.
pub(super) type Exclusions = &'static [(&'static str, &'static [&'static str])];

/// The numbers of builders.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PairCounts {
    /// Those of each setting alone, and of each two in both orders.
    pub(super) built: usize,
    /// Those whose `build` failed.
    pub(super) refused: usize,
}

/// The settings of a run: one, or two in this order.
pub(super) struct SettingSelection<'a, B, W, S> {
    settings: Vec<&'a Setting<B, W, S>>,
    /// The setting that this control run leaves out; its prerequisites are still set.
    without: Option<&'static str>,
}

impl<B, W, S> SettingSelection<'_, B, W, S> {
    /// Returns true if the run is about this setting, even if it is left out.
    pub(super) fn has(&self, name: &str) -> bool {
        self.settings.iter().any(|setting| setting.name == name)
    }

    /// Returns true if the run leaves out a setting.
    pub(super) fn is_control(&self) -> bool {
        self.without.is_some()
    }

    /// Sets them.
    pub(super) fn set(&self, builder: B, world: &W) -> B {
        let settings = self.settings.iter();
        let settings = settings.filter(|setting| self.without != Some(setting.name));
        settings.fold(builder, |builder, setting| (setting.set)(builder, world))
    }

    /// Returns what is wrong with a run; `Err` is the text of the error.
    fn fault(&self, is_excluded: bool, run: &Result<S, String>) -> Option<String> {
        match run {
            Err(shown) if !is_excluded => Some(format!("refused: {shown}")),
            Err(shown) => {
                let mut settings = self.settings.iter();
                let are_named = settings.all(|setting| is_named(setting.name, shown));
                (!are_named).then(|| format!("not both are named: {shown}"))
            }
            Ok(_) => is_excluded.then(|| "not refused".to_owned()),
        }
    }
}

/// Checks each setting alone, and each two in both orders; `run` returns what is seen, or the text of the error of
/// `build`. The settings are all methods of a type, which is named with its crate.
///
/// Returns the numbers of builders.
pub(super) async fn check<B, W, S>(
    (krate, type_name): (&str, &str),
    settings: &[Setting<B, W, S>],
    exclusions: Exclusions,
    run: impl AsyncFn(&SettingSelection<'_, B, W, S>) -> Result<S, String>,
) -> PairCounts {
    assert_complete(settings.iter().map(|one| one.name), krate, type_name);
    check_some(settings, exclusions, run).await
}

/// Does the same with some methods of a type.
pub(super) async fn check_some<B, W, S>(
    settings: &[Setting<B, W, S>],
    exclusions: Exclusions,
    run: impl AsyncFn(&SettingSelection<'_, B, W, S>) -> Result<S, String>,
) -> PairCounts {
    let (mut counts, mut faults) = (PairCounts::default(), Vec::new());
    for one in settings {
        for other in settings {
            let mut pair = vec![one, other];
            pair.dedup_by_key(|setting| setting.name);
            let mut selection = SettingSelection {
                settings: pair,
                without: None,
            };
            let is_excluded = !excluded(exclusions, |name| selection.has(name)).is_empty();
            let outcome = run(&selection).await;
            counts.built += 1;
            counts.refused += usize::from(outcome.is_err());
            let mut found = Vec::from_iter(selection.fault(is_excluded, &outcome));
            if let Ok(seen) = outcome {
                let is_unseen = one.unseen.contains(&other.name);
                let [first, second] = [one, other].map(|setting| (setting.seen)(&seen));
                selection.without = Some(one.name);
                let without = run(&selection).await;
                let is_seen_without = without.is_ok_and(|seen| (one.seen)(&seen));
                found.extend(effect_fault(one.name, is_unseen, first, is_seen_without));
                if !second && !other.unseen.contains(&one.name) {
                    found.push(format!("`{}` has no effect", other.name));
                }
            }
            let names = [one.name, other.name].join(", ");
            faults.extend(found.iter().map(|fault| format!("{names}: {fault}")));
        }
    }
    assert_none(&faults);
    counts
}

/// Returns the pairs of settings that exclude each other and that are both set; `has` is true for one that is set.
pub(super) fn excluded(
    exclusions: Exclusions,
    has: impl Fn(&str) -> bool,
) -> Vec<(&'static str, &'static str)> {
    let pairs = exclusions
        .iter()
        .flat_map(|(one, others)| others.iter().map(|other| (*one, *other)));
    pairs
        .filter(|(one, other)| has(one) && has(other))
        .collect()
}

/// Returns true if an error's text names a setting: as a method, or as the setting that is wrong.
pub(super) fn is_named(setting: &str, shown: &str) -> bool {
    let name = setting.rsplit("::").next().unwrap();
    shown.contains(&format!("`{name}`"))
        || shown.contains(&format!("::{name}`"))
        || shown.starts_with(&format!("{name}:"))
}

/// Checks that the rows of a table are the methods of this type in this crate.
pub(super) fn assert_complete<'a>(
    rows: impl IntoIterator<Item = &'a str>,
    krate: &str,
    type_name: &str,
) {
    let rows: BTreeSet<_> = rows.into_iter().map(str::to_owned).collect();
    assert_eq!(
        rows,
        setters(krate, type_name),
        "left: the rows; a method of `{type_name}` needs one"
    );
}
