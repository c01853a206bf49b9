//! Metadata of servers (RFC 8414, OpenID Connect Discovery): each member is the one that `serde_json` finds, and
//! credentials go to no address that is not `https`, or that is local if those are refused.

use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_endpoint::{ClientCredentials, Endpoint, Metadata, Retry};
use hallpass_testkit::ManualClock;
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::{
    seeds,
    support::{
        CANARY, CLIENT_ID, ISSUER, Response, assert_unambiguous, authentication, check_error,
        check_token_error, has_only, is_plain_url, serve, settings, transport, unambiguous_object,
        without_mark,
    },
};

pub(crate) const WORDS: &[&str] = &[
    "\"issuer\":\"https://login.example\"",
    "\"token_endpoint\":\"https://login.example/t\"",
    "\"introspection_endpoint\"",
    "\"revocation_endpoint\"",
    "\"jwks_uri\"",
    "\"token_endpoint_auth_methods_supported\":[\"client_secret_post\"]",
    "\"token_endpoint_auth_signing_alg_values_supported\"",
    "\"scopes_supported\"",
    "\"authorization_details_types_supported\"",
    "\"grant_types_supported\"",
    "\"dpop_signing_alg_values_supported\"",
    "\"tls_client_certificate_bound_access_tokens\":true",
    "\"mtls_endpoint_aliases\"",
    "http://127.0.0.1/",
    "https://[::ffff:10.0.0.1]/",
    "https://user:s3cr3t-CANARY@",
    "\\u0069ssuer",
    "null",
    "\u{feff}",
];

const OPENID: u8 = 1;
const REFUSE_LOCAL: u8 = 2;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = [
        "crates/endpoint/src/server/metadata.rs",
        "tests/stories/discovery.rs",
    ];
    let mut seeds = Vec::new();
    for settings in [0, OPENID, REFUSE_LOCAL] {
        for mut seed in seeds::of_literals(&files, &[]) {
            let text = String::from_utf8(seed)
                .unwrap()
                .replace("https://a.example", ISSUER);
            seed = [&[settings], text.as_bytes()].concat();
            seeds.push(seed);
        }
    }
    for issuer in [
        "https://login.example/",
        "https://login.example/a",
        "https://evil.example",
    ] {
        let document =
            serde_json::json!({ "issuer": issuer, "token_endpoint": "https://login.example/t" });
        seeds.push([&[0], document.to_string().as_bytes()].concat());
    }
    let address = seeds::literals("crates/endpoint/src/server/address.rs").into_iter();
    seeds.extend(address.filter(|text| text.starts_with("http")).map(|text| {
        let document = serde_json::json!({ "issuer": ISSUER, "token_endpoint": text });
        [&[REFUSE_LOCAL], document.to_string().as_bytes()].concat()
    }));
    let valid = serde_json::json!({
        "issuer": ISSUER, "token_endpoint": "https://tokens.login.example/t", "x_a": [],
    });
    seeds.push([&[REFUSE_LOCAL], valid.to_string().as_bytes()].concat());
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, body) = settings(bytes);
    let has = |flag: u8| settings & flag != 0;
    document(body);

    let mut discovery = Endpoint::discover(ISSUER)
        .transport(transport(false))
        .clock(ManualClock::new());
    if has(OPENID) {
        discovery = discovery.openid_location();
    }
    if has(REFUSE_LOCAL) {
        discovery = discovery.refuse_local_issuer();
    }
    let endpoint = discovery.build().unwrap();
    let mut source = ClientCredentials::builder(endpoint, CLIENT_ID, authentication())
        .transport(transport(false))
        .retry(Retry::never())
        .clock(ManualClock::new());
    if has(REFUSE_LOCAL) {
        source = source.refuse_local_endpoint();
    }
    let source = source.build().unwrap();
    let answer = body.to_vec();
    let respond = move |url: &Url| {
        if url.path().contains(".well-known/") {
            Response::json(&answer)
        } else {
            Response::json(br#"{"access_token":"t","token_type":"Bearer"}"#)
        }
    };
    let request = TokenRequest::default();
    let (result, requests) = serve(respond, source.token(&request));
    let (first, others) = requests.split_first().unwrap();
    assert!(
        first
            .as_str()
            .starts_with("https://login.example/.well-known/")
    );
    for url in others {
        assert!(url.scheme() == "https" && url.username().is_empty() && url.password().is_none());
        assert!(!has(REFUSE_LOCAL) || !is_local(url), "{url}");
    }
    if unambiguous_object(without_mark(body)).is_some_and(|object| is_valid(&object)) {
        assert!(result.is_ok(), "{result:?}");
    }
    match result {
        Ok(_) => {
            assert!(!others.is_empty());
            assert_unambiguous(without_mark(body), &["issuer", "token_endpoint"]);
            // A number beyond a double in a member that is not read.
            if let Ok(value) = serde_json::from_slice::<Value>(without_mark(body)) {
                assert_eq!(value["issuer"], ISSUER);
                let endpoint = Url::parse(value["token_endpoint"].as_str().unwrap());
                assert_eq!(endpoint.as_ref().ok(), others.last());
            }
        }
        // A host is shown, and may have any name.
        Err(error) if error.host().is_some_and(|host| host.contains("canary")) => {}
        // So is the issuer of a document, which anyone can read.
        Err(error) if error.to_string().contains("another issuer") => {}
        Err(error) => check_token_error(&error),
    }
}

/// Returns true if no reader could refuse this document (RFC 8414 section 3.3).
fn is_valid(object: &Map<String, Value>) -> bool {
    let text = |name| object.get(name).and_then(Value::as_str);
    has_only(object, &["issuer", "token_endpoint"])
        && text("issuer") == Some(ISSUER)
        && text("token_endpoint").is_some_and(is_plain_url)
}

/// Compares the members of a document with the JSON that it was read from.
fn document(body: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(without_mark(body)) else {
        return;
    };
    // Without duplicate members, whose order would matter.
    let metadata = match Metadata::from_json(&value.to_string()) {
        Ok(metadata) => metadata,
        Err(error) => {
            check_error(&error, CANARY);
            return assert!(value["issuer"].as_str().is_none(), "{error}: {value}");
        }
    };
    assert_eq!(value["issuer"].as_str(), Some(metadata.issuer()));
    for (name, address) in [
        ("token_endpoint", metadata.token_endpoint()),
        ("introspection_endpoint", metadata.introspection_endpoint()),
        ("revocation_endpoint", metadata.revocation_endpoint()),
        ("jwks_uri", metadata.jwks_uri()),
    ] {
        assert_eq!(value[name].as_str(), address, "{name}");
    }
    let list = |name: &str| -> Option<Vec<&str>> {
        value[name].as_array()?.iter().map(Value::as_str).collect()
    };
    let methods = list("token_endpoint_auth_methods_supported");
    let methods = methods.unwrap_or_else(|| vec!["client_secret_basic"]);
    assert!(metadata.token_endpoint_auth_methods().eq(methods));
    assert!(
        metadata
            .scopes()
            .eq(list("scopes_supported").unwrap_or_default())
    );
    let proofs = list("dpop_signing_alg_values_supported").unwrap_or_default();
    assert!(metadata.dpop_algorithms().eq(proofs));
    let has = |name, value| list(name).map(|list| list.contains(&value));
    assert_eq!(
        metadata.supports_grant("client_credentials"),
        has("grant_types_supported", "client_credentials")
    );
    assert_eq!(
        metadata.supports_assertion_algorithm("ES256"),
        has("token_endpoint_auth_signing_alg_values_supported", "ES256")
    );
    assert_eq!(
        metadata.supports_authorization_details_type("a"),
        has("authorization_details_types_supported", "a")
    );
    let binds = &value["tls_client_certificate_bound_access_tokens"];
    assert_eq!(metadata.binds_tokens_to_certificates(), *binds == true);
    let alias = value["mtls_endpoint_aliases"]["token_endpoint"].as_str();
    assert_eq!(metadata.mtls_alias("token_endpoint"), alias);
}

/// Returns true for an address that is surely local or private.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
        }
        Some(Host::Ipv6(ip)) => {
            let mapped = ip.to_ipv4_mapped();
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || mapped
                    .is_some_and(|ip| ip.is_loopback() || ip.is_private() || ip.is_link_local())
        }
        None => false,
    }
}
