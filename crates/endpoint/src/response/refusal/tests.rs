use http::HeaderMap;

use super::{super::wording::TOKEN_ENDPOINT, *};

const CLIENT: Wording = Wording::for_client(TOKEN_ENDPOINT, "client_credentials");

fn check(status: u16, body: &str, kind: ErrorKind, transient: bool) -> TokenError {
    let status = StatusCode::from_u16(status).unwrap();
    let answer = Answer {
        status,
        url: "https://login.example/token".parse().unwrap(),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec().into(),
    };
    let error = read(&answer, &TextFilter::new(), &CLIENT);
    assert_eq!(
        (error.kind(), error.is_transient()),
        (kind, transient),
        "{status} {body}"
    );
    assert_eq!(error.status(), Some(status));
    error
}

// covers: C-26, C-28, C-29, F-31, F-32, F-34, F-35, F-52, F-55, F-56, F-57
#[test]
fn code_and_status_determine_who_is_at_fault() {
    use ErrorKind::{
        Configuration, CredentialsRefused, RequestRefused, Unavailable, UnusableResponse,
    };
    let code = |code: &str| format!(r#"{{"error":"{code}"}}"#);
    for (status, body, kind, transient) in [
        (400, code("invalid_client"), CredentialsRefused, false),
        (401, code("invalid_client"), CredentialsRefused, false),
        (401, code("something_new"), CredentialsRefused, false),
        (500, code("invalid_client"), CredentialsRefused, false),
        (400, code("invalid_scope"), RequestRefused, false),
        (400, code("invalid_target"), RequestRefused, false),
        (
            400,
            code("invalid_authorization_details"),
            RequestRefused,
            false,
        ),
        (400, code("invalid_grant"), RequestRefused, false),
        (400, code("invalid_request"), RequestRefused, false),
        (400, code("unauthorized_client"), RequestRefused, false),
        (400, code("unsupported_grant_type"), RequestRefused, false),
        (400, code("something_new"), RequestRefused, false),
        (404, code("something_new"), RequestRefused, false),
        (400, code("invalid_dpop_proof"), RequestRefused, false),
        (401, code("use_dpop_nonce"), RequestRefused, false),
        (401, code("server_error"), CredentialsRefused, false),
        (401, code("access_denied"), CredentialsRefused, false),
        (401, code("unauthorized_client"), CredentialsRefused, false),
        (403, code("access_denied"), RequestRefused, false),
        (400, code("unsupported_token_type"), RequestRefused, false),
        (401, code("temporarily_unavailable"), Unavailable, true),
        (
            401,
            r#"{"message":"who?"}"#.into(),
            CredentialsRefused,
            false,
        ),
        (
            401,
            r#"{"errorCode":"invalid_client"}"#.into(),
            CredentialsRefused,
            false,
        ),
        (401, "<html>no</html>".into(), UnusableResponse, false),
        (403, "<!doctype html>".into(), UnusableResponse, false),
        (404, "<html>no</html>".into(), Configuration, false),
        (
            415,
            r#"{"message":"send JSON"}"#.into(),
            Configuration,
            false,
        ),
        (400, code("temporarily_unavailable"), Unavailable, true),
        (400, code("slow_down"), Unavailable, true),
        (500, code("server_error"), Unavailable, true),
        (500, code("something_new"), Unavailable, true),
        (429, code("invalid_client"), Unavailable, true),
        (400, String::new(), RequestRefused, false),
        (400, "<html>no</html>".into(), RequestRefused, false),
        (400, "{}".into(), RequestRefused, false),
        (400, r#"{"error":17}"#.into(), RequestRefused, false),
        (401, String::new(), CredentialsRefused, false),
        (403, String::new(), CredentialsRefused, false),
        (404, String::new(), Configuration, false),
        (407, String::new(), Configuration, false),
        (408, String::new(), Unavailable, true),
        (429, String::new(), Unavailable, true),
        (500, String::new(), Unavailable, true),
        (501, String::new(), Unavailable, false),
        (502, String::new(), Unavailable, true),
        (503, "<html>".into(), Unavailable, true),
        (504, String::new(), Unavailable, true),
        (505, String::new(), Unavailable, false),
    ] {
        check(status, &body, kind, transient);
    }
}

// covers: F-31
#[test]
fn a_refusal_without_a_reason_says_so_and_quotes_nothing() {
    let error = check(403, "CANARY <script>", ErrorKind::CredentialsRefused, false);
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("gave no reason") && text.contains("HTTP 403"),
        "{text}"
    );
    assert!(!text.contains("CANARY"), "{text}");
}

// covers: F-31, F-32
#[test]
fn the_hint_fits_code_and_status() {
    let code = |code: &str| format!(r#"{{"error":"{code}"}}"#);
    for (status, body, expected) in [
        (
            401,
            code("unauthorized_client"),
            "if they are correct, enable the grant `client_credentials`",
        ),
        (
            401,
            code("server_error"),
            "check `client_id` and `client_secret`",
        ),
        (
            401,
            code("access_denied"),
            "check `client_id` and `client_secret`",
        ),
        (
            401,
            r#"{"message":"who?"}"#.into(),
            "check `client_id` and `client_secret`",
        ),
        (403, code("access_denied"), "audiences"),
        (
            400,
            code("unauthorized_client"),
            "enable the grant `client_credentials`",
        ),
        (403, "<html>no</html>".into(), "a firewall, a proxy"),
        (415, String::new(), "another API"),
        (
            400,
            String::new(),
            "supports the grant `client_credentials`",
        ),
    ] {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            url: "https://login.example/token".parse().unwrap(),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec().into(),
        };
        let error = read(&answer, &TextFilter::new(), &CLIENT);
        assert!(error.hint().unwrap().contains(expected), "{error}");
    }
}

// covers: F-31
#[test]
fn a_token_endpoint_does_not_speak_of_revocation() {
    let body = r#"{"error":"unsupported_token_type"}"#;
    let error = check(400, body, ErrorKind::RequestRefused, false);
    let text = error.to_string();
    assert!(text.contains("refused the token request"), "{text}");
    assert!(!text.contains("revoke"), "{text}");
}

// covers: F-34
#[test]
fn a_page_with_a_challenge_refuses_the_client() {
    let mut answer = Answer {
        status: StatusCode::UNAUTHORIZED,
        url: "https://login.example/token".parse().unwrap(),
        headers: HeaderMap::new(),
        body: b"<html><title>Error 401</title>".to_vec().into(),
    };
    let page = read(&answer, &TextFilter::new(), &CLIENT);
    assert_eq!(page.kind(), ErrorKind::UnusableResponse);
    assert_eq!(page.server_message(), Some("Error 401"));
    let basic = "Basic realm=token".parse().unwrap();
    answer.headers.insert(header::WWW_AUTHENTICATE, basic);
    let refused = read(&answer, &TextFilter::new(), &CLIENT);
    assert_eq!(refused.kind(), ErrorKind::CredentialsRefused);
    assert!(refused.hint().unwrap().contains("`client_secret`"));
}

// covers: F-32, F-33, C-27
#[test]
fn server_supplied_text_is_escaped_and_truncated() {
    let body = format!(
        r#"{{"error":"odd_code","error_description":"a\u001b[1mb{}"}}"#,
        "x".repeat(1 << 20)
    );
    let error = check(400, &body, ErrorKind::RequestRefused, false);
    let said = error.oauth_error().unwrap();
    assert_eq!(said.code(), "odd_code");
    let description = said.description().unwrap();
    assert!(description.starts_with("a\\u{1b}[1mb") && description.len() < 300);
}

/// Reads a refusal of a request of this kind, and returns its text with its hint.
fn words(wording: &Wording, status: u16, body: &str) -> String {
    let answer = Answer {
        status: StatusCode::from_u16(status).unwrap(),
        url: "https://login.example/token".parse().unwrap(),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec().into(),
    };
    let error = read(&answer, &TextFilter::new(), wording);
    format!("{:?} {error}", error.kind())
}

// covers: F-31, F-32
#[test]
fn each_refusal_names_the_reason_and_the_remedy() {
    let code = |code: &str| format!(r#"{{"error":"{code}"}}"#);
    let (page, message) = ("<html>no</html>", r#"{"message":"no such thing"}"#);
    for (status, body, expected, remedy) in [
        (
            400,
            &*code("invalid_scope"),
            "RequestRefused the server refused the requested scopes",
            "request only scopes that are assigned to this client",
        ),
        (
            400,
            &code("invalid_target"),
            "RequestRefused the server refused the requested resource or audience",
            "request only resources and audiences that are assigned to this client",
        ),
        (
            401,
            &code("invalid_authorization_details"),
            "RequestRefused the server refused the requested authorization details",
            "request only types of `authorization_details` that the server has",
        ),
        (
            401,
            &code("invalid_request"),
            "RequestRefused the server refused the token request",
            "check the extra parameters",
        ),
        (
            503,
            &code("invalid_grant"),
            "RequestRefused the server refused the token request",
            "",
        ),
        (
            400,
            &code("unsupported_grant_type"),
            "RequestRefused the server does not allow this grant for this client",
            "enable the grant `client_credentials` for this client",
        ),
        (
            400,
            &code("invalid_dpop_proof"),
            "RequestRefused the server refused the proof of possession",
            "",
        ),
        (
            401,
            message,
            "CredentialsRefused the server refused the client: \"no such thing\"",
            "check `client_id` and `client_secret`",
        ),
        (
            401,
            "",
            "CredentialsRefused the server refused the client and gave no reason",
            "check `client_id` and `client_secret`",
        ),
        (
            404,
            message,
            "Configuration no token endpoint at this address",
            "check `token_endpoint`",
        ),
        (
            407,
            "",
            "Configuration the proxy requires credentials",
            "set the proxy's user name and password",
        ),
        (
            415,
            message,
            "Configuration the server does not accept a form",
            "set `json_requests`",
        ),
        (
            400,
            "",
            "RequestRefused the server refused the request and gave no reason",
            "check that the server supports the grant `client_credentials`",
        ),
        (
            400,
            page,
            "RequestRefused a web page refused the request instead of the server",
            "a firewall, a proxy or a sign-in page",
        ),
        (
            422,
            message,
            "RequestRefused the server refused the token request: \"no such thing\"",
            "",
        ),
    ] {
        let text = words(&CLIENT, status, body);
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains(remedy), "{text}");
        assert_eq!(remedy.is_empty(), !text.contains("; "), "{text}");
    }
}

// covers: F-31
#[test]
fn a_refused_request_about_a_token_speaks_of_no_grant() {
    let about_token = Wording {
        grant: "",
        ..CLIENT
    };
    for (status, error, expected) in [
        (
            400,
            "unsupported_token_type",
            "the server does not support this for tokens of this type",
        ),
        (
            400,
            "unauthorized_client",
            "the server refused the token request",
        ),
        (
            403,
            "access_denied",
            "allow token requests for this client at the server",
        ),
        (401, "unauthorized_client", "check `client_id`"),
        (415, "", "check `token_endpoint`"),
    ] {
        let body = match error {
            "" => String::new(),
            error => format!(r#"{{"error":"{error}"}}"#),
        };
        let text = words(&about_token, status, &body);
        assert!(text.contains(expected) && !text.contains("grant"), "{text}");
        assert!(!text.contains("json_requests"), "{text}");
    }
    assert!(!words(&about_token, 400, "").contains("supports the grant"));
}

// covers: F-31
#[test]
fn a_refused_input_counts_as_a_credential() {
    let assertion = Wording {
        input_refusals: &["invalid_grant"],
        input_refused: "the server refused the assertion",
        input_hint: "check its audience",
        ..CLIENT
    };
    let body = r#"{"error":"invalid_grant"}"#;
    for status in [200, 400, 401] {
        let text = words(&assertion, status, body);
        let expected = "CredentialsRefused the server refused the assertion";
        assert!(
            text.starts_with(expected) && text.contains("check its audience"),
            "{text}"
        );
    }
    for (code, refused) in [("invalid_grant", true), ("invalid_request", false)] {
        let error = TokenError::new(ErrorKind::RequestRefused, "no");
        assert!(!assertion.is_input_refused(&error), "no code");
        let error = error.with_oauth_error(OAuthError::new(code));
        assert_eq!(assertion.is_input_refused(&error), refused, "{code}");
        assert!(!CLIENT.is_input_refused(&error), "{code}");
    }
    // An outage, and another code.
    for (status, body) in [(503, body), (400, r#"{"error":"invalid_request"}"#)] {
        let text = words(&assertion, status, body);
        assert!(
            text.starts_with("RequestRefused the server refused the token request"),
            "{text}"
        );
    }
}

// covers: F-71
#[test]
fn the_hint_is_the_one_that_explains_most() {
    let skew = Skew::Ahead(std::time::Duration::from_secs(600));
    let hint = |hint: &'static str| Some(Hint::from(hint));
    let refused = hint("input").unwrap();
    let advised = |kind, skew, adapter_hint, proof_hint| {
        let advice = Advice {
            skew,
            adapter_hint,
            proof_hint,
            refused_hint: Some(&refused),
        };
        let error = advise(TokenError::new(kind, "no").with_hint("general"), advice);
        error.hint().unwrap().to_owned()
    };
    let (client, request) = (ErrorKind::CredentialsRefused, ErrorKind::RequestRefused);
    let clock = skew.to_string();
    for (expected, hint) in [
        (
            &*clock,
            advised(client, Some(skew), hint("adapter"), hint("proof")),
        ),
        // Only dated credentials and proofs depend on the clock.
        (&clock, advised(request, Some(skew), None, hint("proof"))),
        ("general", advised(request, Some(skew), None, None)),
        (
            "adapter",
            advised(client, None, hint("adapter"), hint("proof")),
        ),
        ("proof", advised(client, None, None, hint("proof"))),
        ("input", advised(client, None, None, None)),
        ("general", advised(request, None, None, None)),
    ] {
        assert_eq!(hint, expected);
    }
}
