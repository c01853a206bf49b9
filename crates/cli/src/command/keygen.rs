//! `hallpass keygen`: writes a private key to a file only, and its public half to standard output.

use std::{path::Path, time::SystemTime};

use hallpass::jwt::{Algorithm, SigningKey};
use serde_json::{Value, json};

use crate::{
    args::{Keygen, PublicForm},
    failure::Failure,
    out,
};
use file::{KeyFile, read_key, with_key_id, write_new_key};
use rotation::Rotation;

mod file;
mod published;
mod rotation;

pub(crate) fn run(args: &Keygen) -> Result<(), Failure> {
    if let (Some(path), Some(jwks)) = (&args.rotate, &args.jwks) {
        let rotation = Rotation::new(path, jwks, args);
        return out::json(&rotation.run(SystemTime::now())?);
    }
    let key = match (&args.from, &args.out) {
        (Some(path), _) => read_key(args.algorithm.map(Into::into), path)?,
        (None, Some(path)) => generate_key(args, path)?,
        // clap requires exactly one of them.
        (None, None) => return Err(Failure::usage("`--out` or `--from` is required")),
    };
    match args.public {
        PublicForm::Pem => out::text(&key.public_pem()),
        PublicForm::Jwks => {
            let jwk = serde_json::from_str::<Value>(&with_key_id(key).public_jwk());
            let jwk = jwk.expect("a JWK is JSON");
            out::json(&json!({ "keys": [jwk] }))
        }
    }
}

/// Creates a key and writes it before printing anything: a key registered with a server must not be lost.
fn generate_key(args: &Keygen, path: &Path) -> Result<SigningKey, Failure> {
    let file = KeyFile::check(path, args.force)?;
    let algorithm = args.algorithm.map_or(Algorithm::Es256, Into::into);
    write_new_key(&file, algorithm, args.bits)
}
