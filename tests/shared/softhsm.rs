//! A software token (SoftHSM) with imported keys, for one test in its own process.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::child::run_alone;

pub(crate) const PIN: &str = "CANARY-1357";
pub(crate) const LABEL: &str = "hallpass tests";
/// The variable that names SoftHSM's settings, which a process reads once.
const SETTINGS: &str = "SOFTHSM2_CONF";
/// The variable that is set in the process of a single test.
const FOLDER: &str = "HALLPASS_SOFTHSM_FOLDER";
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

/// A token for one test, initialized and empty.
pub(crate) struct SoftHsm {
    folder: PathBuf,
    module: PathBuf,
}

impl SoftHsm {
    /// Returns the token in the process started for this test. Otherwise starts that process, which runs only the test
    /// of this name, and returns `None`; or prints why the test is skipped. In CI a skip is a failure.
    pub(crate) fn alone(test: &str) -> Option<Self> {
        let module = MODULES.iter().map(PathBuf::from).find(|path| path.exists());
        let (Some(module), true) = (module, is_installed()) else {
            assert!(
                env::var_os("CI").is_none(),
                "the tests with a hardware token must run in CI: SoftHSM is not installed"
            );
            eprintln!("skipped {test}: SoftHSM is not installed (Debian's package `softhsm2`)");
            return None;
        };
        if let Some(folder) = env::var_os(FOLDER) {
            let folder = PathBuf::from(folder);
            return Some(Self { folder, module });
        }
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("tokens")).unwrap();
        let settings = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            path.join("tokens").display()
        );
        fs::write(path.join("softhsm2.conf"), settings).unwrap();
        let hsm = Self {
            folder: path.to_owned(),
            module,
        };
        hsm.add_token(LABEL);
        run_alone(test, |child| {
            let settings = path.join("softhsm2.conf");
            child.env(SETTINGS, settings).env(FOLDER, path)
        });
        None
    }

    pub(crate) fn module(&self) -> &Path {
        &self.module
    }

    /// Adds another token.
    pub(crate) fn add_token(&self, label: &str) {
        self.tool(&[
            "--init-token",
            "--free",
            "--label",
            label,
            "--so-pin",
            "so-2468",
            "--pin",
            PIN,
        ]);
    }

    /// Imports the private key of this PKCS#8 file into the first token. The number is hexadecimal.
    pub(crate) fn import(&self, pem: &Path, label: &str, number: &str) {
        let pem = pem.to_str().unwrap();
        self.tool(&[
            "--import", pem, "--token", LABEL, "--label", label, "--id", number, "--pin", PIN,
        ]);
    }

    /// Runs SoftHSM's own tool, which must succeed.
    pub(crate) fn tool(&self, arguments: &[&str]) {
        let run = Command::new("softhsm2-util")
            .args(arguments)
            .env(SETTINGS, self.folder.join("softhsm2.conf"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{arguments:?}: {said}");
    }
}

fn is_installed() -> bool {
    let run = Command::new("softhsm2-util").arg("--version").output();
    run.is_ok_and(|run| run.status.success())
}
