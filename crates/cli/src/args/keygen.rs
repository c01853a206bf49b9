use std::path::PathBuf;

use clap::{ArgGroup, ValueEnum};

#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("key").required(true).args(["out", "from"]))]
pub(crate) struct Keygen {
    /// File for the new private key, as PEM that only this user can read
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print the public key of an existing private key
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Signature algorithm [default: es256, or that of the key in `--from`]
    #[arg(short, long, value_enum, value_name = "NAME")]
    pub(crate) algorithm: Option<KeyAlgorithm>,
    /// Size of an RSA key in bits: 2048, 3072 or 4096 [default: 3072]
    #[arg(long, conflicts_with = "from")]
    pub(crate) bits: Option<u16>,
    /// Replace an existing file; its private key is lost
    #[arg(long, conflicts_with = "from")]
    pub(crate) force: bool,
    /// Format of the public key
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = PublicForm::Jwks)]
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
