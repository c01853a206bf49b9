//! Origins and the destinations of requests: an origin that matches a URI has its host and port, as `url` reads them.

use hallpass_core::authorize::{Origin, Target};
use http::Uri;
use url::Url;

use crate::{
    seeds,
    support::{CANARY, check_error, is_plain_host},
};

pub(crate) const WORDS: &[&str] = &[
    "https://",
    "http://",
    "api.example",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "127.0.0.1",
    "0x7f.1",
    "localhost",
    "xn--",
    ":443",
    ":80",
    "@",
    "%",
    "\n",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::of_literals(&["crates/core/src/origin/tests.rs"], &[]);
    let mut places = Vec::new();
    for scheme in ["http", "https"] {
        for port in ["", ":80", ":443"] {
            places.push(format!("{scheme}://api.example{port}"));
        }
    }
    for origin in &places {
        seeds.extend(
            places
                .iter()
                .map(|uri| format!("{origin}\n{uri}/").into_bytes()),
        );
    }
    for port in [1, 65_535] {
        seeds.push(format!("https://orders.api.example:{port}").into_bytes());
    }
    seeds
}

/// Returns true if no reader could refuse this origin (RFC 6454 section 6.1).
fn is_valid(text: &str) -> bool {
    let rest = text.strip_prefix("https://");
    let rest = rest.map(|rest| rest.split_once(':').unwrap_or((rest, "443")));
    rest.is_some_and(|(host, port)| {
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|number| number.to_string() == port);
        is_plain_host(host) && port.is_some_and(|port| port > 0)
    })
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let (written, uri) = text.split_once('\n').unwrap_or((text, text));
    let origin = match written.parse::<Origin>() {
        Ok(origin) => origin,
        Err(error) => {
            assert!(!is_valid(written), "{error}: {written}");
            return check_error(&error, CANARY);
        }
    };
    let shown = origin.to_string();
    assert_eq!(shown.parse::<Origin>().as_ref(), Ok(&origin));
    assert!(origin.is_at(Target::from(&origin)));
    // A browser's parser reads the same place.
    let place = |url: &Url| {
        let host = url.host().map(|host| host.to_owned());
        (url.scheme().to_owned(), host, url.port_or_known_default())
    };
    let ours = Url::parse(&shown).ok();
    let written = Url::parse(written).ok();
    assert_eq!(ours.as_ref().map(place), written.as_ref().map(place));
    for url in [&ours, &written].into_iter().flatten() {
        assert_eq!(url.scheme() == "http", origin.is_http());
        assert!(url.path() == "/" && url.username().is_empty() && url.password().is_none());
        assert!(url.query().is_none() && url.fragment().is_none());
    }
    let Ok(uri) = uri.parse::<Uri>() else {
        return;
    };
    let Some(target) = Target::from_uri(&uri) else {
        return;
    };
    // It matches exactly if it is equal to the URI's own origin.
    let port = uri
        .port_u16()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let own = format!("{}://{}{port}", uri.scheme_str().unwrap(), target.host());
    let is_at = origin.is_at(target);
    assert_eq!(is_at, own.parse::<Origin>().as_ref() == Ok(&origin));
    if is_at {
        assert_eq!(uri.host(), Some(target.host()));
        if let (Some(ours), Ok(theirs)) = (&ours, Url::parse(&uri.to_string())) {
            assert_eq!(place(ours), place(&theirs));
        }
    }
}
