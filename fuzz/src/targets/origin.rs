//! Origins and the destinations of requests: an origin that matches a URI has its host and port, as `url` reads them.

use hallpass_core::authorize::{Origin, Target};
use http::Uri;
use url::Url;

use crate::{
    seeds,
    support::{CANARY, check_error},
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
    seeds::of_literals(&["crates/core/src/origin/tests.rs"], &[])
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let (origin, uri) = text.split_once('\n').unwrap_or((text, text));
    let origin = match origin.parse::<Origin>() {
        Ok(origin) => origin,
        Err(error) => return check_error(&error, CANARY),
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
    if let Some(url) = &ours {
        assert_eq!(url.scheme() == "http", origin.is_http());
        assert!(url.path() == "/" && url.username().is_empty());
    }
    let Ok(uri) = uri.parse::<Uri>() else {
        return;
    };
    let Some(target) = Target::from_uri(&uri) else {
        return;
    };
    if origin.is_at(target) {
        assert_eq!(uri.host(), Some(target.host()));
        if let (Some(ours), Ok(theirs)) = (&ours, Url::parse(&uri.to_string())) {
            assert_eq!(place(ours), place(&theirs));
        }
        // The URI's own origin is equal too.
        let port = uri
            .port_u16()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let written = format!("{}://{}{port}", uri.scheme_str().unwrap(), target.host());
        assert_eq!(written.parse::<Origin>().as_ref(), Ok(&origin));
    }
}
