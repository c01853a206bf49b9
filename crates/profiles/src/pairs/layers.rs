//! Settings in the file, in the environment and in the program: the precedence of each, and combinations of them with
//! clients, servers, stores and proxies.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use hallpass_endpoint::SecurityProfile;

use super::{
    base::{Address, Client, Table, combination, profile},
    rows::{self, Sample},
    run::World,
};
use crate::{
    AuthenticationMethod, Selection, ServerAddress, Settings,
    authentication::AuthenticationSettings,
    document::KEYS,
    environment::{Variables, read_layer},
    server::Server,
};

/// Returns the names of the variables that are read, without their prefix, but for the file and the profile.
fn variable_names() -> BTreeSet<String> {
    let read = Arc::<Mutex<BTreeSet<String>>>::default();
    let record = read.clone();
    let variables = Variables::new(move |name| {
        record.lock().unwrap().insert(name.to_owned());
        None
    });
    read_layer(&variables, true).unwrap();
    let read = read.lock().unwrap().clone();
    let names = read
        .iter()
        .filter_map(|name| name.strip_prefix("HALLPASS_"));
    names.map(str::to_owned).collect()
}

/// Returns the setting of a variable, and the value that it has in the settings for a value of the variable.
fn setting_of(name: &str) -> (String, fn(&str, &str) -> String) {
    let key = name.to_ascii_lowercase();
    let secrets = [
        "assertion",
        "certificate",
        "client_secret",
        "dpop",
        "private_key",
    ];
    if secrets.contains(&&*key) {
        return (key, |name, _| format!("env:HALLPASS_{name}"));
    }
    for (suffix, value) in [
        (
            "_file",
            (|_, value| format!("file:{value}")) as fn(&str, &str) -> String,
        ),
        ("_from", |_, value| value.to_owned()),
    ] {
        if let Some(key) = key.strip_suffix(suffix) {
            return (key.to_owned(), value);
        }
    }
    (key, |_, value| value.to_owned())
}

/// Returns another value of a setting than that of the table of settings, for the environment.
fn other_value(key: &str, name: &str) -> &'static str {
    match key {
        "audience" | "resource" => "https://variable.example/",
        "authentication" => "client_secret_basic",
        "issuer" => "https://issuer-of-variable.example",
        "provider" => "camall",
        "scope" => "variable",
        "security_profile" => "fapi2",
        "token_endpoint" => "https://variable.example/token",
        "client_id" | "key_id" => "of-variable",
        _ if name.ends_with("_FROM") => "file:/of/variable",
        _ => "/of/variable",
    }
}

/// Sets a setting by a method of the selection, to a value that is returned too.
type Flag = (&'static str, fn(Selection) -> Selection, &'static str);

const FLAGS: &[Flag] = &[
    (
        "audience",
        |one| one.audience("https://flag.example/"),
        "https://flag.example/",
    ),
    (
        "authentication",
        |one| one.authentication(AuthenticationMethod::ClientSecretBasicRaw),
        "client_secret_basic_raw",
    ),
    ("client_id", |one| one.client_id("of-flag"), "of-flag"),
    (
        "danger_allow_http_on_loopback",
        Selection::danger_allow_http_on_loopback,
        "true",
    ),
    (
        "dpop",
        |one| one.dpop("file:/of/flag".parse().unwrap()),
        "file:/of/flag",
    ),
    (
        "issuer",
        |one| one.issuer("https://flag.example"),
        "https://flag.example",
    ),
    (
        "parameter",
        |one| one.parameter("tenant", "flag"),
        "tenant=flag",
    ),
    ("provider", |one| one.provider("paypal"), "paypal"),
    (
        "resource",
        |one| one.resource("https://flag.example/"),
        "https://flag.example/",
    ),
    ("scope", |one| one.scope("flag"), "flag"),
    (
        "security_profile",
        |one| one.security_profile(SecurityProfile::Fapi2),
        "fapi2",
    ),
    ("timeout", |one| one.timeout(Duration::from_secs(1)), "1s"),
    (
        "token_endpoint",
        |one| one.token_endpoint("https://flag.example/token"),
        "https://flag.example/token",
    ),
];

/// Returns the effective value of a setting as text.
fn effective(settings: &Settings, key: &str) -> String {
    let request = &settings.request;
    match key {
        "audience" => request.audiences().collect::<Vec<_>>().join(" "),
        "authentication" => match &settings.authentication {
            AuthenticationSettings::ClientSecret { encoding, .. } => match encoding {
                Some(crate::SecretEncoding::Post) => "client_secret_post".to_owned(),
                Some(crate::SecretEncoding::BasicRaw) => "client_secret_basic_raw".to_owned(),
                _ => "client_secret_basic".to_owned(),
            },
            other => format!("{other:?}"),
        },
        "client_id" => settings.client_id.clone(),
        "danger_allow_http_on_loopback" => settings.danger_allow_http_on_loopback.to_string(),
        "dpop" => settings
            .dpop
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        "issuer" => match &settings.address {
            ServerAddress::Issuer { issuer, .. } => issuer.clone(),
            other => format!("{other:?}"),
        },
        "key_id" => match &settings.authentication {
            AuthenticationSettings::PrivateKeyJwt { key_id, .. } => {
                key_id.clone().unwrap_or_default()
            }
            other => format!("{other:?}"),
        },
        "parameter" => {
            let pairs = request
                .parameters()
                .map(|(name, value)| format!("{name}={value}"));
            pairs.collect::<Vec<_>>().join(" ")
        }
        "provider" => match settings.server {
            Server::Camall => "camall".to_owned(),
            Server::Preset(preset) => preset.name.to_ascii_lowercase(),
            other => format!("{other:?}"),
        },
        "resource" => request.resources().collect::<Vec<_>>().join(" "),
        "scope" => request.scopes().to_string(),
        "security_profile" => settings
            .security_profile
            .map(|_| "fapi2".to_owned())
            .unwrap_or_default(),
        "timeout" => format!("{}s", settings.timeout.unwrap_or_default().as_secs()),
        "token_endpoint" => settings.address.url().to_owned(),
        // A credential.
        _ => {
            let references = settings.authentication.references();
            references
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        }
    }
}

/// Returns a profile with this setting, and the first value of the setting.
fn profile_with(all: &[Sample], key: &str) -> Table {
    let key = if key == "parameter" {
        "parameters"
    } else {
        key
    };
    let sample = all.iter().find(|sample| sample.key == key).unwrap();
    profile(&[sample]).table
}

#[tokio::test(start_paused = true)]
async fn variables_and_flags_override_each_setting() {
    let world = World::new().await;
    let all = rows::samples();
    let mut faults = Vec::new();
    let mut check = |title: String,
                     key: &str,
                     expected: &str,
                     settings: Result<Settings, crate::ProfileError>| {
        match settings.map(|settings| effective(&settings, key)) {
            Ok(value) if value.split(' ').any(|value| value == expected) => {}
            Ok(value) => faults.push(format!("{title}: {key} is {value}, not {expected}")),
            Err(error) => faults.push(format!("{title}: {error}")),
        }
    };
    let names = variable_names();
    for name in &names {
        let (key, value_of) = setting_of(name);
        assert!(KEYS.contains(&&*key), "HALLPASS_{name} has no setting");
        let table = profile_with(&all, &key);
        let value = other_value(&key, name);
        let variable = format!("HALLPASS_{name}");
        let variables = move |wanted: &str| {
            let set = match wanted {
                "HALLPASS_PROFILE" => Some("run1"),
                _ => (wanted == variable).then_some(value),
            };
            set.map(Into::into)
        };
        let profiles = world.load([(1, &table)], Variables::new(variables));
        let mixed = Selection::new().danger_allow_mixed_settings();
        let expected = value_of(name, value);
        check(
            format!("HALLPASS_{name}"),
            &key,
            &expected,
            profiles.settings(&mixed),
        );
        // A profile that is chosen explicitly has precedence.
        let chosen = profiles.settings(&mixed.profile("run1")).unwrap();
        let alone = world.load([(1, &table)], Variables::new(|_| None));
        let alone = alone.settings(&Selection::new().profile("run1")).unwrap();
        let value = effective(&alone, &key);
        check(
            format!("HALLPASS_{name} beside --profile"),
            &key,
            value.split(' ').next().unwrap(),
            Ok(chosen),
        );
    }
    for (key, flag, expected) in FLAGS {
        let table = profile_with(&all, key);
        let name = key.to_ascii_uppercase();
        let value = other_value(key, &name);
        let variables = move |wanted: &str| {
            let set = match wanted {
                "HALLPASS_PROFILE" => Some("run1"),
                _ => (wanted == format!("HALLPASS_{name}")).then_some(value),
            };
            set.map(Into::into)
        };
        let profiles = world.load([(1, &table)], Variables::new(variables));
        for selection in [Selection::new(), Selection::new().profile("run1")] {
            let selection = flag(selection.danger_allow_mixed_settings());
            check(
                format!("flag {key}"),
                key,
                expected,
                profiles.settings(&selection),
            );
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    // The table has each method of the selection.
    let methods = include_str!("../selection.rs").split("    pub fn ").skip(1);
    let methods: BTreeSet<_> = methods
        .filter(|text| {
            text.split(')')
                .next()
                .is_some_and(|head| head.contains("mut self"))
        })
        .filter_map(|text| text.split('(').next())
        .filter(|name| !["profile", "danger_allow_mixed_settings"].contains(name))
        .collect();
    assert_eq!(methods, FLAGS.iter().map(|(key, ..)| *key).collect());
    assert_eq!(names.len(), 25);
}

const STORES: [Option<(&str, &str)>; 3] =
    [None, Some(("cache", "false")), Some(("redis", rows::REDIS))];
const PROXIES: [Option<(&str, &str)>; 3] = [
    None,
    Some(("proxy", "'http://127.0.0.1:{port}'")),
    Some(("proxy", "'system'")),
];
/// Those whose requests differ; a certificate needs a TLS client of its own, which takes long to build.
const CLIENTS: [Client; 9] = [
    Client::Secret,
    Client::Post,
    Client::SecretJwt,
    Client::Signed,
    Client::SignedWithCertificate,
    Client::Workload,
    Client::Tls,
    Client::SecretAndTls,
    Client::Public,
];

#[tokio::test(start_paused = true)]
async fn clients_servers_stores_and_proxies_work_together() {
    let world = World::new().await;
    let all = rows::samples();
    let mut tables = Vec::new();
    for address in Address::ALL {
        for client in CLIENTS {
            for (at, store) in STORES.iter().enumerate() {
                for (of, proxy) in PROXIES.iter().enumerate() {
                    if client.presents_a_certificate() && at > 0 && of > 0 {
                        continue;
                    }
                    let more = [*store, *proxy].into_iter().flatten();
                    let table = combination(*address, client, more);
                    let run = u32::try_from(tables.len()).unwrap() + 1;
                    tables.push((
                        run,
                        format!("{address:?}, {client:?}, {store:?}, {proxy:?}"),
                        table,
                    ));
                }
            }
        }
    }
    let file = || tables.iter().map(|(run, _, table)| (*run, table));
    let profiles = world.load(file(), Variables::new(|_| None));
    let mut faults = Vec::new();
    let mut held = Vec::new();
    for (run, title, table) in &tables {
        let selection = Selection::new().profile(format!("run{run}"));
        let outcome = world
            .run(
                &profiles,
                &selection,
                *run,
                table,
                super::answer(&all, table),
            )
            .await;
        match outcome {
            Err(error) => faults.push(format!("{title}: {error}")),
            Ok(outcome) => {
                let set = all.iter().filter(|sample| {
                    table
                        .get(sample.key)
                        .is_some_and(|value| value == sample.value)
                });
                let unseen: Vec<_> = set
                    .filter(|sample| !(sample.seen)(&outcome))
                    .map(|sample| sample.key)
                    .collect();
                if !outcome.is_issued() || !unseen.is_empty() {
                    faults.push(format!(
                        "{title}: no effect of {unseen:?}; {}",
                        outcome.error()
                    ));
                }
                held.push(outcome);
            }
        }
        check_layers(&world, *run, table, &mut faults, title);
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(tables.len(), 438);
}

/// Checks that the settings are the same if the server and the client are set by variables or by the program. Not for
/// settings of a server that profiles alone have: the server is replaced as a whole.
fn check_layers(world: &World, run: u32, table: &Table, faults: &mut Vec<String>, title: &str) {
    let names = variable_names();
    let of_file = ["variables", "provider_settings", "bound_tokens"];
    if of_file.iter().any(|key| table.contains_key(key)) {
        return;
    }
    let mut rest = table.clone();
    let mut set = Vec::new();
    for (key, value) in table {
        let name = key.to_ascii_uppercase();
        let name = if value.contains("'file:") {
            format!("{name}_FROM")
        } else {
            name
        };
        if names.contains(&name) {
            let value = world.expand(value, run, table);
            set.push((
                format!("HALLPASS_{name}"),
                value.trim_matches('\'').to_owned(),
            ));
            rest.remove(key);
        }
    }
    let by_file = world.load([(run, table)], Variables::new(|_| None));
    let by_file = by_file
        .settings(&Selection::new().profile(format!("run{run}")))
        .unwrap();
    let variables = move |wanted: &str| {
        let mut set = set.iter();
        let found = set.find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.into())
    };
    let profiles = world.load([(run, &rest)], Variables::new(variables));
    match profiles.settings(&Selection::new().profile(format!("run{run}"))) {
        Err(error) => faults.push(format!("{title}, by variables: {error}")),
        Ok(mut settings) => {
            settings.server_source = by_file.server_source.clone();
            if !settings.is_equivalent(&by_file) {
                faults.push(format!("{title}, by variables: {settings:?}\n{by_file:?}"));
            }
        }
    }
}
