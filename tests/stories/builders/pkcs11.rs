//! The settings of a signer in a hardware token, as the selected key shows them.

use std::{fs, process::Command};

use hallpass::jwt::{Algorithm, Pkcs11Signer, Pkcs11SignerBuilder, Signer as _};
use hallpass_testkit::leak;
use rcgen::KeyPair;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use tempfile::TempDir;

use super::pairs::{Exclusions, PairCounts, Setting, SettingSelection, check};
use crate::{
    shared::softhsm::{LABEL, PIN, SoftHsm},
    support::secret,
};

const OTHER: &str = "other";
const MESSAGE: &[u8] = b"message";

const EXCLUDED: Exclusions = &[("slot", &["token_label"])];

/// Two tokens with the same keys: a usual one, and three of which a label or an id alone selects two.
struct World {
    hsm: SoftHsm,
    /// The slot of the token `LABEL`.
    slot: u64,
    /// The token, the label and the id of each key.
    keys: Vec<(String, KeyPair)>,
}

/// The observations of a signer.
struct Observations {
    /// The token, the label and the id of the key that signed, or an error.
    key: String,
    key_id: Option<String>,
}

fn rows() -> Vec<Setting<Pkcs11SignerBuilder, World, Observations>> {
    let row = Setting::<Pkcs11SignerBuilder, World, Observations>::new;
    vec![
        row(
            "key_id",
            |one, _| one.key_id("kid"),
            |seen| seen.key_id.as_deref() == Some("kid"),
        ),
        row(
            "object_id",
            |one, _| one.object_id([2]),
            |seen| seen.key.contains("id 02"),
        ),
        row(
            "object_label",
            |one, _| one.object_label("orders"),
            |seen| seen.key.contains("label `orders`"),
        ),
        row(
            "slot",
            |one, world| one.slot(world.slot),
            |seen| seen.key.contains("`hallpass tests`") || seen.key.contains("token in slot"),
        ),
        row(
            "token_label",
            |one, _| one.token_label(LABEL),
            |seen| seen.key.contains("`hallpass tests`"),
        ),
    ]
}

impl World {
    fn new(hsm: SoftHsm) -> Self {
        hsm.add_token(OTHER);
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("key.pem");
        let mut keys = Vec::new();
        for token in [LABEL, OTHER] {
            let of_token = [
                ("usual", "03"),
                ("orders", "01"),
                ("orders", "02"),
                ("billing", "02"),
            ];
            for (label, id) in of_token {
                let key = KeyPair::generate().unwrap();
                fs::write(&file, key.serialize_pem()).unwrap();
                hsm.tool(&[
                    "--force",
                    "--import",
                    file.to_str().unwrap(),
                    "--token",
                    token,
                    "--label",
                    label,
                    "--id",
                    id,
                    "--pin",
                    PIN,
                ]);
                keys.push((format!("token `{token}`, label `{label}`, id {id}"), key));
            }
        }
        let slots = Command::new("softhsm2-util").arg("--show-slots").output();
        let slots = String::from_utf8(slots.unwrap().stdout).unwrap();
        let mut slots = slots.split("\nSlot ");
        let slot = slots.find(|slot| slot.contains(LABEL)).unwrap();
        let slot = slot.split_whitespace().next().unwrap();
        let slot = slot.parse().unwrap();
        Self { hsm, slot, keys }
    }

    async fn run(
        &self,
        selection: &SettingSelection<'_, Pkcs11SignerBuilder, Self, Observations>,
    ) -> Result<Observations, String> {
        let mut builder = Pkcs11Signer::builder(self.hsm.module(), Algorithm::Es256, secret(PIN));
        if !selection.has("slot") {
            builder = builder.token_label(OTHER);
        }
        if !selection.has("object_label") && !selection.has("object_id") {
            builder = builder.object_label("usual");
        }
        let signer = selection.set(builder, self).build();
        let signer = signer.map_err(|error| leak::error_chain(&error))?;
        let key = match signer.sign(MESSAGE).await {
            Err(error) => error.to_string(),
            Ok(signature) => {
                let is_its = |key: &KeyPair| {
                    let public =
                        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key_raw());
                    public.verify(MESSAGE, &signature).is_ok()
                };
                let mut keys = self.keys.iter();
                keys.find(|(_, key)| is_its(key)).unwrap().0.clone()
            }
        };
        Ok(Observations {
            key,
            key_id: signer.key_id().map(str::to_owned),
        })
    }
}

#[tokio::test]
async fn every_two_settings_of_a_hardware_signer_work_or_are_refused() {
    let test = "builders::pkcs11::every_two_settings_of_a_hardware_signer_work_or_are_refused";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let rows = rows();
    let world = World::new(hsm);
    let counts = check(
        ("jwt", "Pkcs11SignerBuilder"),
        &rows,
        EXCLUDED,
        async |selection| world.run(selection).await,
    );
    assert_eq!(
        counts.await,
        PairCounts {
            built: 25,
            refused: 2
        }
    );
}
