use proptest::prelude::*;

use super::*;
use crate::{Signer as _, SigningKey};

const TYPE: &str = "token-introspection+jwt";

fn encode(text: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn key(algorithm: Algorithm, id: &str) -> SigningKey {
    let (key, _) = SigningKey::generate(algorithm).unwrap();
    key.with_key_id(id)
}

fn set(keys: &[&str]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

async fn signed(key: &SigningKey, header: &str) -> String {
    let message = format!("{}.{}", encode(header), encode("payload"));
    let signature = key.sign(message.as_bytes()).await.unwrap();
    format!("{message}.{}", encode(signature))
}

fn verify(jwt: &str, keys: &str) -> Result<Vec<u8>, UnverifiedResponse> {
    ResponseKeys::new().verify(jwt, TYPE, keys)
}

#[tokio::test]
async fn each_algorithm_is_verified_by_its_own_key() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let [own, other] = ["one", "two"].map(|id| key(algorithm, id));
        let keys = set(&[&other.public_jwk(), &own.public_jwk()]);
        for kid in [r#","kid":"one""#, ""] {
            let header = format!(r#"{{"alg":"{algorithm}","typ":"{TYPE}"{kid}}}"#);
            let jwt = signed(&own, &header).await;
            assert_eq!(verify(&jwt, &keys).unwrap(), b"payload");
            let (start, _) = jwt.rsplit_once('.').unwrap();
            let forged = format!("{start}.{}", encode([7; 64]));
            assert!(verify(&forged, &keys).is_err());
        }
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_listed_is_refused() {
    let own = key(Algorithm::Es256, "one");
    let keys = set(&[&own.public_jwk()]);
    // `none`, and a public key as the secret of an HMAC, need no private key.
    for alg in [
        "none", "None", "", "HS256", "HS512", "ES384", "EdDSA", "RS256", "es256",
    ] {
        let header = format!(r#"{{"alg":"{alg}","typ":"{TYPE}","kid":"one"}}"#);
        let jwt = signed(&own, &header).await;
        let (start, _) = jwt.rsplit_once('.').unwrap();
        for jwt in [jwt.clone(), format!("{start}.")] {
            assert!(verify(&jwt, &keys).is_err(), "{alg}");
        }
    }
    let jwt = signed(&own, &format!(r#"{{"alg":"ES256","typ":"{TYPE}"}}"#)).await;
    let narrow = ResponseKeys::new().algorithms([Algorithm::Ps256]).unwrap();
    assert!(matches!(
        narrow.verify(&jwt, TYPE, &keys),
        Err(UnverifiedResponse::Invalid(_))
    ));
    assert!(verify(&jwt, &keys).is_ok());
    assert!(ResponseKeys::new().algorithms([]).is_err());
}

#[tokio::test]
async fn a_hostile_header_is_refused() {
    let own = key(Algorithm::Es256, "one");
    let keys = set(&[&own.public_jwk()]);
    for header in [
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","typ":"JWT"}"#,
        r#"{"alg":"ES256","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","typ":"application/at+jwt"}"#,
        r#"{"alg":"ES256","typ":"application/é"}"#,
        r#"{"alg":"ES256","typ":"token-introspection+jwt","crit":["b64"],"b64":false}"#,
        r#"{"alg":"ES256","typ":"token-introspection+jwt","kid":7}"#,
        r#"{"alg":"none","alg":"ES256","typ":"token-introspection+jwt"}"#,
        r#"{"alg":["ES256"],"typ":"token-introspection+jwt"}"#,
        "[]",
        "",
    ] {
        assert!(
            verify(&signed(&own, header).await, &keys).is_err(),
            "{header}"
        );
    }
    // A key in the header is not used.
    let other = key(Algorithm::Es256, "two");
    let header = format!(
        r#"{{"alg":"ES256","typ":"{TYPE}","jwk":{}}}"#,
        other.public_jwk()
    );
    assert_eq!(
        verify(&signed(&other, &header).await, &keys),
        Err(UnverifiedResponse::UnknownKey)
    );
    let header =
        format!(r#"{{"alg":"ES256","typ":"application/{TYPE}","jku":"https://evil.example"}}"#);
    let jwt = signed(&own, &header).await;
    assert!(verify(&jwt, &keys).is_ok());
    for (jwt, says) in [
        ("", "it is not a JWT"),
        (".", "it is not a JWT"),
        ("..", "its header is not a JSON object"),
        ("a.b", "it is not a JWT"),
        (&format!("{jwt}.x"), "it is not a JWT"),
        (&format!("{jwt}.x.y"), "it is encrypted"),
        (&"A".repeat(MAX_LEN), "it is not a JWT"),
        (&"A".repeat(MAX_LEN + 1), "it is too long"),
        (&"A".repeat(MAX_LEN + 2), "it is too long"),
    ] {
        match verify(jwt, &keys) {
            Err(UnverifiedResponse::Invalid(why)) => {
                assert!(why.contains(says), "{jwt:.50}: {why}");
            }
            other => panic!("{jwt:.50}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_key_for_another_purpose_is_not_used() {
    let own = key(Algorithm::Es256, "one");
    let jwt = signed(
        &own,
        &format!(r#"{{"alg":"ES256","typ":"{TYPE}","kid":"one"}}"#),
    )
    .await;
    let jwk = own.public_jwk();
    let with = |from: &str, to: &str| set(&[&jwk.replace(from, to)]);
    assert!(verify(&jwt, &with("", "")).is_ok());
    for keys in [
        with(r#""use":"sig""#, r#""use":"enc""#),
        with(r#""use":"sig""#, r#""key_ops":["sign"]"#),
        with(r#""alg":"ES256""#, r#""alg":"ES384""#),
        with(r#""kid":"one""#, r#""kid":"two""#),
        with(r#""kty":"EC""#, r#""kty":"EC","d":"AA""#),
        set(&[]),
    ] {
        assert_eq!(
            verify(&jwt, &keys),
            Err(UnverifiedResponse::UnknownKey),
            "{keys}"
        );
    }
    // The number of tries is limited.
    let other = key(Algorithm::Es256, "one").public_jwk();
    let mut many = vec![other.as_str(); MAX_TRIES - 1];
    many.push(&jwk);
    assert!(verify(&jwt, &set(&many)).is_ok());
    many.insert(0, &other);
    assert!(verify(&jwt, &set(&many)).is_err());
}

proptest! {
    #[test]
    fn the_verifier_does_not_panic(jwt in any::<String>(), header in any::<String>(), keys in any::<String>()) {
        let _ = verify(&jwt, &keys);
        let _ = verify(&format!("{}.e30.c2ln", encode(header)), &keys);
        let _ = verify(&format!("{}.e30.c2ln", encode(r#"{"alg":"ES256","typ":"token-introspection+jwt"}"#)), &keys);
    }
}
