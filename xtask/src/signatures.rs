//! Checks public signatures for third-party types and traits: the next major version of their crate would force one of
//! ours.
//!
//! Reads rustdoc's JSON output.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context as _;
use serde_json::Value;
use xshell::Shell;

use crate::workspace::{self, Variants};

/// Third-party types that are allowed in public signatures, with reasons.
const ALLOWED: [(&str, &str, &str); 38] = [
    (
        "hallpass_core",
        "http::header::value::HeaderValue",
        "the token's ready-made header, which everyone's client takes",
    ),
    (
        "hallpass_core",
        "http::status::StatusCode",
        "the status of a response",
    ),
    (
        "hallpass_endpoint",
        "http::header::value::HeaderValue",
        "credentials that are a header",
    ),
    (
        "hallpass_endpoint",
        "http::header::map::HeaderMap",
        "the headers of a 401, which name the metadata of an API",
    ),
    (
        "hallpass_endpoint",
        "http::status::StatusCode",
        "the status of a service's response, for its own hints",
    ),
    (
        "hallpass_endpoint",
        "serde_core::de::DeserializeOwned",
        "the type of a service's JSON response",
    ),
    (
        "hallpass_endpoint",
        "serde_core::ser::Serialize",
        "the type of a service's JSON request",
    ),
    (
        "hallpass_endpoint",
        "reqwest::async_impl::client::Client",
        "a caller's own client, by a method that is named for its danger",
    ),
    (
        "hallpass_core",
        "http::header::map::HeaderMap",
        "the headers of a request or response in an integration",
    ),
    (
        "hallpass_core",
        "http::method::Method",
        "the method that a proof is for, as everyone's client has it",
    ),
    (
        "hallpass_core",
        "http::uri::Uri",
        "the URL of a request, as most clients have it",
    ),
    (
        "hallpass_blocking",
        "http::request::Request",
        "the requests that ureq sends",
    ),
    (
        "hallpass_blocking",
        "http::response::Response",
        "the responses that ureq returns",
    ),
    (
        "hallpass_blocking",
        "ureq::body::Body",
        "the body of ureq's response",
    ),
    (
        "hallpass_blocking",
        "ureq::send_body::AsSendBody",
        "the bodies that ureq sends",
    ),
    (
        "hallpass_blocking",
        "ureq::error::Error",
        "ureq's own error",
    ),
    (
        "hallpass_blocking",
        "ureq::agent::Agent",
        "a type that it extends",
    ),
    (
        "hallpass_blocking",
        "reqwest::blocking::request::RequestBuilder",
        "a type that it extends",
    ),
    (
        "hallpass_blocking",
        "reqwest::blocking::response::Response",
        "the responses that reqwest returns",
    ),
    (
        "hallpass_blocking",
        "reqwest::error::Error",
        "reqwest's own error",
    ),
    (
        "hallpass_reqwest",
        "reqwest::async_impl::client::Client",
        "the client that builds requests",
    ),
    (
        "hallpass_reqwest",
        "reqwest::async_impl::client::ClientBuilder",
        "the builder of that client",
    ),
    (
        "hallpass_reqwest",
        "reqwest::async_impl::request::RequestBuilder",
        "a type that it extends",
    ),
    (
        "hallpass_reqwest",
        "reqwest::async_impl::request::Request",
        "an argument of a middleware",
    ),
    (
        "hallpass_reqwest",
        "reqwest::async_impl::response::Response",
        "the response to a request",
    ),
    (
        "hallpass_reqwest",
        "reqwest::error::Error",
        "reqwest's own error",
    ),
    (
        "hallpass_reqwest",
        "reqwest::redirect::Policy",
        "a policy for reqwest's builder",
    ),
    (
        "hallpass_reqwest",
        "reqwest_middleware::middleware::Middleware",
        "the trait that it implements",
    ),
    (
        "hallpass_reqwest",
        "reqwest_middleware::middleware::Next",
        "the rest of the chain, an argument of a middleware",
    ),
    (
        "hallpass_reqwest",
        "reqwest_middleware::error::Error",
        "the error of that trait",
    ),
    (
        "hallpass_reqwest",
        "http::extensions::Extensions",
        "an argument of a middleware",
    ),
    (
        "hallpass_tower",
        "http::request::Request",
        "the requests of its services",
    ),
    (
        "hallpass_tower",
        "http::response::Response",
        "the responses of its services",
    ),
    ("hallpass_tower", "http_body::Body", "the trait of bodies"),
    (
        "hallpass_tower",
        "http_body::frame::Frame",
        "a part of a body",
    ),
    (
        "hallpass_tower",
        "http_body::size_hint::SizeHint",
        "the length of a body",
    ),
    (
        "hallpass_tower",
        "tower_layer::Layer",
        "the trait that it implements",
    ),
    (
        "hallpass_tower",
        "tower_service::Service",
        "the trait that it implements",
    ),
];
const STANDARD: [&str; 3] = ["core", "alloc", "std"];

pub(crate) fn check(
    shell: &Shell,
    libraries: &[String],
    faults: &mut Vec<String>,
) -> anyhow::Result<()> {
    crate::rustdoc::describe(shell, &workspace::selection(Variants::Never)?)?;
    for package in libraries {
        let krate = package.replace('-', "_");
        let description = crate::files::root().join(format!("target/doc/{krate}.json"));
        let found = foreign(&description)?;
        let listed = ALLOWED.iter().filter(|(within, ..)| *within == krate);
        for (_, path, _) in listed.filter(|(_, path, _)| !found.contains(*path)) {
            faults.push(format!(
                "`{path}` is listed in xtask/src/signatures.rs, and is in no public signature of `{package}`"
            ));
        }
        for foreign in found {
            let allowed =
                |(within, path, _): &(&str, &str, &str)| *within == krate && *path == foreign;
            if !ALLOWED.iter().any(allowed) {
                faults.push(format!(
                    "`{foreign}` stands in a public signature of `{package}`: hide it, or list it in xtask/src/signatures.rs with a reason"
                ));
            }
        }
    }
    Ok(())
}

/// Returns the paths of types in public signatures that are neither ours nor the standard library's.
fn foreign(description: &Path) -> anyhow::Result<BTreeSet<String>> {
    let crates: Value = serde_json::from_str(&fs::read_to_string(description)?)?;
    let items = crates["index"].as_object();
    let items = items.context("rustdoc's description has no index: its format has changed")?;
    let mut types = BTreeSet::new();
    for item in items.values().filter(|item| item["crate_id"] == 0) {
        let inner = &item["inner"];
        // Implementations that the compiler adds for every type are not ours.
        let added = &inner["impl"];
        if added["blanket_impl"].is_null() && added["is_synthetic"] != true {
            resolved(inner, &mut types);
        }
    }
    let mut foreign = BTreeSet::new();
    for id in types {
        let path = &crates["paths"][id.to_string()];
        let owner = &crates["external_crates"][path["crate_id"].to_string()]["name"];
        let Some(owner) = owner.as_str() else {
            continue;
        };
        if !owner.starts_with("hallpass") && !STANDARD.contains(&owner) {
            let parts = path["path"].as_array().into_iter().flatten();
            let parts: Vec<&str> = parts.filter_map(Value::as_str).collect();
            foreign.insert(parts.join("::"));
        }
    }
    Ok(foreign)
}

/// Collects the ids of all types and traits named in this value, at any depth.
fn resolved(value: &Value, types: &mut BTreeSet<u64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| resolved(value, types)),
        Value::Object(members) => {
            // A type, or a trait that is implemented or a bound.
            for named in ["resolved_path", "trait"] {
                types.extend(members.get(named).and_then(|path| path["id"].as_u64()));
            }
            members.values().for_each(|value| resolved(value, types));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_type_is_found_at_any_depth_and_ours_are_not() {
        let description = serde_json::json!({
            "index": {
                "1": { "crate_id": 0, "inner": { "function": { "sig": { "inputs": [
                    ["a", { "borrowed_ref": { "type": { "resolved_path": { "id": 10, "args": {
                        "angle_bracketed": { "args": [{ "type": { "resolved_path": { "id": 11 } } }] } } } } } }],
                    ["b", { "resolved_path": { "id": 12 } }],
                ] } } } },
                "2": { "crate_id": 5, "inner": { "resolved_path": { "id": 13 } } },
                "3": { "crate_id": 0, "inner": { "impl": {
                    "trait": { "path": "Service", "id": 14 }, "for": { "resolved_path": { "id": 12 } } } } },
            },
            "paths": {
                "10": { "crate_id": 1, "path": ["alloc", "vec", "Vec"] },
                "11": { "crate_id": 2, "path": ["oauth2", "Scope"] },
                "12": { "crate_id": 3, "path": ["hallpass_core", "Secret"] },
                "13": { "crate_id": 2, "path": ["oauth2", "ClientId"] },
                "14": { "crate_id": 4, "path": ["tower_service", "Service"] },
            },
            "external_crates": {
                "1": { "name": "alloc" }, "2": { "name": "oauth2" }, "3": { "name": "hallpass_core" },
                "4": { "name": "tower_service" },
            },
        });
        let path = std::env::temp_dir().join(format!("signatures-{}.json", std::process::id()));
        fs::write(&path, description.to_string()).unwrap();
        let found = foreign(&path);
        fs::remove_file(&path).unwrap();
        let expected = ["oauth2::Scope", "tower_service::Service"].map(ToOwned::to_owned);
        assert_eq!(found.unwrap(), BTreeSet::from(expected));
    }
}
