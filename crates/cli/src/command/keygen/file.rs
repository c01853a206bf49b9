//! Files with private keys.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use hallpass::{
    jwt::{Algorithm, Signer as _, SigningKey},
    profiles::parse_private_key,
};
use zeroize::Zeroizing;

use crate::{
    args::KeyAlgorithm,
    failure::{Exit, Failure},
};

/// The longest file that can be a key.
const MAX_BYTES: u64 = 1 << 20;

/// Returns the key with the `kid` of its JWK, which assertions then carry, or with its thumbprint.
pub(super) fn with_key_id(key: SigningKey) -> SigningKey {
    match key.key_id() {
        Some(_) => key,
        None => key.with_thumbprint_as_key_id(),
    }
}

pub(super) fn write_new_key(
    file: &KeyFile<'_>,
    algorithm: Algorithm,
    bits: Option<u16>,
) -> Result<SigningKey, Failure> {
    let (key, pem) = match bits {
        None => SigningKey::generate(algorithm),
        Some(bits) => SigningKey::generate_rsa(algorithm, bits),
    }
    .map_err(|error| match error.setting() {
        "bits" | "algorithm" => Failure::usage(error.to_string())
            .with_remedy("`--bits` requires `--algorithm rs256` or `ps256`"),
        _ => error.into(),
    })?;
    let written = file.write(pem.expose().as_bytes());
    written.map_err(|error| not_written(file.path, &error))?;
    Ok(key)
}

pub(super) fn not_written(path: &Path, error: &io::Error) -> Failure {
    let what = format!(
        "{} could not be written: {}",
        path.display(),
        kind_text(error)
    );
    let failure = Failure::new(Exit::Output, what);
    match error.kind() {
        io::ErrorKind::NotFound => failure.with_remedy("create its directory first"),
        _ => failure,
    }
}

pub(super) fn read_key(algorithm: Option<Algorithm>, path: &Path) -> Result<SigningKey, Failure> {
    let wrong = |why: &str| Failure::configuration(format!("{}: {why}", path.display()));
    let text = read_text(path).map_err(|error| {
        let what = format!("{} cannot be read: {}", path.display(), kind_text(&error));
        Failure::configuration(what)
            .with_remedy("set a file with a private key in PEM or JWK format")
    })?;
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let key = match (parse_private_key(text), algorithm) {
        (Ok(key), Some(algorithm)) => key.with_algorithm(algorithm),
        (key, _) => key,
    };
    key.map_err(|error| wrong(&error.to_string()))
}

fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    // Read with the full capacity: a growing buffer would leave copies of the key behind.
    let length = file.metadata()?.len().min(MAX_BYTES);
    let length = usize::try_from(length).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(length + 1));
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The file that receives a private key.
pub(super) struct KeyFile<'a> {
    path: &'a Path,
    /// True if an existing file is to be replaced.
    pub(super) replaces: bool,
}

impl<'a> KeyFile<'a> {
    pub(super) fn check(path: &'a Path, force: bool) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Err(
                Failure::usage("a private key is not written to standard output")
                    .with_remedy("set a file with `--out`"),
            );
        }
        let replaces = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // Terminals and pipes are refused, and so are links, which may lead to one.
            Ok(found) if !found.is_file() => {
                let what = format!(
                    "{} already exists, and is not a regular file",
                    path.display()
                );
                return Err(Failure::new(Exit::Output, what).with_remedy("choose another file"));
            }
            Ok(_) if force => true,
            Ok(_) => {
                let what = format!("{} already exists", path.display());
                return Err(Failure::new(Exit::Output, what).with_remedy(
                    "choose another file, or replace it with `--force`: its private key is lost",
                ));
            }
            Err(error) => {
                let what = format!("{} cannot be used: {}", path.display(), kind_text(&error));
                return Err(Failure::new(Exit::Output, what));
            }
        };
        Ok(Self { path, replaces })
    }

    /// Returns a file that is written wholly or not at all, and replaced if it exists.
    pub(super) fn atomic(path: &'a Path) -> Self {
        Self {
            path,
            replaces: true,
        }
    }

    /// Writes the key atomically. A file created after the check is not replaced unless replacing was requested.
    pub(super) fn write(&self, pem: &[u8]) -> io::Result<()> {
        if self.replaces {
            return replace(self.path, pem, open_new);
        }
        let file = open_new(self.path)?;
        let written = write_all(file, pem);
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(self.path);
        }
        written
    }
}

/// Replaces a file by a new one with this content, wholly or not at all.
pub(super) fn replace(
    path: &Path,
    content: &[u8],
    open: impl FnOnce(&Path) -> io::Result<File>,
) -> io::Result<()> {
    let new = temporary_path(path);
    // A process of the same number may have crashed, as in a restarted container.
    let _ = fs::remove_file(&new);
    let file = open(&new)?;
    let written = write_all(file, content).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_all(mut file: File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

/// Returns an unused name in the same directory.
fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

/// Creates a file that only this user can read; fails if it exists.
fn open_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Returns the error's kind only: the system's own text would repeat the file name.
fn kind_text(error: &io::Error) -> String {
    error.kind().to_string()
}

impl From<KeyAlgorithm> for Algorithm {
    fn from(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::Es256 => Self::Es256,
            KeyAlgorithm::Es384 => Self::Es384,
            KeyAlgorithm::EdDsa => Self::EdDsa,
            KeyAlgorithm::Rs256 => Self::Rs256,
            KeyAlgorithm::Ps256 => Self::Ps256,
        }
    }
}
