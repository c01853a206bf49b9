use std::path::PathBuf;

use clap::{ArgGroup, ValueEnum};

#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("key").required(true).args(["out", "from"]))]
pub(crate) struct Keygen {
    /// Write the new private key to this file, as PEM that this user alone can read
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Make no key: print the public one of the private key in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// What the key signs by [default: es256, or what the key of `--from` is for]
    #[arg(short, long, value_enum, value_name = "NAME")]
    pub(crate) algorithm: Option<KeyAlgorithm>,
    /// The size of an RSA key: 2048, 3072 or 4096 [default: 3072]
    #[arg(long, conflicts_with = "from")]
    pub(crate) bits: Option<u16>,
    /// Replace the file, if there is one: the key in it is lost
    #[arg(long, conflicts_with = "from")]
    pub(crate) force: bool,
    /// How to print the public key
    #[arg(long, value_enum, value_name = "FORM", default_value_t = PublicForm::Jwks)]
    pub(crate) public: PublicForm,
}

/// Named as in JWS, in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyAlgorithm {
    /// EC on P-256: small and quick, and known to most servers
    Es256,
    /// EC on P-384
    Es384,
    /// Ed25519
    #[value(name = "eddsa")]
    EdDsa,
    /// RSA, for servers that know nothing newer
    Rs256,
    /// RSA with PSS padding
    Ps256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PublicForm {
    /// A set with the key as JWK, named by its thumbprint
    Jwks,
    /// `PUBLIC KEY`, for servers that take no JWK
    Pem,
}
