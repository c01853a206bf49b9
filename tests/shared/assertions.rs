//! Keys derived from a text, such as a secret, and a verifier of their signatures that uses another library.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass::jwt::SigningKey;
use ring::{
    digest, hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use serde_json::{Value, json};

/// Returns the key whose seed is the hash of this text.
pub(crate) fn key(text: &str) -> SigningKey {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "d": encode(seed(text).as_ref()),
        "x": encode(pair(text).public_key().as_ref()),
    });
    SigningKey::from_jwk(&jwk.to_string()).unwrap()
}

/// Returns true if the assertion is signed with this text, or with the key derived from it.
pub(crate) fn verify(assertion: &str, text: &str) -> bool {
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    let (message, signature) = assertion.rsplit_once('.').unwrap();
    let header = decode(message.split_once('.').unwrap().0);
    let header: Value = serde_json::from_slice(&header).unwrap();
    let (message, signature) = (message.as_bytes(), decode(signature));
    match header["alg"].as_str().unwrap() {
        "EdDSA" => {
            let public = UnparsedPublicKey::new(&ED25519, *pair(text).public_key());
            public.verify(message, &signature).is_ok()
        }
        "HS256" => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
            hmac::verify(&key, message, &signature).is_ok()
        }
        _ => false,
    }
}

fn pair(text: &str) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed(text).as_ref()).unwrap()
}

fn seed(text: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, text.as_bytes())
}
