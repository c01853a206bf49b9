//! Private keys as JWK (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_endpoint::BuildError;
use serde::{Deserialize, de::IgnoredAny};
use zeroize::Zeroizing;

use super::error::{invalid_key, refused};
use crate::{
    Algorithm,
    provider::{KeyPair, RsaParts},
    public_key::{Curve, check_algorithm},
};

/// The maximum length, above that of the longest RSA key.
const MAX_LEN: usize = 1 << 16;

/// A private key with the metadata of its JWK.
pub(super) struct PrivateJwk {
    pub(super) pair: KeyPair,
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    pub(super) certificate: Option<[u8; 32]>,
}

/// Borrowed, so that no copy of a private member is left behind.
#[derive(Deserialize)]
struct Jwk<'a> {
    #[serde(default)]
    keys: Option<IgnoredAny>,
    kty: Option<&'a str>,
    crv: Option<&'a str>,
    alg: Option<&'a str>,
    #[serde(rename = "use")]
    purpose: Option<&'a str>,
    #[serde(borrow)]
    key_ops: Option<Vec<&'a str>>,
    kid: Option<String>,
    #[serde(rename = "x5t#S256")]
    thumbprint: Option<&'a str>,
    x: Option<&'a str>,
    y: Option<&'a str>,
    d: Option<&'a str>,
    n: Option<&'a str>,
    e: Option<&'a str>,
    p: Option<&'a str>,
    q: Option<&'a str>,
    dp: Option<&'a str>,
    dq: Option<&'a str>,
    qi: Option<&'a str>,
    oth: Option<IgnoredAny>,
}

pub(super) fn read(text: &str) -> Result<PrivateJwk, BuildError> {
    // The library's error may quote the text.
    let jwk: Option<Jwk<'_>> = (text.len() <= MAX_LEN)
        .then(|| serde_json::from_str(text).ok())
        .flatten();
    let jwk = jwk.ok_or_else(|| {
        invalid_key(
            "the text is not a JWK, which is a JSON object; if it is PEM, read it with `from_pem`",
        )
    })?;
    if jwk.keys.is_some() {
        return Err(invalid_key(
            "it is a set of keys; read it with `from_jwk_set`",
        ));
    }
    let for_signing = jwk.purpose.is_none_or(|purpose| purpose == "sig")
        && jwk.key_ops.as_ref().is_none_or(|ops| ops.contains(&"sign"));
    if !for_signing {
        return Err(invalid_key("its `use` or `key_ops` does not allow signing"));
    }
    let pair = match jwk.kty {
        Some("EC") => ec(&jwk),
        Some("OKP") => okp(&jwk),
        Some("RSA") => rsa(&jwk),
        Some("oct") => Err(invalid_key(
            "it is a shared secret; use it with `ClientSecretJwt`",
        )),
        Some(_) => Err(invalid_key("its `kty` is not `EC`, `OKP` or `RSA`")),
        None => Err(invalid_key("it has no `kty`")),
    }?;
    let algorithms = pair.public_key().algorithms();
    let algorithm = jwk.alg.map_or(Ok(algorithms[0]), algorithm)?;
    check_algorithm(algorithm, algorithms)?;
    Ok(PrivateJwk {
        pair,
        algorithm,
        certificate: jwk.thumbprint.map(thumbprint).transpose()?,
        key_id: jwk.kid,
    })
}

fn ec(jwk: &Jwk<'_>) -> Result<KeyPair, BuildError> {
    let curve = match jwk.crv {
        Some("P-256") => Curve::P256,
        Some("P-384") => Curve::P384,
        _ => return Err(invalid_key("its `crv` is neither `P-256` nor `P-384`")),
    };
    let d = private(jwk)?;
    let mut point = vec![4];
    for (name, value) in [("x", jwk.x), ("y", jwk.y)] {
        point.extend_from_slice(&exactly(curve.width(), name, &member(name, value)?)?);
    }
    let d = exactly(curve.width(), "d", &d)?;
    KeyPair::ec_parts(curve, &d, &point).map_err(refused)
}

fn okp(jwk: &Jwk<'_>) -> Result<KeyPair, BuildError> {
    if jwk.crv != Some("Ed25519") {
        return Err(invalid_key("its `crv` is not `Ed25519`"));
    }
    let d = private(jwk)?;
    let x = member("x", jwk.x)?;
    KeyPair::ed25519_parts(&exactly(32, "d", &d)?, &exactly(32, "x", &x)?).map_err(refused)
}

fn rsa(jwk: &Jwk<'_>) -> Result<KeyPair, BuildError> {
    if jwk.oth.is_some() {
        return Err(invalid_key(
            "RSA keys of more than two primes are not supported",
        ));
    }
    let parts = RsaParts {
        d: private(jwk)?,
        n: shortest(member("n", jwk.n)?),
        e: shortest(member("e", jwk.e)?),
        p: member("p", jwk.p)?,
        q: member("q", jwk.q)?,
        dp: member("dp", jwk.dp)?,
        dq: member("dq", jwk.dq)?,
        qi: member("qi", jwk.qi)?,
    };
    KeyPair::rsa_parts(&parts).map_err(refused)
}

fn private(jwk: &Jwk<'_>) -> Result<Zeroizing<Vec<u8>>, BuildError> {
    if jwk.d.is_none() {
        return Err(invalid_key(
            "it is a public key; signing needs the private key, which has a `d`",
        ));
    }
    member("d", jwk.d)
}

fn member(name: &str, value: Option<&str>) -> Result<Zeroizing<Vec<u8>>, BuildError> {
    let value = value.ok_or_else(|| invalid_key(format!("it has no `{name}`")))?;
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(value);
    let decoded = decoded.map_err(|_| invalid_key(format!("its `{name}` is not base64url")))?;
    Ok(Zeroizing::new(decoded))
}

/// Checks the length; leading zeros are part of the value (RFC 7518 section 6.2.1.2).
fn exactly(width: usize, name: &str, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, BuildError> {
    if value.len() != width {
        return Err(invalid_key(format!(
            "its `{name}` is not {width} bytes long"
        )));
    }
    Ok(Zeroizing::new(value.to_vec()))
}

/// Strips leading zeros, which some write before an RSA key's public parts although RFC 7518 section 2 forbids them.
fn shortest(mut value: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let zeros = value.iter().take_while(|byte| **byte == 0).count();
    value.drain(..zeros);
    value
}

fn algorithm(name: &str) -> Result<Algorithm, BuildError> {
    let known = [
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
        Algorithm::Ps256,
        Algorithm::Rs256,
    ];
    let found = known.into_iter().find(|known| known.name() == name);
    found.ok_or_else(|| {
        invalid_key("its `alg` is not one of `ES256`, `ES384`, `EdDSA`, `PS256`, `RS256`")
    })
}

fn thumbprint(encoded: &str) -> Result<[u8; 32], BuildError> {
    let hash = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok();
    hash.and_then(|hash| hash.try_into().ok())
        .ok_or_else(|| invalid_key("its `x5t#S256` is not the SHA-256 hash of a certificate"))
}
