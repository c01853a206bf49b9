//! The reference pages of the book list what the code has.

use std::{collections::BTreeSet, fs};

use hallpass::endpoint::presets::{self, AudienceRule, Scopes, SecretAuthentication};

fn file(path: &str) -> String {
    fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_preset_page_describes_each_preset() {
    let page = file("docs/presets.md");
    for preset in presets::ALL {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {} |", preset.name)));
        let row = row.unwrap_or_else(|| panic!("no row for {}", preset.name));
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let authentication = match preset.authentication {
            SecretAuthentication::Basic => "`client_secret_basic`",
            SecretAuthentication::Post => "`client_secret_post`",
            SecretAuthentication::Assertion if cells[2].starts_with("none; [") => cells[2],
            other => panic!("{other:?} is new: describe it on the page"),
        };
        let audience = match preset.audience {
            AudienceRule::AudienceRequired => "required",
            AudienceRule::AudienceAllowed => "optional",
            AudienceRule::ScopesAlone => "not accepted",
            other => panic!("{other:?} is new: describe it on the page"),
        };
        let scopes = match preset.scopes {
            Scopes::Required => "required".to_owned(),
            Scopes::Optional => "optional".to_owned(),
            Scopes::OneWithSuffix(suffix) => format!("one, ending in `{suffix}`"),
            other => panic!("{other:?} is new: describe it on the page"),
        };
        assert_eq!(cells[2..], [authentication, audience, &scopes]);
        let address = format!("\n| {} | `{}` |\n", cells[1], preset.token_endpoint);
        assert!(page.contains(&address), "{address}");
    }
    let rows = page.lines().filter(|line| line.contains("| `https://"));
    assert_eq!(rows.count(), presets::ALL.len());
}

#[test]
fn the_feature_page_lists_the_features_of_the_facade() {
    let manifest = file("crates/hallpass/Cargo.toml");
    let features = manifest.split("[features]\n").nth(1).unwrap();
    let features = features.split("\n\n").next().unwrap().lines();
    let declared = features.filter(|line| !line.starts_with('#'));
    let declared = declared.map(|line| line.split(" =").next().unwrap());
    let declared: BTreeSet<&str> = declared.filter(|name| *name != "default").collect();
    let page = file("docs/features.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert_eq!(listed, declared);
    assert!(declared.contains("jwt-pkcs11"), "the manifest was not read");
}
