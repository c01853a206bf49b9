//! JWT-SVIDs and platforms' assertions: what is sent is the JWT of the text, with the members that its specification
//! demands, and an error repeats nothing of it.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::{Secret, TokenError};
use hallpass_endpoint::{AuthenticationContext, ClientAuthentication, Credentials};
use hallpass_jwt::{SpiffeJwt, WorkloadIdentity};
use hallpass_testkit::ManualClock;
use serde_json::Value;

use crate::{
    seeds,
    support::{
        CLIENT_ID, ISSUER, TOKEN_ENDPOINT, block_on, check_key_error, check_token_error, line,
        settings,
    },
};

pub(crate) const WORDS: &[&str] = &[
    "\"alg\":\"ES256\"",
    "\"alg\":\"RS512\"",
    "\"alg\":\"none\"",
    "\"typ\":\"JOSE\"",
    "\"sub\":\"spiffe://acme.example/orders\"",
    "\"aud\":\"https://login.example\"",
    "\"aud\":[\"https://login.example\"]",
    "\"exp\":1767225600",
    "spiffe://",
    "/../",
    "{\"value\":\"",
    "s3cr3t-CANARY",
    ".",
    "\n",
];

const RAW: u8 = 1;
const WORKLOAD: u8 = 2;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let header = r#"{"alg":"ES256","typ":"JWT","kid":"k"}"#;
    let claims = r#"{"sub":"spiffe://acme.example/orders","aud":["https://login.example"],"exp":1767225660}"#;
    let text = format!("{header}\n{claims}");
    let mut seeds = vec![
        [&[0], text.as_bytes()].concat(),
        [&[WORKLOAD], text.as_bytes()].concat(),
    ];
    for (name, other) in [
        (r#""JWT""#, r#""JOSE""#),
        (r#""JWT""#, r#""at+jwt""#),
        (r#""JWT""#, "null"),
        (r#""ES256""#, r#""HS256""#),
        (r#""ES256""#, r#""none""#),
        (r#""exp":1767225660"#, r#""exp":"1767225660""#),
        (r#","exp":1767225660"#, ""),
    ] {
        let text = text.replace(name, other);
        seeds.push([&[0], text.as_bytes()].concat());
    }
    let long = text.replace("acme.example", &"a".repeat(256));
    seeds.push([&[0], long.as_bytes()].concat());
    let issuer = r#""https://login.example""#;
    for audience in [
        issuer.to_owned(),
        format!("[{issuer},\"b\"]"),
        format!("[\"b\",{issuer}]"),
        format!("[{issuer},{issuer}]"),
        "[]".to_owned(),
        "[\"b\"]".to_owned(),
        "\"b\"".to_owned(),
    ] {
        let text = text.replace(&format!("[{issuer}]"), &audience);
        seeds.push([&[0], text.as_bytes()].concat());
    }
    for id in [
        "acme.example/../orders",
        "acme.example/a/./orders",
        "acme.example/a/..",
        "acme.example/a//orders",
        "acme.example/orders/",
        "acme.example/",
        "acme.example",
        "/orders",
        "ACME.example/orders",
        "acme.example:443/orders",
        "user@acme.example/orders",
        "acme.example/orders?a",
        "acme.example/orders#a",
        "acme.example/%6frders",
    ] {
        let text = text.replace("acme.example/orders", id);
        seeds.push([&[0], text.as_bytes()].concat());
    }
    let files = [
        "crates/jwt/src/workload/tests.rs",
        "crates/jwt/src/spiffe/tests.rs",
    ];
    seeds.extend(seeds::of_literals(&files, &[RAW | WORKLOAD]));
    seeds.extend(seeds::of_literals(&files, &[RAW]));
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let text = if settings & RAW != 0 {
        text.to_owned()
    } else {
        let (header, claims) = line(bytes);
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        format!("{}.{}.c2ln", encode(header), encode(claims))
    };
    let Ok(secret) = Secret::new(text.as_str()) else {
        return;
    };
    let context = AuthenticationContext::new(CLIENT_ID, TOKEN_ENDPOINT);
    let clock = ManualClock::new();
    if settings & WORKLOAD != 0 {
        let identity = WorkloadIdentity::new(secret).clock(clock);
        sent(block_on(identity.credentials(&context)), &text);
        return;
    }
    let svid = SpiffeJwt::new(secret).audience(ISSUER).clock(clock);
    let Some(jwt) = sent(block_on(svid.credentials(&context)), &text) else {
        return;
    };
    let part = |index: usize| -> Value {
        let part = jwt.split('.').nth(index).unwrap();
        let json = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&json).unwrap_or_default()
    };
    let (header, claims) = (part(0), part(1));
    // A number beyond a double in a member that is not read.
    if header.is_null() || claims.is_null() {
        return;
    }
    assert!(jwt.len() <= 16 << 10);
    let alg = header["alg"].as_str().unwrap();
    assert!(matches!(&alg[..2], "RS" | "ES" | "PS") && matches!(&alg[2..], "256" | "384" | "512"));
    assert!(header["typ"].is_null() || header["typ"] == "JWT" || header["typ"] == "JOSE");
    assert!(claims["exp"].is_number());
    let aud = &claims["aud"];
    assert!(aud == ISSUER || aud.as_array().is_some_and(|list| *list == [ISSUER]));
    let id = url::Url::parse(claims["sub"].as_str().unwrap()).unwrap();
    assert!(id.scheme() == "spiffe" && id.port().is_none() && id.username().is_empty());
    assert!(
        id.host_str()
            .is_some_and(|domain| (1..=255).contains(&domain.len()))
    );
    assert!(id.query().is_none() && id.fragment().is_none());
    let mut segments = id.path_segments().unwrap();
    assert!(segments.all(|segment| !segment.is_empty()), "{id}");
    assert_eq!(Some(id.as_str()), claims["sub"].as_str());
}

/// Returns the JWT that is sent, which is in the text.
fn sent(credentials: Result<Credentials, TokenError>, text: &str) -> Option<String> {
    let credentials = match credentials {
        Ok(credentials) => credentials,
        Err(error) => {
            check_token_error(&error);
            check_key_error(&error, text);
            return None;
        }
    };
    let mut parameters = credentials.expose_parameters();
    let (_, jwt) = parameters
        .find(|(name, _)| *name == "client_assertion")
        .unwrap();
    assert!(text.contains(jwt) && jwt.split('.').count() == 3);
    assert!(jwt.len() < 24 || !format!("{credentials:?}").contains(jwt));
    Some(jwt.to_owned())
}
