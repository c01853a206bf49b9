use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_testkit::leak;
use proptest::prelude::*;

use super::*;
use crate::verify::{decode, verify};

mod sets;
mod vectors;

use vectors::*;

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("samples/", $name))
    };
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn sign(key: &SigningKey, message: &str) -> Vec<u8> {
    block_on(key.sign(message.as_bytes())).unwrap()
}

/// Checks that the other library verifies the signature; not for another message, and not by another key of its kind.
fn check(key: &SigningKey, algorithm: Algorithm) {
    assert_eq!(key.algorithm(), algorithm);
    let signature = sign(key, "a message");
    algorithm.check(&signature).unwrap();
    let public = key.public_jwk();
    let name = algorithm.name();
    assert!(verify(name, &public, b"a message", &signature), "{name}");
    assert!(!verify(name, &public, b"a Message", &signature), "{name}");
}

// covers: C-49
#[test]
fn each_kind_of_key_is_read_from_pem_and_jwk_and_signs() {
    use Algorithm::{EdDsa, Es256, Es384, Rs256};
    for (pem, jwk, algorithm) in [
        (sample!("ec-256.pem"), sample!("ec-256.jwk"), Es256),
        (sample!("ec-384.pem"), sample!("ec-384.jwk"), Es384),
        (sample!("ed25519.pem"), sample!("ed25519.jwk"), EdDsa),
        (sample!("rsa.pem"), sample!("rsa.jwk"), Rs256),
        (sample!("rsa-pkcs1.pem"), sample!("rsa.jwk"), Rs256),
    ] {
        let from_pem = SigningKey::from_pem(pem).unwrap();
        let from_jwk = SigningKey::from_jwk(jwk).unwrap();
        check(&from_pem, algorithm);
        check(&from_jwk, algorithm);
        assert_eq!(from_pem.public_jwk(), from_jwk.public_jwk());
    }
}

#[test]
fn the_sec1_form_is_read_or_its_conversion_is_named() {
    for (pem, algorithm) in [
        (sample!("ec-256-sec1.pem"), Algorithm::Es256),
        (sample!("ec-384-sec1.pem"), Algorithm::Es384),
    ] {
        let key = SigningKey::from_pem(pem);
        if cfg!(feature = "aws-lc-rs") {
            check(&key.unwrap(), algorithm);
        } else {
            let error = key.unwrap_err();
            assert!(error.to_string().contains("openssl pkcs8"), "{error}");
        }
    }
}

// covers: C-49
#[test]
fn an_rsa_key_has_two_algorithms_and_the_others_one() {
    let rsa = || SigningKey::from_pem(sample!("rsa.pem")).unwrap();
    check(
        &rsa().with_algorithm(Algorithm::Ps256).unwrap(),
        Algorithm::Ps256,
    );
    for (key, algorithm) in [
        (rsa(), Algorithm::Es256),
        (
            SigningKey::from_pem(sample!("ec-256.pem")).unwrap(),
            Algorithm::Es384,
        ),
        (
            SigningKey::from_pem(sample!("ed25519.pem")).unwrap(),
            Algorithm::Rs256,
        ),
    ] {
        let error = key.with_algorithm(algorithm).unwrap_err();
        assert_eq!(error.setting(), "key");
        assert!(error.to_string().contains(algorithm.name()), "{error}");
    }
}

#[test]
fn the_test_vectors_of_the_rfcs_pass() {
    let rsa = SigningKey::from_jwk(A2_JWK).unwrap();
    assert_eq!(sign(&rsa, A2_MESSAGE), decode(A2_SIGNATURE));
    let ed25519 = SigningKey::from_jwk(ED25519_JWK).unwrap();
    assert_eq!(sign(&ed25519, ED25519_MESSAGE), decode(ED25519_SIGNATURE));
    let ed25519 = ed25519.with_thumbprint_as_key_id();
    assert_eq!(ed25519.key_id(), Some(ED25519_THUMBPRINT));
    // ECDSA signatures are randomized: theirs must verify, and so must ours.
    let ec = SigningKey::from_jwk(A3_JWK).unwrap();
    let public = ec.public_jwk();
    for signature in [decode(A3_SIGNATURE), sign(&ec, A3_MESSAGE)] {
        assert!(verify("ES256", &public, A3_MESSAGE.as_bytes(), &signature));
    }
}

#[test]
fn the_members_of_a_jwk_are_used() {
    let hash = "A".repeat(43);
    let more = |more: &str| sample!("rsa.jwk").replacen('{', &format!("{{{more},"), 1);
    let key = SigningKey::from_jwk(&more(&format!(
        r#""alg":"PS256","kid":"k\"1","use":"sig","key_ops":["sign"],"x5t#S256":"{hash}""#
    )))
    .unwrap();
    check(&key, Algorithm::Ps256);
    assert_eq!(key.key_id(), Some("k\"1"));
    assert_eq!(key.certificate_thumbprint(), Some([0; 32]));
    let public: serde_json::Value = serde_json::from_str(&key.public_jwk()).unwrap();
    assert_eq!(public["kid"], "k\"1");
    assert_eq!(
        (&public["use"], &public["alg"]),
        (&"sig".into(), &"PS256".into())
    );
    for (wrong, expected) in [
        (r#""alg":"ES256""#, "cannot sign with ES256"),
        (r#""alg":"none""#, "`alg` is not one of"),
        (r#""alg":"HS256""#, "`alg` is not one of"),
        (r#""use":"enc""#, "does not allow signing"),
        (r#""key_ops":["verify"]"#, "does not allow signing"),
        (r#""x5t#S256":"abc""#, "x5t#S256"),
        (r#""oth":[]"#, "two primes"),
    ] {
        let error = SigningKey::from_jwk(&more(wrong)).unwrap_err();
        assert!(error.to_string().contains(expected), "{wrong}: {error}");
    }
}

#[test]
fn the_header_names_the_certificate_of_the_key() {
    for (pem, certificate, hash) in [
        (
            sample!("ec-256.pem"),
            sample!("ec-256.crt"),
            "JZwI-avW40UQQD9qcvl3lYHinDt1opKqfGTLmoayJuI",
        ),
        (
            sample!("rsa.pem"),
            sample!("rsa.crt"),
            "DvzF-aMMLOTfn97jP1sVwFdRVDRd1Vd3jRyiqFKiZnk",
        ),
    ] {
        let text = [sample!("ed25519.crt"), pem, certificate].concat();
        let key = SigningKey::from_pem(&text).unwrap();
        assert_eq!(key.certificate_thumbprint(), None);
        let key = key.with_certificate(&text).unwrap();
        let thumbprint = key.certificate_thumbprint().unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(thumbprint), hash);
    }
    let key = || SigningKey::from_pem(sample!("ed25519.pem")).unwrap();
    assert!(key().with_certificate(sample!("ed25519.crt")).is_ok());
    let escaped = sample!("ed25519.crt").replace('\n', "\\n");
    for (wrong, expected) in [
        (sample!("ec-256.crt"), "no certificate of this key"),
        (sample!("public.pem"), "no certificate in PEM"),
        ("", "no certificate in PEM"),
        (&sample!("ed25519.crt")[..200], "damaged or incomplete"),
        (&escaped, "`\\n` instead of line breaks"),
    ] {
        let error = key().with_certificate(wrong).unwrap_err();
        assert_eq!(error.setting(), "certificate");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_text_without_a_signing_key_is_an_error() {
    let two = [sample!("ec-256.pem"), sample!("rsa.pem")].concat();
    let cut = &sample!("rsa.pem")[..900];
    let garbled = sample!("rsa.pem").replace("MII", "M*I");
    let damaged = sample!("rsa.pem").replacen("MII", "MIA", 1);
    for (pem, expected) in [
        ("", "has no private key"),
        (sample!("ec-256.jwk"), "from_jwk"),
        (sample!("public.pem"), "only a public key"),
        (sample!("ec-256.crt"), "a certificate"),
        (sample!("encrypted-pkcs8.pem"), "encrypted"),
        (sample!("encrypted-pkcs1.pem"), "encrypted"),
        (&two, "more than one"),
        (cut, "damaged or incomplete"),
        (&garbled, "damaged or incomplete"),
        (&damaged, "cannot be read"),
        (sample!("rsa-1024.pem"), "fewer than 2048 bits"),
        (sample!("rsa-pss.pem"), "kind is not supported"),
        (sample!("ec-521.pem"), "kind is not supported"),
        (sample!("x25519.pem"), "kind is not supported"),
    ] {
        let error = SigningKey::from_pem(pem).unwrap_err();
        assert_eq!(error.setting(), "key");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_pem_text_has_a_mebibyte_at_most() {
    let key = sample!("ec-256.pem");
    let of_length = |length: usize| key.to_owned() + &"\n".repeat(length - key.len());
    SigningKey::from_pem(&of_length(1 << 20)).unwrap();
    for length in [(1 << 20) + 1, (1 << 20) + 2] {
        let error = SigningKey::from_pem(&of_length(length)).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }
}

/// Each is the same valid key, as damaged by a shell, an editor, a `.env` file or a Kubernetes `Secret`.
#[test]
fn the_error_for_a_damaged_pem_names_the_damage() {
    use base64::prelude::BASE64_STANDARD;

    let pem = sample!("rsa.pem").trim();
    let lines: Vec<&str> = pem.lines().collect();
    let body = lines[1..lines.len() - 1].concat();
    let escaped = pem.replace('\n', "\\n");
    let wrapped: Vec<String> = BASE64_STANDARD
        .encode(pem)
        .as_bytes()
        .chunks(76)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let openssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n-----END OPENSSH PRIVATE KEY-----\n";
    for (text, expected) in [
        (escaped.clone(), "`\\n` instead of line breaks"),
        (pem.replace('\n', "\\r\\n"), "`\\n` instead of line breaks"),
        (format!("\"{escaped}\""), "quotation marks"),
        (format!("'{pem}'"), "quotation marks"),
        (lines.join(" "), "no line breaks"),
        (lines.concat(), "no line breaks"),
        (format!("    {}", lines.join("\n    ")), "indented"),
        (BASE64_STANDARD.encode(pem), "base64-encoded PEM"),
        (wrapped.join("\n"), "base64-encoded PEM"),
        (body, "lacks its BEGIN and END lines"),
        (openssh.to_owned(), "ssh-keygen"),
    ] {
        // A certificate in the same text is no part of the damage.
        let certificate = sample!("ec-256.crt");
        for text in [
            text.clone(),
            format!("{text}\n{certificate}"),
            format!("{certificate}\n{text}"),
        ] {
            let error = SigningKey::from_pem(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
            leak::assert_clean(&error, &lines[1][..20]);
        }
    }
    for good in [
        pem.to_owned(),
        pem.replace('\n', "\r\n"),
        format!("Bag Attributes\n    friendlyName: x\n{pem}\n"),
    ] {
        SigningKey::from_pem(&good).unwrap();
    }
}

#[test]
fn a_jwk_without_a_signing_key_is_an_error() {
    let ec = sample!("ec-256.jwk");
    let without = |name: &str| ec.replace(&format!("\"{name}\":"), "\"_\":");
    let set = format!(r#"{{"keys":[{ec}]}}"#);
    let other: serde_json::Value = serde_json::from_str(A3_JWK).unwrap();
    let mut mixed: serde_json::Value = serde_json::from_str(ec).unwrap();
    mixed["d"] = other["d"].clone();
    for (jwk, expected) in [
        ("", "is not a JWK"),
        ("[]", "is not a JWK"),
        (sample!("ec-256.pem"), "from_pem"),
        ("{}", "no `kty`"),
        (r#"{"kty":"oct","k":"AAAA"}"#, "ClientSecretJwt"),
        (r#"{"kty":"AKP"}"#, "`kty` is not"),
        (r#"{"kty":"OKP","crv":"X25519"}"#, "is not `Ed25519`"),
        (&set, "a set of keys"),
        (&without("d"), "a public key"),
        (&without("y"), "no `y`"),
        (&without("crv"), "neither `P-256` nor"),
        (&ec.replace("P-256", "P-384"), "is not 48 bytes"),
        (&ec.replace("\"d\":\"", "\"d\":\"*"), "`d` is not base64url"),
        (&mixed.to_string(), "parts do not match"),
    ] {
        let error = SigningKey::from_jwk(jwk).unwrap_err();
        assert_eq!(error.setting(), "key");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

// covers: F-99, F-100
#[test]
fn neither_debug_nor_errors_show_a_key() {
    let ec = sample!("ec-256.jwk");
    let jwk: serde_json::Value = serde_json::from_str(ec).unwrap();
    let secret = jwk["d"].as_str().unwrap();
    // The positive control.
    assert!(leak::find(ec, secret).is_some());
    let key = SigningKey::from_jwk(ec).unwrap().with_key_id("k1");
    let shown = format!("{key:?} {key:#?}");
    assert!(shown.contains("Es256") && shown.contains("k1"), "{shown}");
    leak::assert_clean(&shown, secret);
    leak::assert_clean(&key.public_jwk(), secret);
    // Inputs that the JSON library would quote.
    for wrong in [
        ec.replace("\"kty\":", &format!("\"kty\":17,\"{secret}\":")),
        ec.replace(":\"P-256\"", &format!(":\"{secret}\"")),
        format!("{{\"kty\":\"EC\",\"d\":\"{secret}\\u0041\"}}"),
        format!("\"{secret}\""),
    ] {
        let error = SigningKey::from_jwk(&wrong).unwrap_err();
        leak::assert_clean(&leak::error_chain(&error), secret);
    }
    let pem = sample!("ec-256.pem");
    let line = pem.lines().nth(1).unwrap();
    for wrong in [
        format!("-----BEGIN {line}\n{line}"),
        format!("-----BEGIN PRIVATE KEY-----\n{line}*"),
    ] {
        let error = SigningKey::from_pem(&wrong).unwrap_err();
        leak::assert_clean(&leak::error_chain(&error), line);
    }
}

proptest! {
    /// Neither arbitrary input nor one flipped byte causes a panic.
    #[test]
    fn the_readers_do_not_panic(text in any::<String>(), at in 0..2_000_usize, byte in b' '..=b'~') {
        let _ = SigningKey::from_pem(&text);
        let _ = SigningKey::from_jwk(&text);
        let changed = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            String::from_utf8(bytes).unwrap()
        };
        for pem in [sample!("ec-256.pem"), sample!("ed25519.pem"), sample!("ec-384-sec1.pem"), sample!("rsa-pkcs1.pem")] {
            let _ = SigningKey::from_pem(&changed(pem));
            let _ = SigningKey::from_pem(pem).map(|key| key.with_certificate(&changed(sample!("ec-256.crt"))));
        }
        for jwk in [sample!("ec-256.jwk"), sample!("ed25519.jwk")] {
            let _ = SigningKey::from_jwk(&changed(jwk));
        }
    }

    /// DER that is cut or changed behind intact PEM.
    #[test]
    fn damaged_der_is_an_error_and_no_panic(der in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3_usize) {
        use base64::prelude::BASE64_STANDARD;
        let label = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"][kind];
        let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der));
        prop_assert!(SigningKey::from_pem(&pem).is_err());
    }
}
