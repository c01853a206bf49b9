use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallpass_core::{ErrorKind, Secret, SecretError, TokenSource as _};
use hallpass_testkit::{ManualClock, RotatingSecret, leak};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};

use super::*;

#[cfg(feature = "unstable-spiffe")]
mod spiffe;

/// Creates a self-signed certificate, valid until the end of `year`, and its key, both as PEM.
fn pair(name: &str, year: i32) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Returns both in one text.
fn joined(name: &str) -> String {
    let (certificate, key) = pair(name, 2999);
    certificate + &key
}

fn fault(pem: &str) -> String {
    let error = ClientIdentity::from_pem(pem).unwrap_err();
    assert_eq!(error.setting(), "certificate_and_key");
    error.to_string()
}

async fn prove(authentication: &dyn ClientAuthentication) -> Result<Credentials, TokenError> {
    let context = AuthenticationContext::new("orders", "https://login.example/token");
    authentication.credentials(&context).await
}

#[test]
fn an_error_in_a_text_is_reported_without_the_text() {
    let (certificate, key) = pair("a", 2999);
    let (other, other_key) = pair("b", 2999);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (pem, expected) in [
        (String::new(), "no private key"),
        ("s3cr3t".to_owned(), "no private key"),
        (certificate.clone(), "no private key"),
        (key.clone(), "no certificate"),
        (certificate.clone() + &encrypted, "is encrypted"),
        (certificate.clone() + legacy, "is encrypted"),
        (other.clone() + &key, "do not belong together"),
        (
            other.clone() + &certificate + &key,
            "own certificate comes first",
        ),
        (
            certificate.clone() + &key + &other_key,
            "more than one private key",
        ),
        (
            certificate[..200].to_owned() + &key,
            "damaged or incomplete",
        ),
        (garbage.to_owned() + &key, "not an X.509 certificate"),
        (certificate.clone() + no_key, "RSA, EC or Ed25519"),
    ] {
        let told = fault(&pem);
        assert!(told.contains(expected), "{expected}: {told}");
        for line in pem.lines().filter(|line| line.len() > 40) {
            leak::assert_clean(&told, line);
        }
    }
}

#[tokio::test]
async fn an_error_in_one_of_two_texts_names_that_one() {
    let (certificate, key) = pair("a", 2999);
    let secret = |text: &str| Secret::new(text.to_owned()).unwrap();
    for (certificate, key, hint) in [
        (&certificate[..200], &*key, hints::CERTIFICATE_TEXT),
        (&key, &key, hints::KEY_TEXT),
        (&certificate, &key[..100], hints::KEY_TEXT),
        (&certificate, &certificate, hints::KEY_TEXT),
    ] {
        let authentication = MutualTls::from_pair(secret(certificate), secret(key));
        let error = authentication.identity().await.unwrap_err();
        assert_eq!(error.hint_name(), hint.name(), "{error}");
    }
}

/// Made by `openssl x509 -req` from a request without extensions; no library of the tests creates one.
#[test]
fn a_certificate_of_version_1_is_refused_by_that_name() {
    let told = fault(include_str!("version_1.pem"));
    assert!(told.contains("X.509 version 1"), "{told}");
    assert!(!told.contains("damaged"), "{told}");
}

#[test]
fn the_end_of_the_validity_is_read() {
    for (year, end) in [
        (2049, "Fri, 31 Dec 2049 00:00:00 GMT"),
        (2050, "Sat, 31 Dec 2050 00:00:00 GMT"),
        (9999, "Fri, 31 Dec 9999 00:00:00 GMT"),
    ] {
        let (certificate, key) = pair("a", year);
        let identity = ClientIdentity::from_pem(&(certificate + &key)).unwrap();
        let expected = httpdate::parse_http_date(end).unwrap();
        assert_eq!(identity.valid_until(), Some(expected));
    }
}

/// RSA, EC and Ed25519 keys in common forms, among unrelated sections.
#[test]
fn keys_of_each_kind_and_texts_with_more_in_them_are_taken() {
    let kinds = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    for kind in kinds {
        let key = KeyPair::generate_for(kind).unwrap();
        let params = CertificateParams::new(["a".to_owned()]).unwrap();
        let issuer = CertifiedIssuer::self_signed(
            CertificateParams::new(Vec::new()).unwrap(),
            KeyPair::generate().unwrap(),
        );
        let issuer = issuer.unwrap();
        let own = params.signed_by(&key, &issuer).unwrap().pem();
        let public = key.public_key_pem();
        let text = format!(
            "Bag Attributes\r\n{}{public}\nsubject=CN=a\n{own}{}",
            key.serialize_pem(),
            issuer.pem()
        );
        let identity = ClientIdentity::from_pem(&text).unwrap();
        let pem = identity.expose_pem();
        assert_eq!(pem.matches("BEGIN").count(), 3, "{pem}");
        let squeezed = |text: &str| text.replace(['\r', '\n'], "");
        let expected = format!("{own}{}{}", issuer.pem(), key.serialize_pem());
        assert_eq!(squeezed(pem), squeezed(&expected));
        // The TLS library accepts it.
        assert!(reqwest::Identity::from_pem(pem.as_bytes()).is_ok());
    }
}

// covers: C-08, C-63
#[tokio::test]
async fn the_client_id_is_all_that_is_in_the_form() {
    let authentication = MutualTls::new(RotatingSecret::new(&joined("a")));
    let credentials = prove(&authentication).await.unwrap();
    let form: Vec<_> = credentials.expose_parameters().collect();
    assert_eq!(form, [("client_id", "orders")]);
    assert!(credentials.identity().is_some() && credentials.binding().is_some());
    let unbound = prove(&authentication.clone().unbound_tokens())
        .await
        .unwrap();
    assert!(unbound.identity().is_some() && unbound.binding().is_none());
    assert_eq!(authentication.method(), Some("tls_client_auth"));
    let authentication = authentication.self_signed();
    assert_eq!(authentication.method(), Some("self_signed_tls_client_auth"));
}

// covers: C-65
#[tokio::test]
async fn tokens_are_bound_to_the_certificate_unless_declared() {
    let authentication = MutualTls::new(RotatingSecret::new(&joined("a")));
    let unbound = authentication.clone().unbound_tokens();
    assert!(authentication.binds_tokens() && !unbound.binds_tokens());
    let secret = || crate::ClientSecretPost::new(Secret::new("s3cr3t").unwrap());
    let only = crate::Strongest::new(authentication.clone());
    let either = crate::Strongest::new(authentication).or(secret());
    // Before the first request it is unknown which one is used.
    assert!(only.binds_tokens() && !either.binds_tokens());
    prove(&either).await.unwrap();
    assert!(either.binds_tokens());
    // Through a source, and through a pointer.
    let source = |authentication: Arc<dyn ClientAuthentication>| {
        let url = "https://login.example/token";
        let builder = crate::ClientCredentials::builder(url, "orders", authentication);
        builder.build().unwrap().binds_tokens()
    };
    assert!(source(Arc::new(either)));
    assert!(!source(Arc::new(unbound)) && !source(Arc::new(secret())));
}

// covers: C-65, F-110
#[tokio::test]
async fn another_certificate_ends_the_binding_of_the_one_before() {
    let (one, other) = (joined("a"), joined("b"));
    let text = RotatingSecret::new(&one);
    let authentication = MutualTls::new(text.clone());
    let before = authentication.identity().await.unwrap();
    let same = authentication.identity().await.unwrap();
    assert!(before.is_clone_of(&same) && !before.binding().has_ended());
    assert_eq!((text.reads(), authentication.epoch()), (2, 0));
    text.rotate(&other);
    let refused = prove(&authentication.clone()).await.unwrap();
    let now = authentication.identity().await.unwrap();
    assert!(refused.identity().unwrap().is_clone_of(&now) && !now.is_clone_of(&before));
    assert!(before.binding().has_ended() && !now.binding().has_ended());
    // One for the source, one for the new certificate.
    assert_eq!(authentication.epoch(), 2);
    authentication.refused(&refused);
    assert_eq!(text.refusals(), 1);
    // Restoring the old certificate is another change: its tokens are dropped.
    text.rotate(&one);
    let again = authentication.identity().await.unwrap();
    assert!(now.binding().has_ended() && !again.binding().has_ended());
    authentication.refused(&refused);
    assert_eq!(
        text.refusals(),
        1,
        "a late report is of one that was read again since"
    );
}

// covers: F-110, F-111
#[tokio::test]
async fn a_pair_replaced_between_two_reads_is_read_again() {
    let (one, one_key) = pair("a", 2999);
    let (other, other_key) = pair("b", 2999);
    let (certificate, key) = (RotatingSecret::new(&one), RotatingSecret::new(&one_key));
    let authentication = MutualTls::from_pair(certificate.clone(), key.clone());
    authentication.identity().await.unwrap();
    certificate.rotate_after_reading(&other);
    key.rotate(&other_key);
    let identity = authentication.identity().await.unwrap();
    assert!(
        identity
            .expose_pem()
            .contains(other.lines().nth(1).unwrap())
    );
    assert_eq!((certificate.reads(), key.reads()), (3, 3));

    // A mismatch that persists is reported, and may be fixed before the next call.
    certificate.rotate(&one);
    let error = authentication.identity().await.unwrap_err();
    assert_eq!((certificate.reads(), key.reads()), (5, 5));
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Configuration, true)
    );
    assert!(
        error.to_string().contains("do not belong together"),
        "{error}"
    );
    assert!(!identity.binding().has_ended(), "there is no other one yet");
    key.rotate(&one_key);
    authentication.identity().await.unwrap();
    assert!(identity.binding().has_ended());

    // A pair that never matched is a configuration error.
    let wrong = MutualTls::from_pair(RotatingSecret::new(&one), RotatingSecret::new(&other_key));
    let error = wrong.identity().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Configuration, false)
    );
}

/// The certificate is available at once, the key after a delay, during which the read is in progress.
#[tokio::test]
async fn a_slow_reading_does_not_put_an_old_certificate_back() {
    let authentication = MutualTls::new(RotatingSecret::new(&joined("a")));
    let read = |text: &str| PemPair {
        certificate: Secret::new(text).unwrap(),
        key: None,
    };
    let (old, new) = (joined("old"), joined("new"));
    let now = authentication.pair.update(2, read(&new)).unwrap();
    let late = authentication.pair.update(1, read(&old)).unwrap();
    assert!(late.is_clone_of(&now) && !now.binding().has_ended());
}

#[tokio::test]
async fn a_source_that_is_down_is_no_mistake_of_the_client() {
    let text = RotatingSecret::new(&joined("a"));
    let authentication = MutualTls::new(text.clone());
    text.fail(SecretError::unavailable("the vault is sealed"));
    let error = authentication.identity().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_hint_names_a_certificate_that_has_expired() {
    let (certificate, key) = pair("a", 2030);
    let clock = ManualClock::new();
    let authentication =
        MutualTls::new(RotatingSecret::new(&(certificate + &key))).clock(clock.clone());
    clock.set_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000)); // 2030 begins
    let hint = async || {
        let credentials = prove(&authentication).await.unwrap();
        let hint = credentials.provenance().refusal_hint.clone();
        hint.unwrap().to_string()
    };
    assert!(hint().await.contains("trusts the certificate's issuer"));
    clock.set_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(1_924_992_000)); // 2031 begins
    let told = hint().await;
    assert!(told.contains("expired on Tue, 31 Dec 2030"), "{told}");
}

// covers: F-99, F-104
#[tokio::test]
async fn debug_shows_neither_key_nor_certificate() {
    let (certificate, key) = pair("CANARY", 2999);
    let authentication = MutualTls::from_pair(
        Secret::new(&certificate).unwrap(),
        Secret::new(&key).unwrap(),
    );
    let credentials = prove(&authentication).await.unwrap();
    let identity = authentication.identity().await.unwrap();
    let shown = format!(
        "{authentication:?} {authentication:#?} {credentials:?} {identity:?} {identity:#?}"
    );
    for line in [certificate, key].iter().flat_map(|pem| pem.lines()) {
        // Positive control: the identity contains it.
        assert!(leak::find(identity.expose_pem(), line).is_some(), "{line}");
        leak::assert_clean(&shown, line);
    }
}

#[tokio::test]
async fn a_digest_follows_the_certificate_and_its_key() {
    let (certificate, key) = pair("a", 2999);
    let text = RotatingSecret::new(&(certificate.clone() + &key));
    let one = MutualTls::new(text.clone());
    let secret = |text: &str| Secret::new(text).unwrap();
    let other = MutualTls::from_pair(secret(&certificate), secret(&key));
    let digest = one.digest("orders").await;
    assert!(digest.is_some());
    assert_eq!(other.digest("orders").await, digest);
    assert_ne!(other.self_signed().digest("orders").await, digest);
    assert_ne!(one.digest("billing").await, digest);
    text.rotate(&joined("a"));
    let rotated = one.digest("orders").await;
    assert!(rotated.is_some() && rotated != digest);
    text.rotate("CANARY");
    assert_eq!(one.digest("orders").await, None);
}

#[tokio::test]
async fn another_method_is_used_with_a_certificate() {
    use crate::{ClientSecretPost, WithCertificate};

    let pem = RotatingSecret::new(&joined("a"));
    let certificate = MutualTls::new(pem.clone());
    let secret = || ClientSecretPost::new(Secret::new("s3cr3t").unwrap());
    let both = WithCertificate::new(secret(), certificate.clone());
    let credentials = prove(&both).await.unwrap();
    let sent: Vec<_> = credentials.expose_parameters().collect();
    assert_eq!(sent, [("client_id", "orders"), ("client_secret", "s3cr3t")]);
    let binding = credentials.binding().unwrap().clone();
    assert!(credentials.identity().is_some() && both.binds_tokens());
    assert_eq!(both.method(), Some("client_secret_post"));
    // Neither part alone decides what a refusal is about.
    let digest = both.digest("orders").await;
    assert!(digest.is_some());
    assert_ne!(digest, secret().digest("orders").await);
    // A new certificate ends the binding of the tokens of the old one.
    let epoch = both.epoch();
    pem.rotate(&joined("b"));
    prove(&both).await.unwrap();
    assert!(binding.has_ended() && both.epoch() != epoch);
    assert_ne!(both.digest("orders").await, digest);
    let unbound = WithCertificate::new(secret(), certificate.unbound_tokens());
    let credentials = prove(&unbound).await.unwrap();
    assert!(credentials.binding().is_none() && !unbound.binds_tokens());
}
