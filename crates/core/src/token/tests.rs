use super::*;
use crate::{Clock as _, ErrorKind, SystemClock};

const HOUR: Duration = Duration::from_secs(3_600);

fn at(seconds: u64) -> Moment {
    let since = Duration::from_secs(seconds);
    Moment::new(
        Timestamp::from_origin(since),
        SystemTime::UNIX_EPOCH + since,
    )
}

// covers: F-24, F-23, I-17
#[test]
fn what_could_break_a_header_is_refused_before_one_is_made() {
    for bad in [
        "",
        "cana ry",
        "canary\r\nX: y",
        "canary\0",
        "canary\t",
        "canäry",
        "canary\u{7f}",
    ] {
        let error = AccessToken::bearer(bad, at(0), HOUR)
            .unwrap_err()
            .to_string();
        assert!(!error.contains("cana"), "{error}");
    }
}

// covers: C-25, F-25
#[test]
fn length_is_no_concern_of_a_token() {
    let long = "x".repeat(1 << 20);
    assert_eq!(
        AccessToken::bearer(&long, at(0), HOUR).unwrap().expose(),
        long
    );
}

#[test]
fn the_header_is_ready_made_and_sensitive() {
    for (kind, header) in [
        (TokenType::Bearer, "Bearer abc"),
        (TokenType::Dpop, "DPoP abc"),
    ] {
        let token = AccessToken::new(kind, "abc", at(0), HOUR).unwrap();
        assert_eq!(token.header_value(), header);
        assert!(token.header_value().is_sensitive());
        assert!(token.header_value().clone().is_sensitive());
        assert_eq!(token.expose(), "abc");
    }
}

// covers: C-21, F-69
#[test]
fn the_lifetime_counts_from_the_request() {
    let token = AccessToken::bearer("t", at(100), Duration::from_secs(60)).unwrap();
    assert!(!token.is_expired(at(159).timestamp));
    assert!(token.is_expired(at(160).timestamp));
    assert_eq!(token.expires_at(), Some(at(160).wall));

    let eternal = AccessToken::bearer("t", at(100), Duration::MAX).unwrap();
    assert_eq!(eternal.deadline(), Timestamp::MAX);
    assert_eq!(eternal.expires_at(), None);
    let _ = format!("{eternal:?}");
}

// covers: F-36, I-08, C-23
#[test]
fn required_scopes_fail_closed() {
    let token = AccessToken::bearer("t", at(0), HOUR).unwrap();
    let wanted: ScopeSet = "a b".parse().unwrap();
    assert!(token.require_scopes(&wanted).is_err());
    let some = token.clone().with_scopes("b c".parse().unwrap());
    let error = some.require_scopes(&wanted).unwrap_err();
    assert!(
        error.to_string().contains("without the required `a`"),
        "{error}"
    );
    let echo = token.clone().with_scopes("b s3cret".parse().unwrap());
    let error = echo.require_scopes(&wanted).unwrap_err().to_string();
    assert!(
        error.contains("granted the scopes `b`") && !error.contains("s3cret"),
        "{error}"
    );
    let all = token.with_scopes("c b a".parse().unwrap());
    assert!(all.require_scopes(&wanted).is_ok());
}

#[test]
fn a_token_that_is_bound_to_a_key_is_no_bearer_token() {
    let bearer = AccessToken::bearer("t", at(0), HOUR).unwrap();
    assert!(bearer.require_bearer().is_ok());
    let bound = AccessToken::new(TokenType::Dpop, "t", at(0), HOUR).unwrap();
    let error = bound.require_bearer().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.hint().is_some());
}

#[test]
fn comparison_is_by_the_token_alone() {
    let one = AccessToken::bearer("t", at(0), HOUR).unwrap();
    let same = AccessToken::bearer("t", at(9), HOUR).unwrap();
    let other = AccessToken::bearer("u", at(0), HOUR).unwrap();
    assert!(one.is_same(&one.clone()) && one.is_same(&same) && !one.is_same(&other));
}

// covers: F-27, F-28, C-19, C-20
#[test]
fn types_are_read_without_case_and_unknown_ones_refused() {
    for text in ["bearer", "BEARER", "Bearer"] {
        assert_eq!(text.parse(), Ok(TokenType::Bearer));
    }
    assert_eq!("dpop".parse(), Ok(TokenType::Dpop));
    for text in ["mac", "N_A", "", "Bearer "] {
        assert!(text.parse::<TokenType>().is_err());
    }
}

// covers: F-99
#[test]
fn debug_shows_no_secret() {
    let token = AccessToken::bearer("CANARY", SystemClock.moment(), HOUR)
        .unwrap()
        .with_extra([("id_hint".into(), "\"CANARY\"".to_owned())]);
    assert_eq!(token.extra("id_hint"), Some("\"CANARY\""));
    let shown = format!("{token:?} {token:#?}");
    assert!(
        shown.contains("id_hint") && !shown.contains("CANARY"),
        "{shown}"
    );
}

// covers: C-65
#[test]
fn a_binding_ends_for_every_clone() {
    let binding = Binding::new();
    let token = AccessToken::bearer("t", at(0), HOUR).unwrap();
    assert!(token.binding().is_none());
    let bound = token.with_binding(binding.clone());
    let later = bound.clone().with_scopes("a".parse().unwrap());
    binding.end();
    for token in [bound, later] {
        let of = token.binding().unwrap();
        assert!(of.has_ended() && of.is_same(&binding) && !of.is_same(&Binding::new()));
    }
}

#[test]
fn a_token_is_one_word() {
    assert_eq!(size_of::<AccessToken>(), size_of::<usize>());
    assert_eq!(size_of::<Option<AccessToken>>(), size_of::<usize>());
}
