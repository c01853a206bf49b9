use proptest::prelude::*;

use hallpass_core::Secret;

use super::*;
use crate::authentication::credentials::Presentation;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn prove(
    authentication: &dyn ClientAuthentication,
    id: &str,
    utf8: bool,
) -> Result<Credentials, TokenError> {
    let mut context = AuthenticationContext::new(id, "https://login.example/token");
    context.allow_utf8 = utf8;
    block_on(authentication.credentials(&context))
}

fn basic(credentials: &Credentials) -> String {
    let Presentation::Header(value) = &credentials.presentation else {
        panic!("not a header: {credentials:?}");
    };
    assert!(value.is_sensitive());
    let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
    String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

// covers: C-05
#[test]
fn basic_writes_a_space_as_percent_20() {
    let credentials = prove(&ClientSecretBasic::new(secret("s p+c%")), "my id", false);
    assert_eq!(basic(&credentials.unwrap()), "my%20id:s%20p%2Bc%25");
}

#[test]
fn the_raw_form_is_named_where_the_encodings_differ() {
    for (id, text, differ) in [
        ("orders", "s3cr3t-._*", false),
        ("orders", "s3cr/t", true),
        ("orders", "s3c r3t", true),
        ("or ders", "s3cr3t", true),
        ("orders", "s3cr~t", true),
    ] {
        let refusal_hint = |authentication: &ClientSecretBasic| {
            let credentials = prove(authentication, id, false).unwrap();
            credentials.provenance().refusal_hint.clone()
        };
        let form = ClientSecretBasic::new(secret(text));
        let hint = refusal_hint(&form);
        let names_raw = hint.is_some_and(|hint| hint.text().contains("`ClientSecretBasic::raw`"));
        assert_eq!(names_raw, differ, "{id} {text}");
        let raw = ClientSecretBasic::raw(secret(text));
        assert!(refusal_hint(&raw).is_none());
    }
}

#[test]
fn raw_basic_encodes_nothing_and_refuses_a_colon() {
    let raw = ClientSecretBasic::raw(secret("s:p+c%"));
    assert_eq!(basic(&prove(&raw, "my id", false).unwrap()), "my id:s:p+c%");
    let error = prove(&raw, "my:id", false).unwrap_err();
    assert!(error.to_string().contains("contains a `:`"), "{error}");
}

// covers: C-16
#[test]
fn a_secret_outside_ascii_is_refused_unless_chosen() {
    for (odd, hint) in [
        ("CANARY\n", "store it on one line"),
        ("CANARY\0", "copy it again"),
        ("CANARY-ü", "set `allow_utf8_credentials`"),
        ("\u{feff}CANARY", "copy it again as plain text"),
    ] {
        for authentication in [
            &ClientSecretBasic::new(secret(odd)) as &dyn ClientAuthentication,
            &ClientSecretPost::new(secret(odd)),
        ] {
            let error = prove(authentication, "id", false).unwrap_err();
            assert!(error.to_string().contains("printable ASCII"), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error}");
            assert!(!format!("{error:?}").contains("CANARY"));
            assert!(prove(authentication, "id", true).is_ok());
        }
    }
}

// covers: F-99
#[test]
fn debug_shows_no_secret() {
    let authentication = ClientSecretPost::new(secret("CANARY"));
    let credentials = prove(&authentication, "id", false).unwrap();
    let header = prove(&ClientSecretBasic::raw(secret("CANARY")), "id", false).unwrap();
    let shown = format!("{authentication:?} {credentials:?} {header:?}");
    assert!(
        !shown.contains("CANARY") && shown.contains("client_secret"),
        "{shown}"
    );
}

proptest! {
    // covers: C-05, F-115
    #[test]
    fn basic_is_read_back_by_an_independent_decoder(id in "\\PC{1,12}", text in "\\PC{1,12}") {
        let credentials = prove(&ClientSecretBasic::new(secret(&text)), &id, true).unwrap();
        let joined = basic(&credentials);
        let (read_id, read_secret) = joined.split_once(':').unwrap();
        for decode in [form_decode, percent_decode] {
            prop_assert_eq!(decode(read_id), id.as_str());
            prop_assert_eq!(decode(read_secret), text.as_str());
        }
    }
}

fn form_decode(text: &str) -> String {
    let pair = format!("x={text}");
    let (_, value) = url::form_urlencoded::parse(pair.as_bytes()).next().unwrap();
    value.into_owned()
}

/// A decoder that shares no code with the encoder.
fn percent_decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            plain.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            plain.push(byte);
        }
    }
    String::from_utf8(plain).unwrap()
}

#[tokio::test]
async fn a_digest_differs_with_secret_client_and_encoding() {
    let secret = |text: &str| Secret::new(text).unwrap();
    let basic = ClientSecretBasic::new(secret("CANARY"));
    let digest = basic.digest("client").await;
    let shared = std::sync::Arc::new(basic.clone());
    assert_eq!(shared.digest("client").await, digest);
    // The server may accept the secret in another form.
    let post: Box<dyn ClientAuthentication> = Box::new(ClientSecretPost::new(secret("CANARY")));
    let digests = [
        digest,
        post.digest("client").await,
        ClientSecretBasic::raw(secret("CANARY"))
            .digest("client")
            .await,
        ClientSecretBasic::new(secret("other"))
            .digest("client")
            .await,
        basic.digest("other client").await,
    ];
    for (at, digest) in digests.iter().enumerate() {
        assert!(digest.is_some() && !digests[..at].contains(digest), "{at}");
    }
    assert!(crate::PublicClient.digest("client").await.is_none());
}
