use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn read(lines: &[&[u8]]) -> Vec<Challenge> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line).unwrap());
    }
    Challenge::all(&headers)
}

/// Formats each challenge as its scheme and `name=value` for each parameter.
fn shown(lines: &[&str]) -> Vec<String> {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    let shown = |challenge: &Challenge| {
        let parameters = challenge.parameters.iter();
        let parameters = parameters.map(|(name, value)| format!(" {name}={value}"));
        format!(
            "{}{}",
            challenge.scheme,
            parameters.collect::<Vec<_>>().concat()
        )
    };
    read(&lines).iter().map(shown).collect()
}

fn check(line: &str, expect: &[&str]) {
    assert_eq!(shown(&[line]), expect, "{line}");
}

// covers: C-35, C-36
#[test]
fn what_the_rfc_allows_is_read() {
    check("Bearer", &["Bearer"]);
    check(r#"Bearer realm="a""#, &["Bearer realm=a"]);
    check(
        "bearer ERROR=invalid_token",
        &["bearer error=invalid_token"],
    );
    check(
        r#"Bearer realm="a, Basic realm=b", error="invalid_token""#,
        &["Bearer realm=a, Basic realm=b error=invalid_token"],
    );
    check(
        r#"Negotiate, Basic realm="x", Bearer scope="a b",error = "e""#,
        &["Negotiate", "Basic realm=x", "Bearer scope=a b error=e"],
    );
    check(
        r"Bearer realm=x, Negotiate YII=, Basic",
        &["Bearer realm=x", "Negotiate", "Basic"],
    );
    check(
        r"Negotiate a/+-._~b==  , Bearer error=x",
        &["Negotiate", "Bearer error=x"],
    );
    check(r#"Bearer realm="a\"b\\c\d""#, &[r#"Bearer realm=a"b\cd"#]);
    check(",, ,Bearer,,realm=x,\t,", &["Bearer realm=x"]);
    assert_eq!(read(&[b"bEarer realm=x"])[0].scheme(), "bEarer");
    check("", &[]);
    assert_eq!(
        shown(&["Bearer realm=a", "Basic realm=b"]),
        ["Bearer realm=a", "Basic realm=b"]
    );
}

#[test]
fn what_servers_write_besides_is_let_through() {
    check(r#"Bearer realm="a" error="b""#, &["Bearer realm=a error=b"]);
    check(
        "Bearer scope=orders:read/all, error=x",
        &["Bearer scope=orders:read/all error=x"],
    );
    check(
        r#"Bearer error="first", error="second""#,
        &["Bearer error=first"],
    );
    check(r#"Bearer realm="", error=x"#, &["Bearer realm= error=x"]);
    assert_eq!(
        read(&[b"Bearer realm=\"gr\xfc\xdfe\""])[0].parameter("realm"),
        Some("gr\u{fffd}\u{fffd}e")
    );
}

#[test]
fn what_cannot_be_read_ends_its_line_and_no_other() {
    check(r#"Bearer error="invalid"#, &["Bearer"]);
    check(r#"Bearer error="invalid\"#, &["Bearer"]);
    check("error=x, Bearer", &[]);
    check("=", &[]);
    check("\"Bearer\"", &[]);
    check("Bearer realm=a, (comment) error=x", &["Bearer realm=a"]);
    assert_eq!(
        shown(&["Bearer", "error=x", "Basic realm=y"]),
        ["Bearer", "Basic realm=y"]
    );
}

#[test]
fn a_flood_is_read_up_to_its_bounds() {
    let many = "Basic, ".repeat(1_000);
    assert_eq!(shown(&[&many]).len(), MAX_CHALLENGES);
    let parameters: Vec<_> = (0..1_000).map(|number| format!("p{number}=x")).collect();
    let parameters = parameters.join(", ");
    assert_eq!(
        read(&[format!("Bearer {parameters}").as_bytes()])[0]
            .parameters
            .len(),
        MAX_PARAMETERS
    );
    let long = format!("Bearer realm=\"{}\"", "x".repeat(MAX_BYTES));
    assert_eq!(shown(&[&long]), ["Bearer"]);
    let lines = vec!["Bearer realm=0123456789"; 10_000];
    assert_eq!(shown(&lines).len(), MAX_CHALLENGES);
    let nearly = "x".repeat(MAX_BYTES - 7);
    assert_eq!(shown(&[&nearly, "Bearer error=x"]), [&*nearly, "Bearer"]);
}

// covers: F-99
#[test]
fn debug_shows_no_value() {
    let challenge = &read(&[b"Bearer error_description=\"CANARY\""])[0];
    assert_eq!(challenge.parameter("Error_Description"), Some("CANARY"));
    let text = format!("{challenge:?}");
    assert!(
        text.contains("error_description") && !text.contains("CANARY"),
        "{text}"
    );
}

/// Generates lines in which bytes with a meaning to the parser are more frequent than by chance.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "Bearer", "Basic", "error", "scope", "=", "\"", "\\", ",", " ", "\t", "==", "a/b", "invalid_token",
        ]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_panics_and_all_bounds_hold(lines in prop::collection::vec(line(), 0..5)) {
        let mut headers = HeaderMap::new();
        for line in &lines {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                headers.append(WWW_AUTHENTICATE, value);
            }
        }
        let challenges = Challenge::all(&headers);
        prop_assert!(challenges.len() <= MAX_CHALLENGES);
        for challenge in &challenges {
            prop_assert!(!challenge.scheme.is_empty() && challenge.scheme.is_ascii());
            prop_assert!(challenge.parameters.len() <= MAX_PARAMETERS);
        }
    }

    #[test]
    fn what_is_written_by_the_rfc_is_read_back(
        challenges in prop::collection::vec(
            ("[A-Za-z][A-Za-z0-9-]{0,8}", prop::collection::btree_map("[a-z_]{1,8}", "[ -~]{0,12}", 0..4)),
            0..4,
        )
    ) {
        let write = |(scheme, parameters): &(String, std::collections::BTreeMap<String, String>)| {
            let parameters = parameters.iter().map(|(name, value)| {
                let escaped = value.replace('\\', r"\\").replace('"', "\\\"");
                format!("{name}=\"{escaped}\"")
            });
            format!("{scheme} {}", parameters.collect::<Vec<_>>().join(", "))
        };
        let line = challenges.iter().map(write).collect::<Vec<_>>().join(", ");
        let back = read(&[line.trim_end().as_bytes()]);
        prop_assert_eq!(back.len(), challenges.len());
        for (read, (scheme, parameters)) in back.iter().zip(&challenges) {
            prop_assert!(read.is(scheme));
            prop_assert_eq!(read.parameters.len(), parameters.len());
            for (name, value) in parameters {
                prop_assert_eq!(read.parameter(name), Some(&**value));
            }
        }
    }
}
