//! docs/observability.md lists exactly what the code emits: the tables are read, all events are triggered, and the two
//! are compared.

mod emit;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use hallpass::{Event, Observer};
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};
use tracing::{Subscriber, field::Field};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _};

use crate::{protected_resource, signed_introspection};

/// Returns the rows of the table below this heading, with backticks removed.
fn table(heading: &str) -> Vec<Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observability.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find(|part| part.starts_with(heading));
    let rows = section
        .unwrap()
        .lines()
        .filter(|line| line.starts_with('|'));
    let cells = |row: &str| -> Vec<String> {
        let row = row.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
        let cells = row.unwrap().split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    // Without the header and the line below it.
    let rows: Vec<_> = rows.skip(2).map(cells).collect();
    assert!(rows.len() > 5, "no table below `{heading}`");
    rows
}

/// Joins names in sorted order.
fn sorted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: BTreeSet<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    Vec::from_iter(names).join(", ")
}

fn listed(names: &str) -> String {
    sorted(names.split(", "))
}

type Lines = Arc<Mutex<BTreeSet<String>>>;

/// Records target, level, message and field names of everything that our crates trace.
struct Traced(Lines);

impl Traced {
    fn note(&self, metadata: &tracing::Metadata<'_>, what: &str) {
        let krate = metadata.target().split("::").next().unwrap();
        if !krate.starts_with("hallpass") {
            return;
        }
        let fields = metadata.fields().iter().map(|field| field.name());
        let fields = sorted(fields.filter(|name| *name != "message"));
        let level = metadata.level().as_str().to_lowercase();
        let line = format!("{krate} | {what} | {level} | {fields}");
        self.0.lock().unwrap().insert(line);
    }
}

impl<S: Subscriber> Layer<S> for Traced {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: Context<'_, S>,
    ) {
        let metadata = attributes.metadata();
        self.note(metadata, &format!("span {}", metadata.name()));
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.note(event.metadata(), &message.0);
    }
}

/// Records the name and the fields of each event, as `Debug` shows them.
#[derive(Clone, Default)]
struct EventLog(Lines);

impl Observer for EventLog {
    fn observe(&self, event: &Event<'_>) {
        let shown = format!("{:#?}", event.kind);
        let mut lines = shown.lines();
        let name = lines.next().unwrap().trim_end_matches(" {");
        // Fields of the event itself are at the first level of indentation.
        let own = |line: &str| line.starts_with("    ") && !line.starts_with("     ");
        let fields = lines
            .filter(|line| own(line))
            .filter_map(|line| line.split_once(':'));
        let fields = sorted(fields.map(|(name, _)| name.trim()));
        let line = format!("{name} | {} | {fields}", event.kind.as_str());
        self.0.lock().unwrap().insert(line);
    }
}

/// Returns name, kind, unit, labels and description of all metrics.
fn counted(snapshotter: &Snapshotter) -> BTreeSet<String> {
    let metrics = snapshotter.snapshot().into_vec();
    let lines = metrics.into_iter().map(|(key, unit, description, _)| {
        let kind = format!("{:?}", key.kind()).to_lowercase();
        let unit = unit.unwrap().as_str();
        let labels = sorted(key.key().labels().map(metrics::Label::key));
        let what = description.unwrap();
        format!("{} | {kind} | {unit} | {labels} | {what}", key.key().name())
    });
    lines.collect()
}

#[track_caller]
fn assert_same(documented: &BTreeSet<String>, emitted: &BTreeSet<String>) {
    let only = |these: &BTreeSet<String>, others: &BTreeSet<String>| {
        let lines: Vec<_> = these.difference(others).map(String::as_str).collect();
        lines.join("\n  ")
    };
    assert!(
        documented == emitted,
        "documented alone:\n  {}\nemitted alone:\n  {}",
        only(documented, emitted),
        only(emitted, documented)
    );
}

/// Returns true for events that need a Redis server, or a hardware token that is unplugged: only the source code shows
/// that they are emitted.
fn needs_equipment(row: &[String]) -> bool {
    row[0] == "hallpass_redis" || row[1] == "PKCS#11 session reopened"
}

// covers: F-101
#[tokio::test]
async fn the_documented_names_are_those_that_are_emitted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let traced = Lines::default();
    let subscriber = tracing_subscriber::registry().with(Traced(traced.clone()));
    // For all threads: a secret's file is read on a separate one. Events of other tests are documented too.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let log = EventLog::default();
    emit::cache(&log).await;
    emit::integration(&log).await;
    emit::endpoint().await;
    emit::secrets().await;
    emit::assertions().await;
    emit::proofs().await;
    emit::profiles().await;
    emit::servers().await;
    signed_introspection::emit().await;
    protected_resource::emit().await;

    let documented = table("Traces").into_iter();
    let documented = documented
        .filter(|row| !needs_equipment(row))
        .flat_map(|row| {
            // The first of equal events in a row may have a level of its own.
            let levels = row[2].split(", then ");
            let line = |level| format!("{} | {} | {level} | {}", row[0], row[1], listed(&row[3]));
            levels.map(line).collect::<Vec<_>>()
        })
        .collect();
    assert_same(&documented, &traced.lock().unwrap());

    let documented = table("Metrics").into_iter();
    let first_upper = |text: &str| text[..1].to_uppercase() + &text[1..];
    let documented = documented
        .map(|row| {
            let labels = listed(&row[3]);
            let what = first_upper(&row[4]);
            format!("{} | {} | {} | {labels} | {what}", row[0], row[1], row[2])
        })
        .collect();
    assert_same(&documented, &counted(&snapshotter));

    let documented = table("Observers").into_iter();
    let documented = documented
        .map(|row| format!("{} | {} | {}", row[0], row[1], listed(&row[2])))
        .collect();
    assert_same(&documented, &log.0.lock().unwrap());
}

/// Returns the texts of all events in the libraries' source code, whether or not a test triggers them.
fn written(folder: &Path, texts: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            written(&path, texts);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        for level in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
            // `compile_error!` is no event.
            let events = source.match_indices(level);
            for (at, _) in events.filter(|(at, _)| !source[..*at].ends_with('_')) {
                let event = source[at..].split_once(");").unwrap().0;
                // The text comes last; its format arguments do not matter.
                let text = event.rsplit('"').nth(1).unwrap();
                if !text.contains('{') {
                    texts.insert(text.to_owned());
                }
            }
        }
    }
}

// covers: F-101
#[test]
fn no_event_is_left_out_of_the_guide() {
    const TELLING: [&str; 9] = [
        "cache", "core", "endpoint", "jwt", "profiles", "redis", "reqwest", "secrets", "tower",
    ];
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut texts = BTreeSet::new();
    for name in TELLING {
        written(&crates.join(name).join("src"), &mut texts);
    }
    assert!(texts.len() > 20, "{texts:?}");
    let rows = table("Traces");
    let documented: BTreeSet<_> = rows.iter().map(|row| row[1].clone()).collect();
    let missing: Vec<_> = texts.difference(&documented).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for row in rows.iter().filter(|row| needs_equipment(row)) {
        assert!(texts.contains(&row[1]), "`{}` is not emitted", row[1]);
    }
}
