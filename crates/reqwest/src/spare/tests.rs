use reqwest::header::{HeaderName, HeaderValue};

use super::*;

const SENT_TO: &str = "https://api.example/orders?x=y";

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

/// Everything that a request may have, and a body where there is one.
fn request(body: Option<&str>) -> Request {
    let mut request = Request::new(Method::from_bytes(b"REPORT").unwrap(), url(SENT_TO));
    *request.version_mut() = Version::HTTP_10;
    *request.timeout_mut() = Some(Duration::from_millis(1_234));
    let mut secret = HeaderValue::from_static("s3cr3t");
    secret.set_sensitive(true);
    request.headers_mut().append("x-key", secret);
    for value in ["one", "two"] {
        let value = HeaderValue::from_static(value);
        request.headers_mut().append("accept", value);
    }
    *request.body_mut() = body.map(|body| Body::from(body.to_owned()));
    request
}

fn bytes(request: &Request) -> Option<&[u8]> {
    request.body().map(|body| body.as_bytes().unwrap())
}

// covers: C-35
#[test]
fn all_of_a_request_is_there_for_another_try() {
    for body in [None, Some(""), Some("order")] {
        for extensions in [true, false] {
            let mut sent = request(body);
            let spare = Spare::of(&mut sent, extensions).unwrap();
            let again = spare.for_another_try(&url(SENT_TO)).unwrap();
            for request in [&sent, &again] {
                assert_eq!(request.method().as_str(), "REPORT");
                assert_eq!(request.url().as_str(), SENT_TO);
                assert_eq!(request.version(), Version::HTTP_10);
                assert_eq!(request.timeout(), Some(&Duration::from_millis(1_234)));
                assert_eq!(bytes(request), body.map(str::as_bytes));
                let headers: Vec<_> = request.headers().iter().collect();
                let shown = |(name, value): &(&HeaderName, &HeaderValue)| {
                    format!(
                        "{name}: {} {}",
                        value.to_str().unwrap(),
                        value.is_sensitive()
                    )
                };
                let shown: Vec<_> = headers.iter().map(shown).collect();
                let all = [
                    "x-key: s3cr3t true",
                    "accept: one false",
                    "accept: two false",
                ];
                assert_eq!(shown, all);
            }
        }
    }
}

// covers: C-35
#[test]
fn no_timeout_stays_none() {
    let mut sent = Request::new(Method::GET, url(SENT_TO));
    let spare = Spare::of(&mut sent, false).unwrap();
    let again = spare.for_another_try(&url(SENT_TO)).unwrap();
    assert_eq!((again.timeout(), again.version()), (None, Version::HTTP_11));
    assert!(again.body().is_none() && again.headers().is_empty());
}

// covers: C-35
#[test]
fn extensions_are_there_for_who_may_look_at_them() {
    #[derive(Clone, Debug, PartialEq)]
    struct Trace(u32);
    let mut sent = http::Request::post(SENT_TO).body("order").unwrap();
    sent.extensions_mut().insert(Trace(7));
    let mut sent = Request::try_from(sent).unwrap();
    let spare = Spare::of(&mut sent, true).unwrap();
    let again = spare.for_another_try(&url(SENT_TO)).unwrap();
    assert_eq!(bytes(&again), Some(&b"order"[..]));
    let again = http::Request::try_from(again).unwrap();
    assert_eq!(again.extensions().get::<Trace>(), Some(&Trace(7)));
}

// covers: C-35
#[test]
fn what_was_redirected_is_not_put_together_again() {
    for body in [None, Some("order")] {
        for extensions in [true, false] {
            let spare = || Spare::of(&mut request(body), extensions).unwrap();
            for elsewhere in [
                "https://api.example/orders?x=z",
                "https://api.example/orders",
                "https://api.example/orders?x=y%23",
                "http://api.example/orders?x=y",
            ] {
                let again = spare().for_another_try(&url(elsewhere));
                assert!(again.is_none(), "{elsewhere}");
            }
            // A fragment is not sent.
            for same in [
                "https://api.example/orders?x=y#",
                "https://api.example/orders?x=y#z",
            ] {
                assert!(spare().for_another_try(&url(same)).is_some(), "{same}");
            }
        }
    }
}

#[test]
fn every_byte_of_a_url_counts_and_so_does_the_salt() {
    for length in 1..=32 {
        let one = url(&format!("https://a/{}", "x".repeat(length)));
        let place = Place::of(&one);
        assert!(place.is(&one.clone()), "wherever it lies in memory");
        for other in 0..length {
            let mut path = "x".repeat(length);
            path.replace_range(other..=other, "y");
            assert!(!place.is(&url(&format!("https://a/{path}"))), "{path}");
        }
        assert!(!place.is(&url(&format!("https://a/{}", "x".repeat(length + 1)))));
        assert_ne!(number(&one, 1), number(&one, 2));
    }
}

#[test]
fn a_stream_cannot_be_kept() {
    for extensions in [true, false] {
        let mut request = request(None);
        let stream = http_body_util::Full::new(Bytes::from_static(b"order"));
        *request.body_mut() = Some(Body::wrap(stream));
        assert!(Spare::of(&mut request, extensions).is_none());
        let body = request.body().unwrap();
        assert!(body.as_bytes().is_none() && body.size_hint().exact() == Some(5));
    }
}
