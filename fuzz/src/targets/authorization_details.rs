//! Authorization details (RFC 9396): the canonical text is stable, and means the same to `serde_json`.

use std::collections::BTreeSet;

use hallpass_core::AuthorizationDetails;
use serde_json::Value;

use crate::{
    seeds,
    support::{CANARY, check_error},
};

pub(crate) const WORDS: &[&str] = &[
    "\"type\"",
    "\"actions\"",
    "[{",
    "}]",
    "},{",
    "\\u0074ype",
    "1e400",
    "-0",
    "1.0",
    "null",
    "s3cr3t-CANARY",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = [
        "crates/core/src/authorization_details/parse/tests.rs",
        "tests/stories/authorization_details.rs",
    ];
    let mut seeds = seeds::of_literals(&files, &[]);
    // As deep as is accepted, and deeper.
    seeds.extend([14, 15].map(|depth| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"[{{"type":"a","b":{open}{close}}}]"#).into_bytes()
    }));
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let value = serde_json::from_str::<Value>(text).ok();
    let elements = value.as_ref().and_then(Value::as_array);
    match text.parse::<AuthorizationDetails>() {
        Ok(details) => {
            let again: AuthorizationDetails = details.as_str().parse().unwrap();
            assert_eq!(again, details);
            assert_eq!(again.as_str(), details.as_str());
            assert!(!details.as_str().is_empty() && details.types().next().is_some());
            // Numbers beyond a double are valid here.
            let Some(elements) = elements else { return };
            let canonical: Value = serde_json::from_str(details.as_str()).unwrap();
            let sorted = |elements: &[Value]| {
                let mut texts: Vec<_> = elements.iter().map(Value::to_string).collect();
                texts.sort_unstable();
                texts
            };
            assert_eq!(sorted(elements), sorted(canonical.as_array().unwrap()));
            let types: BTreeSet<&str> = elements
                .iter()
                .map(|element| element["type"].as_str().unwrap())
                .collect();
            assert!(!types.contains("") && details.types().eq(types));
        }
        Err(error) => {
            check_error(&error, CANARY);
            let is_legal = elements.is_some_and(|elements| {
                let typed = |element: &Value| {
                    element["type"]
                        .as_str()
                        .is_some_and(|kind| !kind.is_empty())
                };
                let depth = elements.iter().map(depth).max();
                elements.iter().all(typed) && depth.is_some_and(|depth| depth < 16)
            });
            if is_legal && text.len() <= 32 << 10 {
                assert!(error.to_string().contains("twice"), "{error}: {text}");
            }
        }
    }
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(values) => values.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or_default()
}
