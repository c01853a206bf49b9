//! Inputs from the tables of the tests, read where they are.

#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_testkit::faults;
use http::{HeaderMap, HeaderName, StatusCode};
use toml::de::{DeTable, DeValue};

use crate::support::Response;

/// Returns the path of a file of the repository.
fn path(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
}

/// Returns the text of a file of the repository.
pub(crate) fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Returns the text of each file of a directory, sorted by name.
fn files(folder: &str) -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(path(folder))
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    let texts = paths
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    texts.collect()
}

/// Returns the string literals of a Rust file, such as those of the tables of its tests.
pub(crate) fn literals(file: &str) -> Vec<String> {
    let source = text(file);
    let mut found = Vec::new();
    let mut rest = source.as_str();
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let raw = rest[..at].ends_with("r#");
        let tail = &rest[at..];
        rest = &tail[1..];
        let end = match tail.as_bytes()[0] {
            b'/' if tail.starts_with("//") => tail.find('\n').unwrap_or(tail.len()),
            b'\'' if tail.starts_with("'\"'") => 3,
            b'"' if raw => {
                let Some(end) = rest.find("\"#") else { break };
                found.push(rest[..end].to_owned());
                end + 2
            }
            b'"' => {
                let Some((literal, length)) = unescape(rest) else {
                    break;
                };
                found.push(literal);
                length + 1
            }
            _ => 1,
        };
        rest = &tail[end..];
    }
    found.retain(|literal| !literal.is_empty());
    found.dedup();
    found
}

/// Returns the literal that ends at the next quotation mark, and its length with the mark.
fn unescape(text: &str) -> Option<(String, usize)> {
    let mut literal = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((literal, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => literal.push('\n'),
                'r' => literal.push('\r'),
                't' => literal.push('\t'),
                '\n' => {}
                'u' | 'x' => {
                    let number = &text[at + 2..];
                    let (digits, length) = match number.strip_prefix('{') {
                        Some(rest) => (rest.split('}').next()?, rest.find('}')? + 2),
                        None => (number.get(..2)?, 2),
                    };
                    literal.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                    chars.nth(length - 1);
                }
                // Other escapes stay: a fuzzer changes them anyway.
                other => literal.extend(['\\', other].iter().skip(usize::from(other == '"'))),
            },
            char => literal.push(char),
        }
    }
    None
}

/// Returns the literals of these files as inputs after the byte `settings`, or without one.
pub(crate) fn of_literals(files: &[&str], settings: &[u8]) -> Vec<Vec<u8>> {
    let literals = files.iter().flat_map(|file| literals(file));
    literals
        .map(|literal| [settings, literal.as_bytes()].concat())
        .collect()
}

/// Returns the responses of the faults of the test kit.
pub(crate) fn faults() -> Vec<Response> {
    let responses = faults::all().filter_map(|fault| {
        let faults::Answer::Http {
            status,
            headers,
            body,
            ..
        } = fault.answer
        else {
            return None;
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().ok()?);
        }
        let body = match body {
            faults::Body::Text(text) => text.as_bytes().to_vec(),
            faults::Body::Bytes(bytes) => bytes.to_vec(),
            // Large, and no other code.
            _ => return None,
        };
        Some(Response {
            status: StatusCode::from_u16(status).ok()?,
            headers: map,
            body,
        })
    });
    responses.collect()
}

/// The inputs of the cases of the command.
#[derive(Default)]
pub(crate) struct Cases {
    pub(crate) responses: Vec<Response>,
    /// Settings of profiles.
    pub(crate) profiles: Vec<String>,
    /// Files, such as certificates and keys.
    pub(crate) files: Vec<String>,
}

/// Reads the cases of the command.
pub(crate) fn cases() -> Cases {
    let mut cases = Cases::default();
    for text in files("tests/cases") {
        let Ok(document) = DeTable::parse(&text) else {
            // The page about the format.
            continue;
        };
        let table = document.get_ref();
        cases.profiles.extend(string(table, "profile"));
        for file in tables(table, "files") {
            cases.files.extend(string(file, "text"));
        }
        for server in tables_of_arrays(table, "servers") {
            cases.responses.push(response(server));
        }
    }
    assert!(!cases.responses.is_empty() && !cases.profiles.is_empty() && !cases.files.is_empty());
    cases
}

fn string(table: &DeTable<'_>, name: &str) -> Option<String> {
    Some(table.get(name)?.get_ref().as_str()?.to_owned())
}

fn tables<'t>(table: &'t DeTable<'t>, name: &str) -> impl Iterator<Item = &'t DeTable<'t>> {
    let table = table.get(name).and_then(|value| value.get_ref().as_table());
    table
        .into_iter()
        .flat_map(|table| table.values())
        .filter_map(|value| value.get_ref().as_table())
}

fn tables_of_arrays<'t>(
    table: &'t DeTable<'t>,
    name: &str,
) -> impl Iterator<Item = &'t DeTable<'t>> {
    let table = table.get(name).and_then(|value| value.get_ref().as_table());
    table
        .into_iter()
        .flat_map(|table| table.values())
        .filter_map(|value| value.get_ref().as_array())
        .flat_map(|array| array.iter())
        .filter_map(|value| value.get_ref().as_table())
}

fn response(table: &DeTable<'_>) -> Response {
    let status = table
        .get("status")
        .and_then(|status| match status.get_ref() {
            DeValue::Integer(status) => StatusCode::from_bytes(status.as_str().as_bytes()).ok(),
            _ => None,
        });
    let mut headers = HeaderMap::new();
    if let Some(table) = table
        .get("headers")
        .and_then(|value| value.get_ref().as_table())
    {
        for (name, value) in table {
            let value = value
                .get_ref()
                .as_str()
                .and_then(|value| value.parse().ok());
            if let (Ok(name), Some(value)) = (name.get_ref().parse::<HeaderName>(), value) {
                headers.append(name, value);
            }
        }
    }
    let encoded = string(table, "body_base64");
    let decoded = encoded.and_then(|body| BASE64_STANDARD.decode(body).ok());
    let body = decoded.or_else(|| Some(string(table, "body")?.into_bytes()));
    Response {
        status: status.unwrap_or(StatusCode::OK),
        headers,
        body: body.unwrap_or_default(),
    }
}

/// Returns the sample keys of the crate for JWTs, in PEM and as JWK.
pub(crate) fn keys() -> Vec<String> {
    files("crates/jwt/src/key/samples")
}
