//! The settings of profiles, and of tenants, whose sources profiles or a function describe.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use hallpass::{
    TokenRequest, TokenSourceExt as _,
    profiles::{Profiles, ProfilesBuilder, Selection, TenantMetrics, Tenants, TenantsBuilder},
};
use hallpass_testkit::{StaticSource, leak};
use metrics_util::debugging::DebuggingRecorder;
use tempfile::TempDir;

use super::{
    pairs::{PairCounts, Setting, SettingSelection, check, check_some},
    settings::methods,
};

/// A directory with two files of profiles, or with none.
struct Directory {
    path: TempDir,
}

impl Directory {
    fn new() -> Self {
        Self {
            path: TempDir::new().unwrap(),
        }
    }

    fn with_files() -> Self {
        let new = Self::new();
        for name in ["one", "other"] {
            new.write(name, name).unwrap();
        }
        new
    }

    /// Returns the path of the file with this profile.
    fn file(&self, name: &str) -> PathBuf {
        self.path.path().join(format!("{name}.toml"))
    }

    fn write(&self, file: &str, profile: &str) -> io::Result<()> {
        let profile = format!("[profile.{profile}]\nprovider = 'acme'\n");
        fs::write(self.file(file), profile)
    }
}

/// The observations of profiles.
struct ProfilesObservations {
    names: Vec<String>,
    is_provider_known: bool,
    missing: String,
}

fn rows_of_profiles() -> Vec<Setting<ProfilesBuilder, Directory, ProfilesObservations>> {
    let row = Setting::<ProfilesBuilder, Directory, ProfilesObservations>::new;
    vec![
        row(
            "file",
            |one, directory| one.file(directory.file("other")),
            |seen| seen.names == ["other"] && seen.missing.contains("other.toml"),
        ),
        row(
            "file_set_by",
            |one, _| one.file_set_by("--own-flag"),
            |seen| seen.missing.contains("--own-flag"),
        ),
        row(
            "provider",
            |one, _| one.provider("acme", |_| Ok(Arc::new(StaticSource::new("t")))),
            |seen| seen.is_provider_known,
        ),
    ]
}

#[tokio::test]
async fn every_two_settings_of_profiles_work() {
    let rows = rows_of_profiles();
    let (directory, empty) = (Directory::with_files(), Directory::new());
    let run = async |selection: &SettingSelection<'_, _, _, _>| {
        let load = |directory: &Directory| {
            let builder = Profiles::builder().file(directory.file("one"));
            selection.set(builder, directory).load()
        };
        let profiles = load(&directory).map_err(|error| leak::error_chain(&error))?;
        let names: Vec<_> = profiles.names().map(str::to_owned).collect();
        let settings = profiles.settings(&Selection::new().profile(&names[0]));
        Ok(ProfilesObservations {
            is_provider_known: settings.is_ok(),
            names,
            missing: leak::error_chain(&load(&empty).unwrap_err()),
        })
    };
    assert_eq!(
        check(("profiles", "ProfilesBuilder"), &rows, &[], run).await,
        PairCounts {
            built: 9,
            refused: 0
        }
    );
}

/// The tenants whose caches were changed.
type Changed = Arc<Mutex<BTreeSet<String>>>;

/// The observations of tenants.
struct TenantsObservations {
    count: usize,
    labels: BTreeSet<String>,
    changed: BTreeSet<String>,
    is_file_read_again: bool,
}

fn rows_of_tenants() -> Vec<Setting<TenantsBuilder, Changed, TenantsObservations>> {
    let row = Setting::<TenantsBuilder, Changed, TenantsObservations>::new;
    vec![
        row(
            "cache",
            |one, changed| {
                let changed = changed.clone();
                one.cache(move |tenant, cache| {
                    changed.lock().unwrap().insert(tenant.to_owned());
                    cache
                })
            },
            |seen| seen.changed.len() == 2,
        ),
        row(
            "max_tenants",
            |one, _| one.max_tenants(1),
            |seen| seen.count == 1,
        ),
        row(
            "metrics",
            |one, _| one.metrics(TenantMetrics::PerTenant),
            |seen| seen.labels.contains("one"),
        ),
        row(
            "watch",
            |one, _| one.watch(Duration::from_secs(10)),
            |seen| seen.is_file_read_again,
        ),
    ]
}

/// Uses two tenants, and then replaces their file.
async fn run_tenants(
    selection: &SettingSelection<'_, TenantsBuilder, Changed, TenantsObservations>,
    end: fn(TenantsBuilder, &Directory) -> Tenants,
) -> Result<TenantsObservations, String> {
    let (recorder, directory) = (DebuggingRecorder::new(), Directory::new());
    let _recording = metrics::set_default_local_recorder(&recorder);
    let profile = "one]\nprovider = 'acme'\n[profile.other";
    directory.write("one", profile).unwrap();
    let changed = Changed::default();
    let tenants = end(selection.set(Tenants::builder(), &changed), &directory);
    for name in ["one", "other"] {
        let source = tenants.source(name).unwrap();
        source.access_token(&TokenRequest::default()).await.unwrap();
    }
    let count = tenants.len();
    let series = recorder.snapshotter().snapshot().into_vec();
    let labels = series.iter().flat_map(|(key, ..)| key.key().labels());
    let labels = labels.filter(|label| label.key() == "cache");
    let labels = labels.map(|label| label.value().to_owned()).collect();
    directory.write("one", "replaced").unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let profiles = tenants.profiles();
    let changed = changed.lock().unwrap().clone();
    Ok(TenantsObservations {
        count,
        labels,
        changed,
        is_file_read_again: profiles.is_some_and(|profiles| profiles.names().eq(["replaced"])),
    })
}

#[tokio::test(start_paused = true)]
async fn every_two_settings_of_tenants_of_a_file_work() {
    let rows = rows_of_tenants();
    let load = |builder: TenantsBuilder, directory: &Directory| {
        let profiles = Profiles::builder().file(directory.file("one"));
        let profiles = profiles.provider("acme", |_| Ok(Arc::new(StaticSource::new("t"))));
        builder.load(profiles).unwrap()
    };
    let counts = check(
        ("profiles", "TenantsBuilder"),
        &rows,
        &[],
        async |selection| run_tenants(selection, load).await,
    );
    assert_eq!(
        counts.await,
        PairCounts {
            built: 16,
            refused: 0
        }
    );
}

#[tokio::test(start_paused = true)]
async fn every_two_settings_of_tenants_of_a_function_work() {
    let build = |builder: TenantsBuilder, _: &Directory| {
        builder.build(|_| Ok::<_, Infallible>(StaticSource::new("t")))
    };
    let mut rows = rows_of_tenants();
    rows.retain(|row| row.name != "watch");
    let methods = methods("profiles", "TenantsBuilder");
    let (_, text) = methods.iter().find(|(name, _)| name == "watch").unwrap();
    assert!(text.contains("(Self::build)"), "{text}");
    let counts = check_some(&rows, &[], async |selection| {
        run_tenants(selection, build).await
    });
    assert_eq!(
        counts.await,
        PairCounts {
            built: 9,
            refused: 0
        }
    );
}
