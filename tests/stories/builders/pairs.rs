//! A table of the settings of a builder: each alone, and each two in both orders.

use std::collections::BTreeSet;

use super::settings::{assert_none, setters};

/// A setting of the builder `B`, whose effect is seen in `S`. `W` is what the runs of a table share.
pub(super) struct Setting<B, W, S> {
    pub(super) name: &'static str,
    pub(super) set: fn(B, &W) -> B,
    /// True if the effect is seen.
    pub(super) seen: fn(&S) -> bool,
}

impl<B, W, S> Setting<B, W, S> {
    pub(super) fn new(name: &'static str, set: fn(B, &W) -> B, seen: fn(&S) -> bool) -> Self {
        Self { name, set, seen }
    }
}

/// A setting, and those that it excludes.
pub(super) type Excluded = &'static [(&'static str, &'static [&'static str])];

/// The settings of a run: none, one, or two in this order.
pub(super) struct Chosen<'a, B, W, S>(Vec<&'a Setting<B, W, S>>);

impl<B, W, S> Chosen<'_, B, W, S> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|setting| setting.name == name)
    }

    /// Sets them.
    pub(super) fn set(&self, builder: B, world: &W) -> B {
        let settings = self.0.iter();
        settings.fold(builder, |builder, setting| (setting.set)(builder, world))
    }

    /// Returns what is wrong with a run; `Err` is the text of the error.
    fn fault(&self, excluded: Excluded, run: Result<S, String>) -> Option<String> {
        let is_excluded = excluded
            .iter()
            .any(|(one, others)| self.has(one) && others.iter().any(|other| self.has(other)));
        match run {
            Err(shown) if !is_excluded => Some(format!("refused: {shown}")),
            Err(shown) => {
                let mut settings = self.0.iter();
                let are_named = settings.all(|setting| is_named(setting.name, &shown));
                (!are_named).then(|| format!("not both are named: {shown}"))
            }
            Ok(_) if is_excluded => Some("not refused".to_owned()),
            Ok(seen) => {
                let settings = self.0.iter().filter(|setting| !(setting.seen)(&seen));
                let names: Vec<_> = settings.map(|setting| setting.name).collect();
                (!names.is_empty()).then(|| format!("no effect of {names:?}"))
            }
        }
    }
}

/// Checks each setting alone, and each two in both orders; `run` returns what is seen, or the text of the error of
/// `build`. Without settings, no effect is seen.
///
/// Returns the number of runs with settings, and of those that were refused.
pub(super) async fn check<B, W, S>(
    settings: &[Setting<B, W, S>],
    excluded: Excluded,
    run: impl AsyncFn(&Chosen<'_, B, W, S>) -> Result<S, String>,
) -> [usize; 2] {
    let (mut runs, mut refused, mut faults) = (0, 0, Vec::new());
    let without = run(&Chosen(Vec::new())).await.unwrap();
    let seen = settings.iter().filter(|setting| (setting.seen)(&without));
    faults.extend(seen.map(|setting| format!("{}: seen without it", setting.name)));
    for one in settings {
        for other in settings {
            let mut chosen = vec![one, other];
            chosen.dedup_by_key(|setting| setting.name);
            let chosen = Chosen(chosen);
            let outcome = run(&chosen).await;
            runs += 1;
            refused += usize::from(outcome.is_err());
            if let Some(fault) = chosen.fault(excluded, outcome) {
                faults.push(format!("{}, {}: {fault}", one.name, other.name));
            }
        }
    }
    assert_none(&faults);
    [runs, refused]
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
