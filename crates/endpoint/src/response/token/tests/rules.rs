//! The settings of a source that change how a response is read.

use super::*;
use crate::response::{layout::Layout, pointer::Pointer, wording::TOKEN_ENDPOINT};

const SECRET: &str = "CANARY-s3cret";

/// Reads a response to a client with a secret.
fn issued(body: &str, rules: &ResponseRules, asked: &str) -> Result<IssuedTokens, TokenError> {
    let moment = SystemClock.moment();
    let asked: ScopeSet = asked.parse().unwrap();
    let filter = || TextFilter::new().with_secret(SECRET);
    let wording = Wording::for_client(TOKEN_ENDPOINT, "refresh_token");
    read(
        body.as_bytes(),
        rules,
        &asked,
        moment,
        moment.wall,
        filter,
        &wording,
    )
}

// covers: F-33
#[test]
fn a_granted_scope_that_repeats_the_secret_is_refused() {
    let body = with(&format!(r#""scope":"{SECRET} read""#));
    let rules = ResponseRules::default();
    let error = issued(&body, &rules, "read").unwrap().token.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("`scope` contains a credential"), "{text}");
    assert!(
        body.contains("CANARY") && !text.contains("CANARY"),
        "{text}"
    );
    // It is what was requested.
    let asked = format!("{SECRET} read");
    assert!(issued(&body, &rules, &asked).unwrap().token.is_ok());
    let other = with(r#""scope":"read write""#);
    assert!(issued(&other, &rules, "read").unwrap().token.is_ok());
}

// covers: C-24
#[test]
fn the_next_refresh_token_is_for_its_grant_alone() {
    let keep = ResponseRules {
        keep_refresh_token: true,
        ..ResponseRules::default()
    };
    let next = |rules: &ResponseRules, body: &str| {
        let issued = issued(body, rules, "read").ok()?;
        let text = issued.refresh_token?.expose().to_owned();
        Some((text, issued.token.is_ok()))
    };
    let body = with(r#""refresh_token":"next""#);
    assert_eq!(next(&keep, &body), Some(("next".to_owned(), true)));
    assert_eq!(next(&ResponseRules::default(), &body), None);
    assert_eq!(next(&keep, &with(r#""refresh_token":"""#)), None);
    // The rest of the response cannot be used.
    for unusable in [
        r#"{"refresh_token":"next","access_token":"a","access_token":"b"}"#,
        r#"{"refresh_token":"next"}"#,
    ] {
        assert_eq!(next(&keep, unusable), Some(("next".to_owned(), false)));
        assert_eq!(next(&ResponseRules::default(), unusable), None);
    }
}

// covers: F-26
#[test]
fn a_name_of_bearer_tokens_can_be_set() {
    let layout = Layout {
        token_type: Some("JWT".into()),
        ..Layout::default()
    };
    let rules = ResponseRules {
        layout: Some(layout.into()),
        ..ResponseRules::default()
    };
    for (name, accepted) in [("jwt", true), ("Bearer", true), ("mac", false)] {
        let body = format!(r#"{{"access_token":"t","token_type":"{name}"}}"#);
        let token = parse_with(body.as_bytes(), &rules);
        let header = token.map(|token| token.header_value().to_str().unwrap().to_owned());
        assert_eq!(
            header.ok().as_deref(),
            accepted.then_some("Bearer t"),
            "{name}"
        );
    }
}

#[test]
fn a_form_has_no_token_at_a_pointer() {
    let form = b"access_token=t&token_type=Bearer";
    let read = |token: Option<&str>| {
        let layout = Layout {
            token: token.map(|pointer| Pointer::parse(pointer).unwrap()),
            ..Layout::default()
        };
        let rules = ResponseRules {
            lenient: true,
            layout: Some(layout.into()),
            ..ResponseRules::default()
        };
        parse_with(form, &rules).is_ok()
    };
    assert!(read(None) && !read(Some("/data/token")));
}

// covers: F-20
#[test]
fn a_bound_caps_every_lifetime() {
    let mut rules = ResponseRules::default();
    rules.bound_lifetime(Duration::from_secs(60));
    for (member, seconds) in [
        (r#""expires_in":3600"#, 60),
        (r#""expires_in":59"#, 59),
        (r#""x":1"#, 60),
    ] {
        let token = parse_with(with(member).as_bytes(), &rules).unwrap();
        assert_eq!(token.lifetime().as_secs(), seconds, "{member}");
    }
    // A longer bound changes nothing.
    rules.bound_lifetime(Duration::from_secs(3_600));
    let token = parse_with(with(r#""expires_in":3600"#).as_bytes(), &rules).unwrap();
    assert_eq!(token.lifetime().as_secs(), 60);
}

// covers: F-27
#[test]
fn a_name_of_another_type_is_no_name_of_bearer_tokens() {
    for taken in ["", "DPoP", "dpop", "PoP", "MAC", "n_a"] {
        assert!(check_type_name(taken).is_err(), "{taken}");
    }
    for free in ["Bearer", "JWT", "BearerToken"] {
        assert_eq!(check_type_name(free), Ok(()), "{free}");
    }
}

#[test]
fn a_grant_is_no_access_token() {
    let grant = ResponseRules {
        is_grant: true,
        ..ResponseRules::default()
    };
    let read = |name: &str| {
        let body = format!(r#"{{"access_token":"t","token_type":"{name}"}}"#);
        parse_with(body.as_bytes(), &grant)
    };
    assert!(read("N_A").is_ok() && read("n_a").is_ok());
    let error = read("Bearer").unwrap_err().to_string();
    assert!(
        error.contains("`token_type` is not `N_A` but `Bearer`"),
        "{error}"
    );
}
