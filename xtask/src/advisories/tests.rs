use super::*;

const LISTED: &str = r#"date = "2026-01-31"

[advisories]
RUSTSEC-2026-0001 = { crate = "cfg-if", kind = "KIND", patched = ["PATCHED"], unaffected = [] }
"#;
/// A package with one dependency, which this repository has too, so that nothing is downloaded.
const MANIFEST: &str =
    "[package]\nname = \"one-dependency\"\nedition = \"2024\"\n\n[dependencies]\ncfg-if = \"1\"\n";

fn snapshot(kind: &str, patched: &str) -> Snapshot {
    let text = LISTED.replace("KIND", kind).replace("PATCHED", patched);
    let path = std::env::temp_dir().join(format!("snapshot-{}-{kind}", std::process::id()));
    fs::write(&path, text).unwrap();
    let snapshot = Snapshot::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    snapshot
}

fn now(date: &str) -> SystemTime {
    humantime::parse_rfc3339(&format!("{date}T12:00:00Z")).unwrap()
}

/// Runs cargo-deny with a planted snapshot; returns its report where it found something.
fn found(name: &str, kind: &str, patched: &str, ignored: bool) -> Option<String> {
    let shell = Shell::new().unwrap();
    let folder = std::env::temp_dir().join(format!("advisories-{}-{name}", std::process::id()));
    let config = folder.with_extension("toml");
    let ignore = if ignored {
        r#"{ id = "RUSTSEC-2026-0001", reason = "for a test" }"#
    } else {
        ""
    };
    let text = format!("[advisories]\nversion = 2\nignore = [{ignore}]\n");
    fs::write(&config, text).unwrap();
    let local = local_database(&shell, &folder, &config, &snapshot(kind, patched)).unwrap();
    let manifest = folder.join("package/Cargo.toml");
    shell.write_file(&manifest, MANIFEST).unwrap();
    shell
        .write_file(folder.join("package/src/lib.rs"), "")
        .unwrap();
    let lock = cmd!(
        shell,
        "cargo generate-lockfile --quiet --offline --manifest-path {manifest}"
    );
    lock.run().unwrap();
    let output = deny(&shell, manifest.to_str().unwrap(), &local, Some(&folder))
        .ignore_status()
        .output()
        .unwrap();
    fs::remove_dir_all(folder).unwrap();
    fs::remove_file(config).unwrap();
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_planted_advisory_is_found_unless_patched_or_ignored() {
    let shell = Shell::new().unwrap();
    let installed = cmd!(shell, "cargo deny --version").quiet();
    if installed.ignore_stderr().read().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "this test must run in CI: cargo-deny is missing"
        );
        println!("skipped: cargo-deny is missing");
        return;
    }
    for kind in ["vulnerability", "unmaintained"] {
        let report = found(kind, kind, ">=999", false).unwrap();
        assert!(report.contains("RUSTSEC-2026-0001"), "{report}");
        assert!(report.contains(kind), "{report}");
    }
    assert_eq!(found("ignored", "vulnerability", ">=999", true), None);
    assert_eq!(found("patched", "vulnerability", ">=0.1", false), None);
}

#[test]
fn an_advisory_of_the_database_keeps_its_facts_only() {
    let folder = std::env::temp_dir().join(format!("database-{}", std::process::id()));
    fs::create_dir_all(folder.join("crates/http")).unwrap();
    let write = |name: &str, more: &str| {
        let text = format!(
            "```toml\n[advisory]\nid = \"{name}\"\npackage = \"http\"\ndate = \"2026-01-01\"\n{more}\n\
            [versions]\npatched = [\">= 1.2, < 1.3\", \">=1.4\"]\n```\n\n# A title\n\nA sentence.\n"
        );
        fs::write(folder.join("crates/http").join(format!("{name}.md")), text).unwrap();
    };
    write("RUSTSEC-2026-0001", "");
    write("RUSTSEC-2026-0002", "withdrawn = \"2026-02-01\"");
    write("RUSTSEC-2026-0003", "informational = \"unsound\"");
    let text = Snapshot::of(&folder, "2026-01-31".to_owned())
        .unwrap()
        .to_string();
    fs::remove_dir_all(&folder).unwrap();
    let facts = text.split_once("date = ").unwrap().1;
    assert_eq!(
        facts,
        r#""2026-01-31"

[advisories]
RUSTSEC-2026-0001 = { crate = "http", kind = "vulnerability", patched = [">= 1.2, < 1.3", ">=1.4"], unaffected = [] }
RUSTSEC-2026-0003 = { crate = "http", kind = "unsound", patched = [">= 1.2, < 1.3", ">=1.4"], unaffected = [] }
"#
    );
}

#[test]
fn an_outdated_or_empty_snapshot_is_reported_with_its_date() {
    let mut snapshot = snapshot("notice", ">=1");
    let fresh = description(&snapshot, now("2026-03-31")).unwrap();
    assert!(
        !fresh.contains("WARNING") && fresh.contains("2026-01-31"),
        "{fresh}"
    );
    let outdated = description(&snapshot, now("2026-04-02")).unwrap();
    assert!(outdated.starts_with("WARNING"), "{outdated}");
    let age = "snapshot of 2026-01-31, with 1 advisories, is 61 days old";
    assert!(outdated.contains(age), "{outdated}");
    assert!(
        outdated.contains("cargo xtask advisories --update"),
        "{outdated}"
    );
    snapshot.advisories.clear();
    let empty = description(&snapshot, now("2026-02-01")).unwrap();
    assert!(empty.starts_with("NOT CHECKED"), "{empty}");
}

#[test]
fn every_lock_file_of_the_repository_is_checked() {
    let shell = Shell::new().unwrap();
    shell.change_dir(crate::files::root());
    let manifests = locked(&shell).unwrap();
    assert_eq!(manifests, ["Cargo.toml", "crates/bridges/Cargo.toml"]);
}
