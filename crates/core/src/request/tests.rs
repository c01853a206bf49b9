use std::hash::DefaultHasher;

use super::*;

fn hash(request: &TokenRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.hash(&mut hasher);
    hasher.finish()
}

fn scopes(text: &str) -> TokenRequest {
    TokenRequest::new().with_scopes(text.parse().unwrap())
}

#[test]
fn a_requests_hash_is_unpredictable_outside_the_process() {
    let request = scopes("a");
    let mut known = DefaultHasher::new();
    request.fields().for_each(|fields| fields.hash(&mut known));
    assert_ne!(request.key_hash(), known.finish());
}

// covers: C-62
#[test]
fn equal_wants_are_one_key_and_every_part_is_in_it() {
    let a = TokenRequest::new()
        .with_resource("https://a.example/")
        .unwrap()
        .with_resource("https://b.example/")
        .unwrap();
    let b = TokenRequest::new()
        .with_resource("https://b.example/")
        .unwrap()
        .with_resource("https://a.example/")
        .unwrap()
        .with_resource("https://a.example/")
        .unwrap();
    assert_eq!(a, b);
    assert_eq!(hash(&a), hash(&b));

    let all = [
        TokenRequest::new(),
        scopes("a"),
        scopes("a b"),
        scopes("A"),
        TokenRequest::new().with_resource("urn:a").unwrap(),
        TokenRequest::new().with_audience("urn:a").unwrap(),
        TokenRequest::new().with_parameter("x", "urn:a").unwrap(),
        TokenRequest::new().with_parameter("y", "urn:a").unwrap(),
        a,
    ];
    for (at, one) in all.iter().enumerate() {
        for (other_at, other) in all.iter().enumerate() {
            assert_eq!(one == other, at == other_at, "{one:?} {other:?}");
            assert_eq!(
                hash(one) == hash(other),
                at == other_at,
                "{one:?} {other:?}"
            );
            assert_eq!(one.canonical() == other.canonical(), at == other_at);
        }
    }
}

#[test]
fn asking_for_nothing_is_the_default() {
    assert!(scopes("").is_default());
    assert_eq!(
        scopes("a").with_scopes(ScopeSet::EMPTY),
        TokenRequest::default()
    );
}

#[test]
fn a_clone_is_not_changed_by_what_is_added_to_the_other() {
    let base = scopes("a");
    let more = base.clone().with_audience("x").unwrap();
    assert_eq!(base, scopes("a"));
    assert_ne!(base, more);
}

// covers: C-10, C-11, C-38, C-61
#[test]
fn refusals_say_what_to_do() {
    let new = TokenRequest::new;
    let refusals = [
        (
            new().with_parameter("client_secret", "x"),
            "`client_secret` is managed",
        ),
        (new().with_parameter("password", "x"), "use the method"),
        (new().with_parameter("scope", "x"), "use the method"),
        (new().with_parameter("tenant", ""), "leave it out"),
        (new().with_parameter("", "x"), "printable ASCII"),
        (new().with_parameter("a\nb", "x"), "printable ASCII"),
        (
            new()
                .with_parameter("a", "x")
                .unwrap()
                .with_parameter("a", "y"),
            "set before",
        ),
        (new().with_audience(""), "leave it out"),
        (new().with_resource(""), "absolute URI"),
        (new().with_resource("/orders"), "absolute URI"),
        (new().with_resource("https:"), "absolute URI"),
        (
            new().with_resource("https://api.example/#part"),
            "without a fragment",
        ),
        (
            new().with_resource("https://api.example/a b"),
            "absolute URI",
        ),
        (new().with_resource("1http://x"), "absolute URI"),
    ];
    for (result, expected) in refusals {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn defaults_fill_what_is_open() {
    let defaults = scopes("a")
        .with_audience("d")
        .unwrap()
        .with_parameter("t", "1")
        .unwrap()
        .with_parameter("u", "1")
        .unwrap();
    assert_eq!(TokenRequest::default().or(&defaults), defaults);
    assert_eq!(defaults.or(&TokenRequest::default()), defaults);
    let asked = scopes("b").with_parameter("t", "2").unwrap();
    let merged = asked.or(&defaults);
    assert_eq!(merged.scopes().as_str(), "b");
    assert_eq!(merged.audiences().collect::<Vec<_>>(), ["d"]);
    assert_eq!(
        merged.parameters().collect::<Vec<_>>(),
        [("t", "2"), ("u", "1")]
    );
}

// covers: F-99
#[test]
fn debug_hides_the_values_of_extra_parameters() {
    let request = TokenRequest::new()
        .with_parameter("api_key", "CANARY")
        .unwrap();
    let shown = format!("{request:?}");
    assert!(
        shown.contains("api_key") && !shown.contains("CANARY"),
        "{shown}"
    );
}
