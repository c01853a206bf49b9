use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::TokenRequest;

fn details(text: &str) -> AuthorizationDetails {
    text.parse().unwrap()
}

#[test]
fn order_white_space_and_escapes_do_not_count() {
    let one = details(r#"[{"type":"b","x":[1,{"p":1,"q":"é"}]},{"type":"a"}]"#);
    let other = details(
        " [ {\"type\" : \"\\u0061\"} ,\n {\"x\":[ 1 , {\"q\":\"\\u00e9\",\"p\":1}], \"type\":\"b\"}]\n",
    );
    assert_eq!(one, other);
    assert_eq!(
        one.as_str(),
        r#"[{"type":"a"},{"type":"b","x":[1,{"p":1,"q":"é"}]}]"#
    );
    assert!(one.types().eq(["a", "b"]));
}

#[test]
fn what_differs_in_meaning_is_another_value() {
    let all = [
        r#"[{"type":"a"}]"#,
        r#"[{"type":"a"},{"type":"a"}]"#,
        r#"[{"type":"a","x":[1,2]}]"#,
        r#"[{"type":"a","x":[2,1]}]"#,
        r#"[{"type":"a","x":"1"}]"#,
        r#"[{"type":"a","x":1}]"#,
        r#"[{"type":"a","x":null}]"#,
        // Beyond the precision of a double.
        r#"[{"type":"a","x":12345678901234567890.01}]"#,
        r#"[{"type":"a","x":12345678901234567890.02}]"#,
    ];
    for (at, one) in all.iter().enumerate() {
        for (other_at, other) in all.iter().enumerate() {
            let (one, other) = (details(one), details(other));
            assert_eq!(one == other, at == other_at, "{}", other.as_str());
            let canonical = |details| {
                let request = TokenRequest::new().with_authorization_details(details);
                request.canonical()
            };
            assert_eq!(canonical(one) == canonical(other), at == other_at);
        }
    }
}

#[test]
fn hostile_details_are_refused_and_not_quoted() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"[{{"type":"a","CANARY":{open}{close}}}]"#)
    };
    let long = format!(r#"[{{"type":"a","x":"{}"}}]"#, "CANARY".repeat(6_000));
    for (text, expected) in [
        ("", "not a JSON array"),
        ("CANARY", "not a JSON array"),
        (r#"{"type":"CANARY"}"#, "not a JSON array"),
        (r#"[{"type":"CANARY"}"#, "not a JSON array"),
        (r#"[{"type":"CANARY"}] x"#, "not a JSON array"),
        ("null", "not a JSON array"),
        ("[]", "leave it out"),
        (r#"["CANARY"]"#, "element 1 is not"),
        (r#"[{"type":"a"},null]"#, "element 2 is not"),
        (r#"[{"type":"a"},[]]"#, "element 2 is not"),
        (r#"[{"x":"CANARY"}]"#, "element 1 has no `type`"),
        (r#"[{"type":""}]"#, "element 1 has no `type`"),
        (r#"[{"type":["CANARY"]}]"#, "element 1 has no `type`"),
        (r#"[{"type":null}]"#, "element 1 has no `type`"),
        (r#"[{"type":"a","type":"CANARY"}]"#, "member twice"),
        (r#"[{"type":"a","\u0074ype":"CANARY"}]"#, "member twice"),
        (r#"[{"type":"a","x":[{"y":1,"y":1}]}]"#, "member twice"),
        (r#"[{"type":"a","x":"\ud800CANARY"}]"#, "element 1 is not"),
        (&nested(15), "16 levels"),
        (&nested(5_000), "16 levels"),
        (&long, "more than the limit of 32768"),
    ] {
        let error = text.parse::<AuthorizationDetails>().unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected), "{text:.80}: {shown}");
        assert!(!shown.contains("CANARY"), "{shown}");
    }
    details(&nested(14));
}

#[test]
fn debug_shows_the_types_alone() {
    let details = details(r#"[{"type":"payment","iban":"CANARY"}]"#);
    let request = TokenRequest::new().with_authorization_details(details);
    let shown = format!("{request:?}");
    assert!(shown.contains("payment"), "{shown}");
    assert!(!shown.contains("CANARY"), "{shown}");
}

#[test]
fn the_request_that_has_none_takes_the_default() {
    let of = |text| TokenRequest::new().with_authorization_details(details(text));
    let default = of(r#"[{"type":"a"}]"#);
    let scoped = TokenRequest::new().with_scopes("x".parse().unwrap());
    let merged = scoped.or(&default);
    assert_eq!(
        merged.authorization_details(),
        default.authorization_details()
    );
    let own = of(r#"[{"type":"b"}]"#);
    assert_eq!(own.or(&default), own);
    let parameter = TokenRequest::new().with_parameter("authorization_details", "[]");
    assert!(
        parameter
            .unwrap_err()
            .to_string()
            .contains("use the method")
    );
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,3}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_details_mean_the_same_and_stay(value in values(), kind in ".{1,8}") {
        let array = json!([{"type": kind, "x": value}]);
        let details: AuthorizationDetails = array.to_string().parse().unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(details.as_str()).unwrap(), array);
        prop_assert_eq!(details.as_str().parse::<AuthorizationDetails>().unwrap(), details);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[\\[\\]{}:,\"\\\\a type01]{0,60}") {
        let _ = text.parse::<AuthorizationDetails>();
    }
}
