use proptest::prelude::*;

use super::*;

fn check(text: &str, expect: Result<&str, &str>) {
    match (text.parse::<Origin>(), expect) {
        (Ok(origin), Ok(shown)) => assert_eq!(origin.to_string(), shown, "{text}"),
        (Err(error), Err(expected)) => {
            let error = error.to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("CANARY"), "{error}");
        }
        (parsed, expect) => panic!("{text}: {parsed:?}, expected {expect:?}"),
    }
}

// covers: C-37
#[test]
fn an_origin_is_scheme_host_and_port_in_one_spelling() {
    for (text, shown) in [
        ("https://api.example", "https://api.example"),
        ("HTTPS://API.Example/", "https://api.example"),
        ("https://api.example:443", "https://api.example"),
        ("https://api.example:0443", "https://api.example"),
        ("http://api.example:80/", "http://api.example"),
        ("http://api.example:443", "http://api.example:443"),
        ("https://api.example:8443", "https://api.example:8443"),
        (
            "https://xn--bcher-kva.example",
            "https://xn--bcher-kva.example",
        ),
        ("https://orders_v2.internal", "https://orders_v2.internal"),
        ("https://127.0.0.1:65535", "https://127.0.0.1:65535"),
        ("https://[::1]", "https://[::1]"),
        (
            "https://[2001:DB8:0:0:0:0:0:1]:8443/",
            "https://[2001:db8::1]:8443",
        ),
    ] {
        check(text, Ok(shown));
        check(shown, Ok(shown));
    }
}

// covers: C-37
#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for (text, expected) in [
        ("", "not an origin"),
        ("api.example", "not an origin"),
        ("https://", "not an origin"),
        ("https:///", "not an origin"),
        ("https://:443", "not an origin"),
        ("ftp://api.example", "scheme"),
        (" https://api.example", "scheme"),
        ("https://api.example/CANARY", "no path"),
        ("https://api.example//", "no path"),
        ("https://api.example?CANARY", "no path"),
        ("https://api.example#CANARY", "no path"),
        ("https://api.example\\.other.example", "no path"),
        ("https://id:CANARY@api.example", "no user name"),
        ("https://CANARY@api.example", "no user name"),
        ("https://*.example", "no wildcard"),
        ("https://bücher.example", "xn--"),
        ("https://ａｐｉ.example", "xn--"),
        ("https://api..example", "usual spelling"),
        ("https://.example", "usual spelling"),
        ("https://api.example.", "usual spelling"),
        ("https://api%2eexample", "usual spelling"),
        ("https://api example", "usual spelling"),
        ("https://api.example ", "usual spelling"),
        ("https://127.1", "usual spelling"),
        ("https://2130706433", "usual spelling"),
        ("https://0x7f.0.0.0x1", "usual spelling"),
        ("https://127.0.0.01", "usual spelling"),
        ("https://[::1", "usual spelling"),
        ("https://[fe80::1%25eth0]", "usual spelling"),
        ("https://[v1.x]", "usual spelling"),
        ("https://api.example:", "port"),
        ("https://api.example:0", "port"),
        ("https://api.example:+443", "port"),
        ("https://api.example:65536", "port"),
        ("https://api.example:x", "port"),
    ] {
        check(text, Err(expected));
    }
    check(
        &format!("https://{}", "a.".repeat(127)),
        Err("usual spelling"),
    );
    check(
        &format!("https://{}b", "a.".repeat(126)),
        Ok(&format!("https://{}b", "a.".repeat(126))),
    );
}

fn is_at(origin: &str, uri: &str) -> bool {
    let origin: Origin = origin.parse().unwrap();
    Target::from_uri(&uri.parse().unwrap()).is_some_and(|target| origin.is_at(target))
}

// covers: C-37, I-03, I-04
#[test]
fn an_origin_is_scheme_host_and_port() {
    const API: &str = "https://api.example";
    for same in [
        "https://api.example",
        "https://API.EXAMPLE/orders?x=y",
        "https://api.example:443/",
        "https://user:pass@api.example/",
    ] {
        assert!(is_at(API, same), "{same}");
    }
    for other in [
        "http://api.example/",
        "http://api.example:443/",
        "https://api.example:80/",
        "https://api.example.other/",
        "https://other.api.example/",
        "https://api.example./",
        "https://api.example:/",
        "https://api.example:99999/",
        "https://api.example@other.example/",
        "https://other.example/?https://api.example",
        "/orders",
        "api.example:443",
        "*",
    ] {
        assert!(!is_at(API, other), "{other}");
    }
    assert!(is_at("https://[::1]:8443", "https://[0:0::1]:8443/"));
    assert!(!is_at("https://[::1]:8443", "https://[::2]:8443/"));
    assert!(!is_at("https://127.0.0.1", "https://[::ffff:127.0.0.1]/"));
}

#[test]
fn loopback_is_recognized_by_the_name_as_written() {
    for (origin, loopback) in [
        ("http://127.0.0.1", true),
        ("http://127.9.9.9:80", true),
        ("http://[::1]", true),
        ("http://[::ffff:127.0.0.1]", true),
        ("http://localhost:3000", true),
        ("http://LOCALHOST", true),
        ("HTTP://localhost", true),
        ("http://api.localhost", true),
        ("http://localhost.example", false),
        ("http://notlocalhost", false),
        ("http://10.0.0.1", false),
        ("http://0.0.0.0", false),
        ("http://api.example", false),
    ] {
        let parsed: Origin = origin.parse().unwrap();
        assert_eq!(parsed.is_loopback(), loopback, "{origin}");
    }
}

#[test]
fn a_loopback_name_may_end_with_a_dot() {
    for (host, loopback) in [
        ("localhost.", true),
        ("api.localhost.", true),
        ("127.0.0.1", true),
        ("[::1]", true),
        ("", false),
        (".", false),
        ("localhost..", false),
        ("127.0.0.1.example", false),
        ("localhost.example.", false),
    ] {
        assert_eq!(is_loopback_host(host), loopback, "{host}");
    }
}

proptest! {
    // covers: C-37
    #[test]
    fn any_parsed_origin_is_stable_and_equals_itself(text in "(https?|HTTPS)://[a-zA-Z0-9.:\\[\\]_*@/%-]{0,24}") {
        if let Ok(origin) = text.parse::<Origin>() {
            let again: Origin = origin.to_string().parse().unwrap();
            prop_assert_eq!(&again, &origin);
            prop_assert!(origin.is_at(Target::from(&again)));
            let uri: Uri = origin.to_string().parse().unwrap();
            prop_assert!(origin.is_at(Target::from_uri(&uri).unwrap()));
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<Origin>();
        let _ = format!("https://{text}").parse::<Origin>();
    }
}
