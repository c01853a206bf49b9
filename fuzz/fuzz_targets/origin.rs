//! An origin, and where a URI goes: what is taken for the same place is the same host and port.

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
        // It is where an HTTP client goes.
        assert_eq!(uri.host(), Some(target.host()));
        // Written as an origin, it is this one.
        let port = uri
            .port_u16()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let written = format!("{}://{}{port}", uri.scheme_str().unwrap(), target.host());
        assert_eq!(written.parse::<Origin>().as_ref(), Ok(&origin));
    }
});
