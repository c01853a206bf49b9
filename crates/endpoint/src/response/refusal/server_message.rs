//! The body of a refusal: an RFC 6749 error, a vendor-specific error, or a web page.

use hallpass_core::{OAuthError, TextFilter};
use serde_json::{Map, Value};

use crate::{
    response::json::{JsonFault, Members},
    transport::answer::{Answer, MediaType},
};

/// The error codes that are classified by their meaning.
const KNOWN_ERROR_CODES: [&str; 15] = [
    "access_denied",
    "invalid_authorization_details",
    "invalid_client",
    "invalid_dpop_proof",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_token_type",
    "use_dpop_nonce",
];

/// The server's error text, without secrets.
pub(crate) enum ServerMessage {
    /// An error of RFC 6749 section 5.2, with any content type.
    OAuth(OAuthError),
    /// A message in a vendor-specific form.
    Vendor(String),
    /// A web page, with its title.
    Page(Option<String>),
    Nothing,
}

impl ServerMessage {
    pub(crate) fn from_answer(answer: &Answer, filter: &TextFilter) -> Self {
        Self::read(
            MediaType::from_headers(&answer.headers),
            &answer.body,
            filter,
        )
    }

    fn read(media: MediaType, body: &[u8], filter: &TextFilter) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}').trim();
        match Members::read(body) {
            Ok(members) => {
                let error = (members.twice.is_none()).then(|| oauth_error(&members, filter));
                return error
                    .flatten()
                    .map_or_else(|| vendor(body, filter), Self::OAuth);
            }
            Err(JsonFault::NotAnObject) => return vendor(body, filter),
            Err(_) => {}
        }
        let start: String = text.chars().take("<!doctype html".len()).collect();
        let start = start.to_ascii_lowercase();
        if media == MediaType::Html || start.starts_with("<html") || start == "<!doctype html" {
            return Self::Page(title(text).map(|title| filter.clean_html(title)));
        }
        if text.starts_with('<') {
            return named(&elements(text, filter), filter);
        }
        if let Some(members) = Members::of_form(body) {
            return oauth_error(&members, filter).map_or(Self::Nothing, Self::OAuth);
        }
        if media == MediaType::Text && !text.is_empty() {
            return Self::Vendor(filter.clean(text));
        }
        Self::Nothing
    }
}

pub(super) fn oauth_error(members: &Members<'_>, filter: &TextFilter) -> Option<OAuthError> {
    let code = members.text("error").filter(|code| !code.is_empty())?;
    // A known code is not an echo, even if a short secret happens to be part of it; and the code decides.
    let mut error = if KNOWN_ERROR_CODES.contains(&code) {
        OAuthError::new(code)
    } else {
        OAuthError::new(&filter.clean(code))
    };
    if let Some(description) = members.text("error_description") {
        error = error.with_description(&filter.clean(description));
    }
    if let Some(uri) = members.text("error_uri") {
        error = error.with_uri(&filter.clean(uri));
    }
    Some(error)
}

/// The members in which vendors nest an error object, or a list of them.
const NESTING_MEMBERS: [&str; 4] = ["error", "errors", "fault", "response"];
/// The members in which vendors have a code.
const CODES: [&str; 3] = ["errorcode", "error_code", "code"];
/// The members in which vendors have a message, the most useful first.
const MESSAGES: [&str; 12] = [
    "error_description",
    "errormessage",
    "error_message",
    "errorsummary",
    "message",
    "faultstring",
    "detail",
    "description",
    "reason",
    "msg",
    "error",
    "title",
];

/// The maximum number of XML elements that are read.
const MAX_ELEMENTS: usize = 64;
/// The maximum nesting of an error.
const MAX_DEPTH: usize = 4;

/// Finds code and message in JSON that is not an RFC 6749 error.
pub(crate) fn vendor(body: &[u8], filter: &TextFilter) -> ServerMessage {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    match serde_json::from_slice(body) {
        Ok(Value::Object(root)) => named(&root, filter),
        // A list of errors, or a message alone.
        Ok(other) => named(&Map::from_iter([("errors".to_owned(), other)]), filter),
        Err(_) => ServerMessage::Nothing,
    }
}

fn named(root: &Map<String, Value>, filter: &TextFilter) -> ServerMessage {
    let Some((code, message)) = find(root, MAX_DEPTH) else {
        return ServerMessage::Nothing;
    };
    if let Some(code) = code.filter(|code| KNOWN_ERROR_CODES.contains(code)) {
        let error = OAuthError::new(code);
        return ServerMessage::OAuth(match message {
            Some(message) => error.with_description(&filter.clean(message)),
            None => error,
        });
    }
    let words: Vec<_> = [code, message].into_iter().flatten().collect();
    ServerMessage::Vendor(filter.clean(&words.join(": ")))
}

/// Returns the texts of the XML elements that have no other elements in them, by their local names. A known code in
/// `error` is a code.
fn elements(xml: &str, filter: &TextFilter) -> Map<String, Value> {
    let mut elements = Map::new();
    for tag in xml.split('<').skip(1) {
        let Some((name, text)) = tag.split_once('>') else {
            continue;
        };
        let name = name.split_whitespace().next().unwrap_or_default();
        let name = name.rsplit(':').next().unwrap_or_default();
        let text = text.trim();
        if text.is_empty() || name.starts_with(['/', '!', '?']) || elements.len() == MAX_ELEMENTS {
            continue;
        }
        let is_code = name == "error" && KNOWN_ERROR_CODES.contains(&text);
        let name = if is_code { "error_code" } else { name };
        let text = if text.contains('&') {
            filter.clean_html(text)
        } else {
            text.to_owned()
        };
        elements.entry(name).or_insert(Value::String(text));
    }
    elements
}

/// Returns the code and the message of the first object that has either, outermost first.
fn find(object: &Map<String, Value>, depth: usize) -> Option<(Option<&str>, Option<&str>)> {
    let text = |names: &[&str]| {
        names.iter().find_map(|name| {
            let mut members = object.iter();
            let member = members.find(|(known, _)| known.eq_ignore_ascii_case(name));
            member.and_then(|(_, value)| value.as_str().filter(|text| !text.is_empty()))
        })
    };
    let (code, message) = (text(&CODES), text(&MESSAGES));
    if code.is_some() || message.is_some() {
        return Some((code, message));
    }
    let depth = depth.checked_sub(1)?;
    NESTING_MEMBERS.iter().find_map(|name| {
        let value = object.get(*name)?;
        let first = value.as_array().and_then(|list| list.first());
        match first.unwrap_or(value) {
            Value::Object(inner) => find(inner, depth),
            Value::String(message) => Some((None, Some(message.as_str()))),
            _ => None,
        }
    })
}

/// Returns the text of the first `title` element.
fn title(page: &str) -> Option<&str> {
    // Same length as the page, so positions match.
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let title = page[start..end].trim();
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(media: MediaType, body: &str) -> String {
        match ServerMessage::read(
            media,
            body.as_bytes(),
            &TextFilter::new().with_secret("CANARY"),
        ) {
            ServerMessage::OAuth(error) => error.to_string(),
            ServerMessage::Vendor(message) => message,
            ServerMessage::Page(title) => format!("page {title:?}"),
            ServerMessage::Nothing => "nothing".to_owned(),
        }
    }

    // covers: F-31, F-32
    #[test]
    fn vendors_errors_are_found() {
        for (body, expect) in [
            (
                r#"{"message":"Invalid API key","status":401}"#,
                "Invalid API key",
            ),
            (
                r#"{"error":{"code":401,"message":"Client is disabled"}}"#,
                "Client is disabled",
            ),
            (
                r#"{"transactionId":"5f","errors":[{"code":"NOT.AUTHORIZED","message":"not valid"}]}"#,
                "NOT.AUTHORIZED: not valid",
            ),
            (
                r#"{"response":{"errors":[{"code":"250002","message":"Invalid"}]}}"#,
                "250002: Invalid",
            ),
            (
                r#"{"errorCode":"E0000022","errorSummary":"not supported","errorCauses":[]}"#,
                "E0000022: not supported",
            ),
            (
                r#"{"errorCode":"invalid_client","errorMessage":"disabled"}"#,
                "`invalid_client`, \"disabled\"",
            ),
            (
                r#"{"errorCode":"invalid_authorization_details","errorMessage":"no"}"#,
                "`invalid_authorization_details`, \"no\"",
            ),
            (
                r#"{"ErrorCode":"invalid_client","Error":"is Invalid"}"#,
                "`invalid_client`, \"is Invalid\"",
            ),
            (
                r#"{"fault":{"faultstring":"Invalid ApiKey","detail":{"errorcode":"x"}}}"#,
                "Invalid ApiKey",
            ),
            (r#"{"errors":["permission denied"]}"#, "permission denied"),
            (
                r#"{"title":"Bad Request","detail":"no such scope"}"#,
                "no such scope",
            ),
            (r#"{"title":"Bad Request","status":400}"#, "Bad Request"),
            (r#"{"error_description":"it said so"}"#, "it said so"),
            (
                r#"{"message":"got CANARY\u001b[m"}"#,
                "got [redacted]\\u{1b}[m",
            ),
            (r#"{"error":17}"#, "nothing"),
            (r#"{"access_token":"CANARY"}"#, "nothing"),
            (r#"{"errors":[]}"#, "nothing"),
            (r#"["got CANARY"]"#, "got [redacted]"),
            (r#""no such client""#, "no such client"),
            (r#"[{"message":"no such client"}]"#, "no such client"),
            (r#"[{"errorCode":"invalid_client"},{}]"#, "`invalid_client`"),
            ("[]", "nothing"),
            (
                "error=invalid_client&error_description=sent+CANARY",
                "`invalid_client`, \"sent [redacted]\"",
            ),
            ("error=invalid_client&error=x", "nothing"),
            ("it was in error=7 & so on", "nothing"),
            (
                "<?xml version=\"1.0\"?>\n<s:Fault><faultcode>1</faultcode><faultstring xml:lang=\"en\">no &lt;CANARY&gt;</faultstring></s:Fault>",
                "no <[redacted]>",
            ),
            (
                "<oauth><error>invalid_client</error><error_description>bad &amp; wrong</error_description></oauth>",
                "`invalid_client`, \"bad & wrong\"",
            ),
            ("<error>no such client</error>", "no such client"),
            // Only a known code in `error` is a code.
            (
                "<a><error>no such client</error><message>no</message></a>",
                "no",
            ),
            ("<message>invalid_client</message>", "invalid_client"),
            ("<error><id>CANARY</id></error>", "nothing"),
            ("<", "nothing"),
            ("CANARY", "nothing"),
        ] {
            assert_eq!(read(MediaType::Other, body), expect, "{body}");
        }
        let deep = format!(
            "{}{{\"message\":\"x\"}}{}",
            "{\"error\":".repeat(9),
            "}".repeat(9)
        );
        assert_eq!(read(MediaType::Json, &deep), "nothing");
        for (elements, expect) in [(MAX_ELEMENTS - 1, "no"), (MAX_ELEMENTS, "nothing")] {
            let before: Vec<_> = (0..elements)
                .map(|at| format!("<e{at}>x</e{at}>"))
                .collect();
            let many = format!("<a>{}<message>no</message></a>", before.concat());
            assert_eq!(read(MediaType::Other, &many), expect, "{elements}");
        }
    }

    // covers: F-08, F-31
    #[test]
    fn a_page_is_reported_by_its_title() {
        for (media, body, expect) in [
            (
                MediaType::Html,
                "<html><head><TITLE lang=en> Blocked \n</TITLE>",
                "page Some(\"Blocked\")",
            ),
            (MediaType::Html, "<p>no</p>", "page None"),
            (MediaType::Html, "<title></title>", "page None"),
            (
                MediaType::Other,
                "<!DOCTYPE html><title>CANARY</title>",
                "page Some(\"[redacted]\")",
            ),
            (MediaType::Absent, " \n<html>", "page None"),
            (
                MediaType::Html,
                "<title>Error &ndash; &#39;A&amp;B&#39; &eacute;</title>",
                "page Some(\"Error \\\\u{2013} 'A&B' é\")",
            ),
            (
                MediaType::Text,
                "\n<html><title>x</title>",
                "page Some(\"x\")",
            ),
            (MediaType::Text, " no CANARY\n", "no [redacted]"),
            (MediaType::Text, " \n", "nothing"),
            // An RFC 6749 error counts with any content type.
            (
                MediaType::Html,
                r#"{"error":"invalid_scope"}"#,
                "`invalid_scope`",
            ),
        ] {
            assert_eq!(read(media, body), expect, "{body}");
        }
    }
}
