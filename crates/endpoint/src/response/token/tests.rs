mod rules;

use hallpass_core::{Clock as _, SystemClock};
use proptest::prelude::*;

use super::*;
use crate::transport::answer::is_digits;

fn parse_with(body: &[u8], rules: &ResponseRules) -> Result<AccessToken, TokenError> {
    let asked: ScopeSet = "asked".parse().unwrap();
    read_as(body, rules, &asked, SystemClock.moment())
}

fn read_as(
    body: &[u8],
    rules: &ResponseRules,
    asked: &ScopeSet,
    moment: Moment,
) -> Result<AccessToken, TokenError> {
    const CLIENT: Wording = Wording::for_client(
        crate::response::wording::TOKEN_ENDPOINT,
        "client_credentials",
    );
    let granted = read(
        body,
        rules,
        asked,
        moment,
        moment.wall,
        TextFilter::new,
        &CLIENT,
    )?;
    assert!(granted.refresh_token.is_none());
    granted.token
}

fn parse(body: impl AsRef<[u8]>) -> Result<AccessToken, TokenError> {
    parse_with(body.as_ref(), &ResponseRules::default())
}

/// Returns a response with an additional member.
fn with(member: &str) -> String {
    format!(r#"{{"access_token":"t","token_type":"Bearer",{member}}}"#)
}

fn refused(body: impl AsRef<[u8]>, transient: bool, expected: &str) -> TokenError {
    let body = body.as_ref();
    let shown = String::from_utf8_lossy(body);
    let error = parse(body).expect_err(&shown);
    assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{shown}");
    assert_eq!(error.is_transient(), transient, "{shown}");
    assert!(error.to_string().contains(expected), "{shown}: {error}");
    error
}

// covers: F-16, F-17, F-18, F-19, F-20, F-21, F-22, C-22
#[test]
fn expires_in() {
    let day = 24 * 3_600;
    for (value, seconds) in [
        ("3600", 3_600),
        (r#""3600""#, 3_600),
        ("3599.9", 3_599),
        ("1e3", 1_000),
        ("0", 0),
        ("0.9", 0),
        ("null", 300),
        ("1e300", day),
        ("18446744073709551615", day),
        ("184467440737095516150", day),
        (r#""99999999999999999999999""#, day),
        ("86401", day),
    ] {
        let token = parse(with(&format!(r#""expires_in":{value}"#))).expect(value);
        assert_eq!(token.lifetime().as_secs(), seconds, "{value}");
    }
    let unknown = parse(r#"{"access_token":"t","token_type":"Bearer"}"#).unwrap();
    assert_eq!(unknown.lifetime().as_secs(), 300);
    for (value, shown) in [
        ("-1", "-1"),
        ("-0.5", "-0.5"),
        ("-9223372036854775809", "-92233720368547"),
        // The token is `t`: it is removed from the server's text only.
        ("true", "a value of another type"),
        ("{}", "a value of another type"),
        ("[]", "a value of another type"),
        ("[3600]", "a value of another type"),
        (r#""3600.0""#, "the text `3600.0`"),
        (r#"" 3600""#, "the text ` 3600`"),
        (r#""1h""#, "the text `1h`"),
        (r#""1t""#, "the text `1[redacted]`"),
        (r#""""#, "the text ``"),
        (r#""-1""#, "the text `-1`"),
        (r#""+1""#, "the text `+1`"),
        (r#""٣""#, "the text `٣`"),
    ] {
        refused(
            with(&format!(r#""expires_in":{value}"#)),
            false,
            &format!("`expires_in` is not a number of seconds but {shown}"),
        );
    }
    for value in ["NaN", "Infinity", "01", "+1"] {
        refused(
            with(&format!(r#""expires_in":{value}"#)),
            false,
            "not valid JSON",
        );
    }
}

#[test]
fn a_lifetime_of_more_than_a_day_is_logged() {
    let capture = hallpass_testkit::leak::Capture::start();
    let warnings = || capture.text().matches("token lifetime over 24 h").count();
    parse(with(r#""expires_in":86400"#)).unwrap();
    parse(with(r#""expires_in":3600"#)).unwrap();
    assert_eq!(warnings(), 0);
    parse(with(r#""expires_in":86401"#)).unwrap();
    assert_eq!(warnings(), 1);
}

// covers: F-20, F-69
#[test]
fn the_longest_lifetime_cannot_overflow() {
    let rules = ResponseRules {
        max_lifetime: Duration::MAX,
        ..ResponseRules::default()
    };
    let body = with(r#""expires_in":18446744073709551615"#);
    let token = parse_with(body.as_bytes(), &rules).unwrap();
    assert_eq!(token.lifetime().as_secs(), u64::MAX);
    assert!(!token.is_expired(SystemClock.now()));
    assert_eq!(token.expires_at(), None);
}

// covers: F-01, F-08, F-13, F-11, F-10
#[test]
fn what_is_no_json_object() {
    for body in ["", " ", "\r\n", "\u{feff}"] {
        refused(body, true, "is empty");
    }
    for body in ["<html></html>", "{]", "{'a':1}", "token=t", "a=error=x"] {
        refused(body, false, "not valid JSON");
    }
    for body in ["null", "[]", r#""t""#, "17", "true"] {
        refused(body, false, "not an object");
    }
    refused(b"{\"access_token\":\"\xff\"}", false, "not UTF-8");
    let utf16: Vec<u8> = with(r#""x":1"#)
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let with_mark = [&[0xff, 0xfe], &*utf16].concat();
    refused(with_mark, false, "not UTF-8");
    // The space in the middle is read before the end.
    refused(format!("{} x", with(r#""x":1"#)), false, "not valid JSON");
    refused(with(r#""x":1"#).repeat(2), false, "not valid JSON");
}

// covers: F-11
#[test]
fn a_form_is_read_by_a_lenient_source_only() {
    let form = "access_token=t%2Fk&token_type=bearer&expires_in=3600&scope=a+b&id=7\n";
    refused(form, false, "is a form and not JSON");
    let rules = ResponseRules {
        lenient: true,
        ..ResponseRules::default()
    };
    let token = parse_with(form.as_bytes(), &rules).unwrap();
    assert_eq!((token.expose(), token.lifetime().as_secs()), ("t/k", 3_600));
    assert_eq!(token.scopes().as_str(), "a b");
    // Not even a lenient source guesses which member counts.
    let twice = "access_token=t&access_token=u&token_type=bearer";
    assert!(parse_with(twice.as_bytes(), &rules).is_err());
    // An error counts in either case.
    for rules in [rules, ResponseRules::default()] {
        let error = "error=invalid_client&error_description=no+such+client";
        let error = parse_with(error.as_bytes(), &rules).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        assert!(error.to_string().contains("no such client"), "{error}");
    }
}

// covers: F-31
#[test]
fn a_success_without_a_token_shows_the_servers_message() {
    for (body, expected) in [
        (r#"{"message":"no such client"}"#, "no such client"),
        (
            r#"{"error":{"message":"no such client"}}"#,
            "no such client",
        ),
        (r#"{"errors":["no such client"]}"#, "no such client"),
        (
            r#"{"id_token":"CANARY","message":"got CANARY"}"#,
            "got [redacted]",
        ),
    ] {
        let error = parse(body).unwrap_err();
        assert_eq!(error.server_message(), Some(expected), "{body}");
        assert!(!error.is_transient());
    }
    let error = parse(r#"{"errorCode":"invalid_client"}"#).unwrap_err();
    assert_eq!(error.oauth_error().unwrap().code(), "invalid_client");
}

// covers: F-10
#[test]
fn one_byte_order_mark_is_skipped() {
    assert!(parse(format!("\u{feff}{}", with(r#""x":1"#))).is_ok());
    refused(
        format!("\u{feff}\u{feff}{}", with(r#""x":1"#)),
        false,
        "not valid JSON",
    );
}

// covers: F-02
#[test]
fn every_prefix_is_an_error_that_shows_nothing() {
    let body = r#"{"access_token":"CANARY-1","token_type":"Bearer","expires_in":3600,"scope":"a b","x":{"y":[1,"CANARY-2"]}}"#;
    assert!(parse(body).is_ok());
    for end in 0..body.len() {
        let error = refused(&body[..end], true, "");
        assert!(
            !format!("{error} {error:?}").contains("CANARY"),
            "{error:?}"
        );
    }
}

// covers: F-12
#[test]
fn a_known_member_twice() {
    for (twice, name) in [
        (r#""access_token":"u""#, "access_token"),
        (r#""access\u005ftoken":"u""#, "access_token"),
        (r#""token_type":"Bearer""#, "token_type"),
        (r#""expires_in":1,"expires_in":1"#, "expires_in"),
        (r#""scope":null,"scope":"a""#, "scope"),
    ] {
        refused(with(twice), false, &format!("`{name}` twice"));
    }
}

// covers: F-14
#[test]
fn deep_nesting_neither_passes_nor_overflows() {
    let deep = |depth: usize| {
        with(&format!(
            r#""x":{}{}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        ))
    };
    assert!(parse(deep(100)).is_ok());
    refused(deep(10_000), false, "too deeply");
    let known = format!(
        r#"{{"scope":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    assert!(parse(known).is_err());
    let quoted = with(&format!(r#""x":"{}\"{{""#, "[".repeat(10_000)));
    assert!(parse(quoted).is_ok());
}

// covers: F-15, F-37, C-15, C-24
#[test]
fn unknown_members_stay_and_foreign_tokens_are_dropped() {
    let token = parse(with(
        r#""x": [1, 2.50],"y":"\u0041","refresh_token":"CANARY","id_token":"CANARY""#,
    ))
    .unwrap();
    assert_eq!(token.extra("x"), Some("[1, 2.50]"));
    assert_eq!(token.extra("y"), Some(r#""\u0041""#));
    assert_eq!(token.extra("refresh_token"), None);
    assert_eq!(token.extra("id_token"), None);
    assert_eq!(token.extra("expires_in"), None);
}

// covers: C-18, F-23, F-24, F-25
#[test]
fn the_access_token() {
    let token = |json: &str| format!(r#"{{"access_token":{json},"token_type":"Bearer"}}"#);
    for (json, expected) in [
        ("null", "no `access_token`"),
        (r#""""#, "is empty"),
        ("17", "not a string"),
        ("{}", "not a string"),
        (r#""CANARY\r\nX: y""#, "does not allow"),
        (r#""CANARY\u0000""#, "does not allow"),
        (r#""CANARY CANARY""#, "does not allow"),
        (r#""CANARY\t""#, "does not allow"),
        (r#""CANARY-ü""#, "does not allow"),
        (r#""CANARY|1""#, "does not allow"),
        (r#""=CANARY""#, "does not allow"),
        (r#""==""#, "does not allow"),
    ] {
        let error = refused(token(json), false, expected);
        assert!(!format!("{error} {error:?}").contains("CANARY"));
    }
    refused(r#"{"token_type":"Bearer"}"#, false, "no `access_token`");
    for json in [r#""mF_9.B5f-4.1JqM""#, r#""a+/~==""#, r#""\u0061bc""#] {
        assert!(parse(token(json)).is_ok(), "{json}");
    }
    refused(
        token(&format!("\"{}\"", "x".repeat(1_000_000))),
        false,
        "1000000 bytes, more than the limit of 32768",
    );
    assert!(parse(token(&format!("\"{}\"", "x".repeat(32_768)))).is_ok());

    let lenient = ResponseRules {
        lenient: true,
        ..ResponseRules::default()
    };
    assert!(parse_with(token(r#""17|abc""#).as_bytes(), &lenient).is_ok());
    for json in [r#""a b""#, r#""a\r\nb""#, r#""ü""#] {
        assert!(
            parse_with(token(json).as_bytes(), &lenient).is_err(),
            "{json}"
        );
    }
}

// covers: C-19, C-20, F-26, F-27, F-28
#[test]
fn the_token_type() {
    let kind = |json: &str| format!(r#"{{"access_token":"t","token_type":{json}}}"#);
    for spelling in ["bearer", "BEARER", "Bearer"] {
        let token = parse(kind(&format!("\"{spelling}\""))).unwrap();
        assert_eq!(token.header_value(), "Bearer t");
    }
    refused(kind(r#""N_A""#), false, "is not an access token");
    for other in ["DPoP", "mac", "", "Bearer,Bearer"] {
        refused(kind(&format!("\"{other}\"")), false, "is not `Bearer`");
    }
    refused(kind("17"), false, "not a string");
    refused(kind("null"), false, "no `token_type`");
    refused(r#"{"access_token":"t"}"#, false, "no `token_type`");
    let lenient = ResponseRules {
        lenient: true,
        ..ResponseRules::default()
    };
    assert!(parse_with(br#"{"access_token":"t"}"#, &lenient).is_ok());
    assert!(parse_with(kind("\"mac\"").as_bytes(), &lenient).is_err());
    let apigee = kind(r#""BearerToken""#);
    assert!(parse_with(apigee.as_bytes(), &lenient).is_ok());
    let error = refused(apigee, false, "is not `Bearer` but `BearerToken`");
    assert_eq!(error.hint_name(), hints::LENIENT.name());
    for lenient in [false, true] {
        let bound = ResponseRules {
            token_type: TokenType::Dpop,
            lenient,
            ..ResponseRules::default()
        };
        for body in [r#"{"access_token":"t"}"#.to_owned(), kind("\"Bearer\"")] {
            let unbound = parse_with(body.as_bytes(), &bound).unwrap_err();
            assert_eq!(unbound.hint_name(), hints::UNBOUND.name(), "{body}");
        }
    }
}

// covers: C-23, F-36, I-08
#[test]
fn the_granted_scopes() {
    for (scope, granted) in [
        (r#""asked""#, "asked"),
        (r#""asked more""#, "asked more"),
        (r#""other""#, "other"),
        (r#""""#, ""),
        (r#""b  a ""#, "a b"),
        ("null", "asked"),
    ] {
        let token = parse(with(&format!(r#""scope":{scope}"#))).unwrap();
        assert_eq!(token.scopes().as_str(), granted, "{scope}");
    }
    let silent = parse(with(r#""x":1"#)).unwrap();
    assert_eq!(silent.scopes().as_str(), "asked");
    refused(with(r#""scope":["asked"]"#), false, "not a string");
    refused(with(r#""scope":"a\nb""#), false, "does not allow");
}

#[test]
fn the_advice_when_to_renew() {
    for (json, advice) in [
        ("1800", Some(1_800)),
        (r#""60""#, Some(60)),
        ("9999", Some(3_600)),
        ("true", None),
    ] {
        let token = parse(with(&format!(r#""expires_in":3600,"refresh_in":{json}"#))).unwrap();
        assert_eq!(token.refresh_in().map(|advice| advice.as_secs()), advice);
    }
}

// covers: F-30
#[test]
fn an_error_in_a_200_rules() {
    for body in [
        r#"{"error":"invalid_client"}"#,
        r#"{"error":"invalid_client","access_token":"CANARY","token_type":"Bearer"}"#,
        r#"{"access_token":"CANARY","token_type":"Bearer","error":"invalid_client","error_description":"not CANARY"}"#,
    ] {
        let error = parse(body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        assert!(!error.is_transient());
        assert_eq!(error.oauth_error().unwrap().code(), "invalid_client");
        assert!(
            !format!("{error} {error:?}").contains("CANARY"),
            "{error:?}"
        );
    }
    assert!(parse(r#"{"error":{},"access_token":"t","token_type":"Bearer"}"#).is_err());
    assert!(parse(with(r#""error":null"#)).is_ok());
}

/// Generates a member of a response, valid or invalid in every relevant way.
fn member() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("access_token"),
        Just("token_type"),
        Just("expires_in"),
        Just("scope"),
        Just("error"),
        Just("x"),
    ];
    let value = prop_oneof![
        Just(r#""Bearer""#.to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:?}")),
        "[a-zA-Z0-9 ]{0,6}".prop_map(|text| format!("\"{text}\"")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap_or_default()),
    ];
    (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
}

/// Applies the rules of PROTOCOL to a tree from another parser.
fn acceptable(body: &str) -> bool {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(body) else {
        return false;
    };
    let text = |name: &str| object.get(name).and_then(serde_json::Value::as_str);
    let absent = |name: &str| object.get(name).is_none_or(serde_json::Value::is_null);
    let token = text("access_token").is_some_and(is_b64token);
    let kind = text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    let expiry = absent("expires_in")
        || object["expires_in"]
            .as_f64()
            .is_some_and(|seconds| seconds >= 0.0)
        || text("expires_in").is_some_and(is_digits);
    let scope = absent("scope")
        || text("scope").is_some_and(|scope| {
            let legal = |c: char| {
                c == ' ' || c == '!' || ('#'..='[').contains(&c) || (']'..='~').contains(&c)
            };
            scope.chars().all(legal)
        });
    token && kind && expiry && scope && absent("error")
}

proptest! {
    // covers: F-02
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body);
    }

    // covers: F-12
    #[test]
    fn it_accepts_what_the_rules_accept(mut members in proptest::collection::vec(member(), 0..7), good in any::<bool>()) {
        if good {
            members.insert(0, r#""access_token":"t""#.to_owned());
            members.push(r#""token_type":"bearer""#.to_owned());
        }
        let body = format!("{{{}}}", members.join(","));
        let known = |member: &&String| !member.starts_with("\"x\"");
        let mut names: Vec<_> = members.iter().filter(known).map(|member| member.split(':').next()).collect();
        names.sort_unstable();
        let twice = names.windows(2).any(|pair| pair[0] == pair[1]);
        prop_assert_eq!(parse(&body).is_ok(), !twice && acceptable(&body), "{}", body);
    }
}

/// One allocation for the token's buffer, and three more: its owner, the shared token, the scopes.
#[test]
fn reading_a_response_allocates_little() {
    let token = "x".repeat(900);
    let body = format!(
        r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600,"scope":"orders.read orders.write"}}"#
    );
    let rules = ResponseRules::default();
    let asked = ScopeSet::EMPTY;
    let moment = SystemClock.moment();
    let allocations = allocation_counter::measure(|| {
        let read = read_as(body.as_bytes(), &rules, &asked, moment);
        drop(std::hint::black_box(read));
    });
    assert_eq!(allocations.count_total, 1 + 3);
}

#[test]
fn the_name_of_a_member_shows_no_token() {
    let body = r#"{"refresh_token":"CANARY-refresh","CANARY-refresh":1,"other":2}"#;
    let error = refused(body, false, "but the members");
    assert!(!error.to_string().contains("CANARY"), "{error}");
}
