//! Settings in variables: those of one source are used together, and no error shows a value, which may be a secret.

use std::{collections::HashMap, ffi::OsString};

use hallpass_profiles::{Selection, internals, parse_duration};

use crate::{
    seeds,
    support::{CANARY, check_error},
};

pub(crate) const WORDS: &[&str] = &[
    "HALLPASS_CLIENT_ID=orders\n",
    "HALLPASS_CLIENT_SECRET=s3cr3t-CANARY\n",
    "HALLPASS_CLIENT_SECRET_FILE=/run/secrets/s\n",
    "HALLPASS_TOKEN_ENDPOINT=https://login.example/token\n",
    "HALLPASS_ISSUER=https://login.example\n",
    "HALLPASS_PROVIDER=camall\n",
    "HALLPASS_AUTHENTICATION=client_secret_post\n",
    "HALLPASS_PRIVATE_KEY=file:/k\n",
    "HALLPASS_CERTIFICATE=file:/c\n",
    "HALLPASS_SECURITY_PROFILE=fapi2\n",
    "HALLPASS_SCOPE=a b\n",
    "HALLPASS_AUDIENCE=a\n",
    "HALLPASS_DPOP=file:/d\n",
    "CAMALL_CLIENT_ID=orders\n",
    "CAMALL_CLIENT_SECRET=s3cr3t-CANARY\n",
    "1m 30s",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let words: Vec<&str> = WORDS
        .iter()
        .filter(|word| word.ends_with('\n'))
        .copied()
        .collect();
    let mut seeds = vec![words.concat().into_bytes()];
    seeds.extend(words.windows(4).map(|words| words.concat().into_bytes()));
    // Each two, with and without what most of them need.
    let server =
        "HALLPASS_TOKEN_ENDPOINT=https://login.example/token\nHALLPASS_CLIENT_SECRET_FILE=/s\n";
    for (at, one) in words.iter().enumerate() {
        for other in &words[at..] {
            seeds.push([*one, *other].concat().into_bytes());
            seeds.push([server, *one, *other].concat().into_bytes());
        }
    }
    let camall = words.iter().filter(|word| word.starts_with("CAMALL"));
    let camall = camall.copied().collect::<Vec<_>>().concat();
    let server = words.iter().filter(|word| word.contains("_ENDPOINT="));
    seeds.extend(server.map(|server| [*server, &*camall].concat().into_bytes()));
    seeds.extend(seeds::of_literals(&["crates/profiles/src/values.rs"], &[]));
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(duration) = parse_duration(text) {
        assert!(!duration.is_zero());
        assert!(text.trim().parse::<u32>().is_ok() || text.contains(char::is_alphabetic));
    }
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let variables: HashMap<String, OsString> = lines
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let get = |name: &str| {
        variables
            .get(name)
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    };
    let copy = variables.clone();
    let profiles = internals::load(None, move |name| copy.get(name).cloned()).unwrap();
    match profiles.settings(&Selection::new()) {
        Ok(settings) => {
            let servers = ["TOKEN_ENDPOINT", "ISSUER", "PROVIDER"];
            let is_ours = servers
                .iter()
                .any(|name| get(&format!("HALLPASS_{name}")).is_some());
            let camall = get("CAMALL_CLIENT_ID").filter(|_| !is_ours);
            let id = get("HALLPASS_CLIENT_ID").or(camall);
            let secrets = ["", "_FILE", "_FROM"];
            let secrets =
                secrets.map(|suffix| get(&format!("HALLPASS_CLIENT_SECRET{suffix}")).is_some());
            assert!(secrets.iter().filter(|is_set| **is_set).count() <= 1);
            assert_eq!(
                Some(settings.client_id.as_str()).filter(|id| !id.is_empty()),
                id
            );
        }
        Err(error) => {
            // Only a secret is written as one; a profile's name is shown.
            let secrets = ["HALLPASS_CLIENT_SECRET", "CAMALL_CLIENT_SECRET"];
            let elsewhere = variables.iter().any(|(name, value)| {
                !secrets.contains(&name.as_str()) && value.to_string_lossy().contains("CANARY")
            });
            if !elsewhere {
                check_error(&error, CANARY);
            }
        }
    }
}
