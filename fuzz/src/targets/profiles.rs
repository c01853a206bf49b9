//! Profiles in TOML: settings are those that `toml` finds, and no error shows a value, which may be a secret in the
//! wrong place.

use hallpass_profiles::{ProfileError, Selection, internals};
use toml::de::{DeTable, DeValue};

use crate::{
    seeds,
    support::{CANARY, check_error},
};

pub(crate) const WORDS: &[&str] = &[
    "[profile.orders]\n",
    "[profile.orders.redis]\n",
    "[profile.orders.parameters]\n",
    "token_endpoint = \"https://login.example/token\"\n",
    "issuer = \"https://login.example\"\n",
    "provider = \"camall\"\n",
    "provider = \"keycloak\"\n",
    "client_id = \"orders\"\n",
    "client_secret = \"env:SECRET\"\n",
    "private_key = \"file:/key\"\n",
    "certificate = \"file:/certificate\"\n",
    "authentication = \"private_key_jwt\"\n",
    "token_member = \"/data/jwt\"\n",
    "expiry_format = \"unix_seconds\"\n",
    "lenient_responses = true\n",
    "timeout = \"10s\"\n",
    "security_profile = \"fapi2\"\n",
    "scope = \"a b\"\n",
    "audience = [\"a\"]\n",
    "'s3cr3t-CANARY'",
    "= true\n",
    "= {",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let cases = seeds::cases().profiles.into_iter();
    let cases = cases.map(|profile| format!("[profile.default]\n{profile}").into_bytes());
    let files = [
        "crates/profiles/src/file/tests.rs",
        "crates/profiles/tests/profiles/files.rs",
    ];
    let literals = seeds::of_literals(&files, &[]).into_iter();
    let mut seeds: Vec<_> = cases
        .chain(literals.filter(|literal| literal.len() > 24))
        .collect();
    // A secret in place of each setting's value, in each type that may hold one.
    let is_setting = |text: &String| {
        text.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let names = seeds::literals("crates/profiles/src/document.rs");
    for name in names.into_iter().filter(is_setting) {
        for value in [
            format!("{CANARY:?}"),
            format!("[{CANARY:?}]"),
            format!("{{ a = {CANARY:?} }}"),
        ] {
            for table in ["profile.default", "profile.default.redis"] {
                seeds.push(format!("[{table}]\n{name} = {value}\n").into_bytes());
            }
        }
    }
    for id in ["orders", " orders ", "a b", "\\t", "\u{e4}"] {
        let server =
            "token_endpoint = \"https://login.example/token\"\nclient_secret = \"env:SECRET\"";
        seeds.push(format!("[profile.default]\n{server}\nclient_id = \"{id}\"\n").into_bytes());
    }
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let document = DeTable::parse(text);
    let profiles = match internals::load(Some(text), |_| None) {
        Ok(profiles) => profiles,
        Err(error) => return check(&error, document.as_ref().ok().map(toml::Spanned::get_ref)),
    };
    let document = document.unwrap();
    let document = document.get_ref();
    // Authorization details may have any member.
    if !text.contains("authorization_details") {
        let more = format!("{text}\nunknown_setting = 1\n");
        let is_usable = internals::load(Some(&more), |_| None).is_ok_and(|profiles| {
            let mut names = profiles.names();
            names.all(|name| profiles.settings(&Selection::new().profile(name)).is_ok())
        });
        assert!(!is_usable, "{more}");
    }
    let tables = document
        .get("profile")
        .and_then(|table| table.get_ref().as_table());
    assert!(tables.is_some() || document.is_empty());
    for name in profiles.names() {
        let table = tables.unwrap().get(name).unwrap().get_ref().as_table();
        let text = |setting: &str| table.and_then(|table| table.get(setting)?.get_ref().as_str());
        match profiles.settings(&Selection::new().profile(name)) {
            Ok(settings) => {
                assert_eq!(
                    settings.client_id.as_str(),
                    text("client_id").unwrap_or_default()
                );
                let _ = (
                    settings.host(),
                    settings.namespace(),
                    settings.call_deadline(),
                );
            }
            Err(error) => check(&error, Some(document)),
        }
    }
    if let Err(error) = profiles.settings(&Selection::new()) {
        check(&error, Some(document));
    }
}

/// An error shows no value; it may show names of keys and profiles.
fn check(error: &ProfileError, document: Option<&DeTable<'_>>) {
    if !document.is_some_and(|table| has_key(table)) {
        check_error(error, CANARY);
    }
}

/// Returns true if the canary is in a key.
fn has_key(table: &DeTable<'_>) -> bool {
    fn in_value(value: &DeValue<'_>) -> bool {
        match value {
            DeValue::Table(table) => has_key(table),
            DeValue::Array(values) => values.iter().any(|value| in_value(value.get_ref())),
            _ => false,
        }
    }
    let mut members = table.iter();
    members.any(|(key, value)| key.get_ref().contains("CANARY") || in_value(value.get_ref()))
}
