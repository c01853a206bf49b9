//! Redaction of the secrets of one attempt from all text that the server sends.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::TextFilter;
use zeroize::Zeroizing;

use crate::authentication::credentials::{Credentials, Presentation};

/// Returns a filter for the secrets in the credentials. The `client_id` is not secret and stays readable in errors.
pub(crate) fn filter(credentials: &Credentials, client_id: &str) -> TextFilter {
    let mut filter = TextFilter::new();
    if let Some(secret) = credentials.secret() {
        filter.add_secret(secret.expose());
    }
    match &credentials.presentation {
        Presentation::Header(value) => {
            let header = value.to_str().unwrap_or_default();
            let (_, encoded) = header.split_once(' ').unwrap_or(("", header));
            filter.add_secret(encoded);
            // The decoded Basic credentials: `id:secret`, form-encoded or raw.
            let plain = BASE64_STANDARD.decode(encoded).map(Zeroizing::new);
            let plain = plain.as_ref().ok();
            let plain = plain.and_then(|plain| std::str::from_utf8(plain).ok());
            if let Some((_, secret)) = plain.and_then(|plain| plain.split_once(':')) {
                filter.add_secret(secret);
                if let Ok(decoded) = percent_encoding::percent_decode_str(secret).decode_utf8() {
                    filter.add_secret(&decoded);
                }
            }
        }
        Presentation::Parameters(parameters) => {
            for (name, value) in parameters {
                if value.as_str() != client_id && *name != "client_assertion_type" {
                    filter.add_secret(value);
                }
                if *name == "client_assertion" {
                    add_signature(&mut filter, value);
                }
            }
        }
    }
    filter
}

/// Adds the secret part of an assertion, its signature: the rest can be guessed, except for a random number.
pub(crate) fn add_signature(filter: &mut TextFilter, assertion: &str) {
    let (_, signature) = assertion.rsplit_once('.').unwrap_or_default();
    filter.add_secret(signature);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const REDACTED: &str = TextFilter::REDACTED;

    // covers: F-33
    #[test]
    fn echoes_are_taken_out_in_every_spelling() {
        let credentials =
            Credentials::parameters([("client_id", "orders"), ("client_secret", "s p/1~")]);
        let filter = filter(&credentials, "orders");
        for echo in [
            "s p/1~",
            "s%20p%2F1%7E",
            "s+p%2F1%7E",
            "s%20p%2f1%7e",
            "cyBwLzF+",
        ] {
            let clean = filter.clean(&format!("orders sent {echo}."));
            assert_eq!(clean, format!("orders sent {REDACTED}."));
        }
        assert_eq!(filter.clean("nothing here"), "nothing here");
    }

    // covers: F-33
    #[test]
    fn an_echoed_assertion_is_taken_out_and_its_type_is_not() {
        const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let credentials = Credentials::parameters([
            ("client_assertion_type", TYPE),
            ("client_assertion", "aGVhZGVy.Y2xhaW1z.c2lnbmF0dXJl"),
        ]);
        let filter = filter(&credentials, "orders");
        for (echo, clean) in [
            ("aGVhZGVy.Y2xhaW1z.c2lnbmF0dXJl", REDACTED),
            ("Y2xhaW1z.c2lnbmF0dXJl", "Y2xhaW1z.[redacted]"),
            (TYPE, TYPE),
        ] {
            assert_eq!(filter.clean(echo), clean);
        }
    }

    // covers: F-33
    #[test]
    fn an_echoed_basic_header_is_taken_out_too() {
        let value = format!("Basic {}", BASE64_STANDARD.encode("id:p%40ss"));
        let credentials = Credentials::authorization(HeaderValue::from_str(&value).unwrap());
        let filter = filter(&credentials, "id");
        for echo in [value.strip_prefix("Basic ").unwrap(), "p%40ss", "p@ss"] {
            assert_eq!(
                filter.clean(&format!("got {echo}")),
                format!("got {REDACTED}")
            );
        }
    }
}
