//! Tables of a builder's settings: each two have their effect, or the error names both.
//!
//! A table is complete if it has a row for each method of the builder; the methods are read from the source text.

use std::{collections::BTreeSet, fs, path::Path};

/// A setting of the builder `B`, whose effect is seen in `S`. `W` is what the runs of a table share.
pub(crate) struct Setting<B, W, S> {
    pub(crate) name: &'static str,
    pub(crate) set: fn(B, &W) -> B,
    /// True if the effect is seen.
    pub(crate) seen: fn(&S) -> bool,
}

impl<B, W, S> Setting<B, W, S> {
    pub(crate) fn new(name: &'static str, set: fn(B, &W) -> B, seen: fn(&S) -> bool) -> Self {
        Self { name, set, seen }
    }
}

/// A setting, and those that it excludes.
pub(crate) type Excluded = &'static [(&'static str, &'static [&'static str])];

/// The settings of a run: one, or two in this order.
pub(crate) struct Chosen<'a, B, W, S>(Vec<&'a Setting<B, W, S>>);

impl<B, W, S> Chosen<'_, B, W, S> {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|setting| setting.name == name)
    }

    /// Sets them.
    pub(crate) fn set(&self, builder: B, world: &W) -> B {
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

/// Checks each setting, and each two in both orders; `run` returns what is seen, or the text of the error of `build`.
/// Returns the number of runs, and of those that were refused.
pub(crate) async fn check<B, W, S>(
    settings: &[Setting<B, W, S>],
    excluded: Excluded,
    run: impl AsyncFn(&Chosen<'_, B, W, S>) -> Result<S, String>,
) -> [usize; 2] {
    let (mut runs, mut refused, mut faults) = (0, 0, Vec::new());
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
pub(crate) fn is_named(setting: &str, shown: &str) -> bool {
    let name = setting.rsplit("::").next().unwrap();
    shown.contains(&format!("`{name}`"))
        || shown.contains(&format!("::{name}`"))
        || shown.starts_with(&format!("{name}:"))
}

pub(crate) fn assert_none(faults: &[String]) {
    let shown = faults.iter().take(40).cloned().collect::<Vec<_>>();
    let count = faults.len();
    assert!(faults.is_empty(), "{count} faults:\n{}", shown.join("\n"));
}

/// Checks that the rows of a table are the methods of this type in this crate.
pub(crate) fn assert_complete<'a>(
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

/// Returns the names of the methods that take a value of this type and return it, of each `impl` without a trait.
pub(crate) fn setters(krate: &str, type_name: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for text in sources(krate) {
        let blocks = text.split("\nimpl").skip(1);
        let blocks = blocks.filter_map(|block| block.split("\n}\n").next());
        let own = blocks.filter(|block| {
            let head = block.split('{').next().unwrap_or_default();
            let is_type = head.split(['<', ' ', '>']).any(|word| word == type_name);
            is_type && !head.contains(" for ")
        });
        let methods = own.flat_map(|block| block.split("\n    pub fn ").skip(1));
        let methods = methods.filter(|method| {
            let signature = method.split('{').next().unwrap_or_default();
            let (parameters, result) = signature.rsplit_once("->").unwrap_or_default();
            let is_by_value = parameters.contains("self") && !parameters.contains("&self");
            is_by_value && result.split(['<', ' ', ',']).any(|word| word == "Self")
        });
        let names_of = methods.filter_map(|method| method.split(['(', '<']).next());
        names.extend(names_of.map(str::to_owned));
    }
    names
}

/// Returns the text of each source file of a crate.
pub(crate) fn sources(krate: &str) -> Vec<String> {
    fn add(directory: &Path, texts: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(&path, texts);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                texts.push(fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut texts = Vec::new();
    add(&crates().join(krate).join("src"), &mut texts);
    texts
}

/// Returns the directory of all crates.
pub(crate) fn crates() -> std::path::PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut roots = package
        .ancestors()
        .map(|directory| directory.join("crates"));
    roots.find(|crates| crates.is_dir()).unwrap()
}
