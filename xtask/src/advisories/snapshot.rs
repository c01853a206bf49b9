//! The snapshot of the advisory database: identifiers and versions, without the advisories' text.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use anyhow::Context as _;
use toml_edit::{Array, DocumentMut, Item, TableLike};

const HEADER: &str = "# Advisories about crates: identifiers and versions, without the text.\n\
    # Written by `cargo xtask advisories --update`; read where the database cannot be reached.\n";
/// The kind of an advisory that is not only informational.
const VULNERABILITY: &str = "vulnerability";

pub(super) struct Snapshot {
    /// The day of the database's last change, such as `2026-01-31`.
    pub(super) date: String,
    /// By identifier.
    pub(super) advisories: BTreeMap<String, Advisory>,
}

pub(super) struct Advisory {
    pub(super) krate: String,
    /// `vulnerability`, `unmaintained`, `unsound` or `notice`.
    pub(super) kind: String,
    pub(super) patched: Vec<String>,
    pub(super) unaffected: Vec<String>,
}

impl Snapshot {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = crate::files::text(path)?;
        let parsed = parse(&text);
        parsed.with_context(|| format!("{} is no snapshot of advisories", path.display()))
    }

    /// Reads the files of a database.
    pub(super) fn of(database: &Path, date: String) -> anyhow::Result<Self> {
        let mut advisories = BTreeMap::new();
        for folder in fs::read_dir(database.join("crates"))? {
            for file in fs::read_dir(folder?.path())? {
                let path = file?.path();
                let text = crate::files::text(&path)?;
                let read = upstream(&text);
                let read = read.with_context(|| format!("{} is no advisory", path.display()))?;
                advisories.extend(read);
            }
        }
        Ok(Self { date, advisories })
    }

    /// Writes files in the database's format. There is always one advisory, as cargo-deny refuses an empty database.
    pub(super) fn write_database(&self, folder: &Path) -> anyhow::Result<()> {
        let placeholder = Advisory {
            krate: "placeholder-of-an-empty-snapshot".to_owned(),
            kind: VULNERABILITY.to_owned(),
            patched: Vec::new(),
            unaffected: Vec::new(),
        };
        let placeholder = [("PLACEHOLDER".to_owned(), placeholder)];
        let placeholder = placeholder.iter().map(|(id, advisory)| (id, advisory));
        for (id, advisory) in self.advisories.iter().chain(placeholder) {
            let folder = folder.join("crates").join(&advisory.krate);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("{id}.md")), advisory.document(id))?;
        }
        Ok(())
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEADER}date = {:?}\n\n[advisories]\n", self.date)?;
        for (id, advisory) in &self.advisories {
            let Advisory {
                krate,
                kind,
                patched,
                unaffected,
            } = advisory;
            writeln!(
                f,
                "{id} = {{ crate = {krate:?}, kind = {kind:?}, patched = {patched:?}, unaffected = {unaffected:?} }}"
            )?;
        }
        Ok(())
    }
}

impl Advisory {
    /// Returns the advisory as a file of the database.
    fn document(&self, id: &str) -> String {
        let Self {
            krate,
            kind,
            patched,
            unaffected,
        } = self;
        let informational = if kind == VULNERABILITY {
            String::new()
        } else {
            format!("informational = {kind:?}\n")
        };
        format!(
            "```toml\n[advisory]\nid = {id:?}\npackage = {krate:?}\n{informational}\n\
            [versions]\npatched = {patched:?}\nunaffected = {unaffected:?}\n```\n\n# {kind}\n"
        )
    }
}

fn parse(text: &str) -> anyhow::Result<Snapshot> {
    let document: DocumentMut = text.parse()?;
    let advisories = document["advisories"].as_table().context("no advisories")?;
    let read = |(id, item): (&str, &Item)| {
        let advisory = item.as_table_like().context("an advisory is no table")?;
        let advisory = Advisory {
            krate: required(advisory, "crate")?,
            kind: required(advisory, "kind")?,
            patched: strings(advisory.get("patched")),
            unaffected: strings(advisory.get("unaffected")),
        };
        Ok((id.to_owned(), advisory))
    };
    Ok(Snapshot {
        date: required(document.as_table(), "date")?,
        advisories: advisories.iter().map(read).collect::<anyhow::Result<_>>()?,
    })
}

/// Reads a file of the database; returns nothing for an advisory that was withdrawn.
fn upstream(text: &str) -> anyhow::Result<Option<(String, Advisory)>> {
    let start = text.split_once("```toml").context("no front matter")?.1;
    let front = start.split_once("```").context("no end of front matter")?.0;
    let document: DocumentMut = front.parse()?;
    let advisory = document["advisory"].as_table().context("no advisory")?;
    if advisory.contains_key("withdrawn") {
        return Ok(None);
    }
    let versions = document["versions"].as_table().context("no versions")?;
    let kind = required(advisory, "informational");
    Ok(Some((
        required(advisory, "id")?,
        Advisory {
            krate: required(advisory, "package")?,
            kind: kind.unwrap_or_else(|_| VULNERABILITY.to_owned()),
            patched: strings(versions.get("patched")),
            unaffected: strings(versions.get("unaffected")),
        },
    )))
}

fn required(table: &dyn TableLike, key: &str) -> anyhow::Result<String> {
    let value = table.get(key).and_then(Item::as_str);
    Ok(value.with_context(|| format!("no `{key}`"))?.to_owned())
}

fn strings(item: Option<&Item>) -> Vec<String> {
    let values = item
        .and_then(Item::as_array)
        .into_iter()
        .flat_map(Array::iter);
    values
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}
