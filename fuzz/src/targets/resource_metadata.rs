//! Metadata of protected resources (RFC 9728): a resource is the one that was asked for, its server is one that is
//! allowed, and nothing is read from another origin.

use hallpass_endpoint::{ProtectedResource, ResourceDiscovery};
use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use serde_json::{Map, Value, json};
use url::Url;

use crate::{
    seeds,
    support::{
        ISSUER, Response, check_token_error, has_only, line, serve, settings, transport,
        unambiguous_object, without_mark,
    },
};

pub(crate) const WORDS: &[&str] = &[
    "\"resource\":\"https://api.example/orders\"",
    "\"resource\":\"https://api.example\"",
    "\"authorization_servers\":[\"https://login.example\"]",
    "\"scopes_supported\"",
    "\"dpop_bound_access_tokens_required\":true",
    "\"tls_client_certificate_bound_access_tokens\":true",
    "\"authorization_details_types_supported\"",
    "Bearer resource_metadata=\"https://api.example/m\"",
    "https://api.example.evil/",
    "\\u0072esource",
    "/../",
    "%2e%2e/",
    "\n",
];

const FROM_CHALLENGE: u8 = 1;
const ACCEPT_PARENT: u8 = 2;

const RESOURCE: &str = "https://api.example/orders/eu";

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let document = format!(
        r#"{{"resource":"{RESOURCE}","authorization_servers":["{ISSUER}"],"scopes_supported":["a"]}}"#
    );
    let challenge = "Bearer resource_metadata=\"https://api.example/m\"";
    let mut texts = vec![format!("\n{document}"), format!("{challenge}\n{document}")];
    // A parent, what only begins like one, and other spellings.
    for path in [
        "/orders",
        "/orders/",
        "/orders/eu/",
        "",
        "/",
        "/ord",
        "/orders/e",
        "/orders/eu/x",
        "/other/%2e%2e/orders",
        "/Orders",
        "/%6frders",
    ] {
        let other = document.replace("/orders/eu", path);
        texts.push(format!("{challenge}\n{other}"));
    }
    for place in [
        "https://api.example.evil/m",
        "http://api.example/m",
        "https://api.example:444/m",
        "https://user@api.example/m",
        "https://api.example@evil.example/m",
        "/m",
    ] {
        let challenge = challenge.replace("https://api.example/m", place);
        texts.push(format!("{challenge}\n{document}"));
    }
    for text in texts {
        for settings in 0..4 {
            seeds.push([&[settings], text.as_bytes()].concat());
        }
    }
    let files = ["crates/endpoint/src/server/resource_document.rs"];
    seeds.extend(seeds::of_literals(&files, b"\0\n"));
    let valid = document.replace("scopes_supported", "x_a");
    seeds.push(format!("\0\n{valid}").into_bytes());
    let files = ["tests/stories/protected_resource.rs"];
    seeds.extend(seeds::of_literals(
        &files,
        &[FROM_CHALLENGE | ACCEPT_PARENT],
    ));
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    let has = |flag: u8| settings & flag != 0;
    let (challenge, body) = line(bytes);
    let mut discovery = ResourceDiscovery::builder()
        .allow_resource("https://api.example")
        .allow_issuer(ISSUER)
        .transport(transport(false));
    if has(ACCEPT_PARENT) {
        discovery = discovery.accept_parent_resource();
    }
    let discovery = discovery.build().unwrap();
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(challenge) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
    let document = body.to_vec();
    let respond = move |_: &Url| Response::json(&document);
    let (result, requests) = if has(FROM_CHALLENGE) {
        serve(respond, discovery.discover_from(RESOURCE, &headers))
    } else {
        serve(respond, discovery.discover(RESOURCE))
    };
    assert!(requests.len() <= 1);
    for url in &requests {
        assert!(url.as_str().starts_with("https://api.example/") && url.username().is_empty());
    }
    let object = unambiguous_object(without_mark(body));
    if !has(FROM_CHALLENGE) && object.is_some_and(|object| is_valid(&object)) {
        assert!(result.is_ok(), "{result:?}");
    }
    match result {
        Ok(found) => agrees(&found, body, has(FROM_CHALLENGE) && has(ACCEPT_PARENT)),
        Err(error) => {
            // Hosts, issuers and resources are shown.
            if !String::from_utf8_lossy(bytes)
                .to_lowercase()
                .contains("canary")
            {
                check_token_error(&error);
            }
        }
    }
}

/// Returns true if no reader could refuse this document (RFC 9728 section 3.3).
fn is_valid(object: &Map<String, Value>) -> bool {
    let is = |name, value: Value| object.get(name) == Some(&value);
    has_only(object, &["resource", "authorization_servers"])
        && is("resource", json!(RESOURCE))
        && is("authorization_servers", json!([ISSUER]))
}

fn agrees(found: &ProtectedResource, body: &[u8], accept_parent: bool) {
    assert_eq!(found.issuer(), ISSUER);
    let resource = Url::parse(found.resource()).unwrap();
    let requested = Url::parse(RESOURCE).unwrap();
    assert_eq!(resource.origin(), requested.origin());
    if accept_parent {
        // As it is written, since servers compare texts.
        let written = found.resource().trim_end_matches('/');
        assert!(
            written.ends_with(resource.path().trim_end_matches('/')),
            "{written}"
        );
        assert!(
            !written.contains("/.") && !written.to_lowercase().contains("%2e"),
            "{written}"
        );
        let below = requested
            .path()
            .strip_prefix(resource.path().trim_end_matches('/'));
        assert!(
            below.is_some_and(|below| below.is_empty() || below.starts_with('/')),
            "{resource}"
        );
    } else {
        assert_eq!(found.resource(), RESOURCE);
    }
    let Ok(value) = serde_json::from_slice::<Value>(without_mark(body)) else {
        return;
    };
    assert_eq!(value["resource"].as_str(), Some(found.resource()));
    let servers = value["authorization_servers"].as_array().unwrap();
    assert!(servers.iter().any(|server| server == ISSUER));
}
