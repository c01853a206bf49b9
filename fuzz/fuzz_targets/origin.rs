//! An origin and the destination of a URI: if they are equal, host and port are equal.

#![no_main]

use hallpass_core::authorize::{Origin, Target};
use http::Uri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (origin, uri) = text.split_once('\n').unwrap_or((text, text));
    let Ok(origin) = origin.parse::<Origin>() else {
        return;
    };
    let shown = origin.to_string();
    assert_eq!(shown.parse::<Origin>().as_ref(), Ok(&origin));
    assert!(origin.is_at(Target::from(&origin)));
    let Ok(uri) = uri.parse::<Uri>() else {
        return;
    };
    let Some(target) = Target::from_uri(&uri) else {
        return;
    };
    if origin.is_at(target) {
        // An HTTP client connects to the same host.
        assert_eq!(uri.host(), Some(target.host()));
        // The URI's own origin is equal too.
        let port = uri
            .port_u16()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let written = format!("{}://{}{port}", uri.scheme_str().unwrap(), target.host());
        assert_eq!(written.parse::<Origin>().as_ref(), Ok(&origin));
    }
});
