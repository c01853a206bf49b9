use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, ValueEnum};
use hallpass::profiles::parse_duration;

#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("key").required(true).args(["out", "from", "rotate"]))]
pub(crate) struct Keygen {
    /// File for the new private key, as PEM that only this user can read
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print the public key of an existing private key
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Rotate the private key in this file: publish a new key in `--jwks`, and use it after `--overlap`
    #[arg(long, value_name = "FILE", requires = "jwks")]
    pub(crate) rotate: Option<PathBuf>,
    /// File with the public keys to publish, as a JWK set
    #[arg(long, value_name = "FILE", requires = "rotate", conflicts_with_all = ["out", "from"])]
    pub(crate) jwks: Option<PathBuf>,
    /// Time from the publication of a new key to its use, and from the last use of the old key to its removal [default: 1d]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "rotate", conflicts_with_all = ["out", "from"])]
    pub(crate) overlap: Option<Duration>,
    /// Age from which a key is replaced [default: 90d]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "rotate", conflicts_with_all = ["out", "from"])]
    pub(crate) every: Option<Duration>,
    /// Replace the key regardless of its age
    #[arg(long, requires = "rotate", conflicts_with_all = ["every", "out", "from"])]
    pub(crate) now: bool,
    /// Signature algorithm [default: es256, or that of the existing key]
    #[arg(short, long, value_enum, value_name = "NAME")]
    pub(crate) algorithm: Option<KeyAlgorithm>,
    /// Size of an RSA key in bits: 2048, 3072 or 4096 [default: 3072]
    #[arg(long, conflicts_with = "from")]
    pub(crate) bits: Option<u16>,
    /// Replace an existing file; its private key is lost
    #[arg(long, conflicts_with_all = ["from", "rotate"])]
    pub(crate) force: bool,
    /// Format of the public key
    #[arg(long, value_enum, conflicts_with = "rotate", value_name = "FORMAT", default_value_t = PublicForm::Jwks)]
    pub(crate) public: PublicForm,
}

/// The signature algorithms, by their JWS names in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyAlgorithm {
    /// ECDSA with P-256, which most servers support
    Es256,
    /// ECDSA with P-384
    Es384,
    /// Ed25519
    #[value(name = "eddsa")]
    EdDsa,
    /// RSA with PKCS#1 v1.5 padding, for older servers
    Rs256,
    /// RSA with PSS padding
    Ps256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PublicForm {
    /// JWK set, with the thumbprint as key identifier
    Jwks,
    /// PEM `PUBLIC KEY`
    Pem,
}
