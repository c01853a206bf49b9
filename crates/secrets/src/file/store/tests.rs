use hallpass_core::SecretSource as _;
use hallpass_testkit::leak;

use super::*;
use crate::folder::Folder;

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

async fn fails(store: &FileSecret, text: &str) -> String {
    let error = store.save(&secret(text)).await.unwrap_err();
    let shown = leak::error_chain(&error);
    leak::assert_clean(&shown, "CANARY");
    let path = store.path().display().to_string();
    assert!(shown.contains(&path), "{shown}");
    error.to_string()
}

fn names(folder: &Folder) -> Vec<String> {
    let names = fs::read_dir(folder.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

// covers: F-106
#[tokio::test]
async fn a_saved_secret_is_read_and_no_file_is_left() {
    let folder = Folder::new();
    let store = FileSecret::new(folder.path().join("refresh"));
    for text in ["CANARY-1", " CANARY ", "a\nb", "CANARY\n"] {
        store.save(&secret(text)).await.unwrap();
        assert_eq!(store.secret().await.unwrap().expose(), text);
    }
    assert_eq!(names(&folder), ["refresh"]);
}

// covers: I-15
#[tokio::test]
async fn saving_does_not_change_the_epoch() {
    let folder = Folder::new();
    let store = FileSecret::new(folder.write("refresh", "CANARY-1\n"));
    store.secret().await.unwrap();
    store.save(&secret("CANARY-2")).await.unwrap();
    store.secret().await.unwrap();
    assert_eq!(store.epoch(), 0);
    folder.replace("refresh", "CANARY-3");
    store.secret().await.unwrap();
    assert_eq!(store.epoch(), 1);
}

// covers: F-105
#[tokio::test]
async fn a_failed_save_leaves_the_old_secret() {
    let folder = Folder::new();
    let nowhere = FileSecret::new(folder.path().join("no/such/directory"));
    assert!(
        fails(&nowhere, "CANARY")
            .await
            .contains("directory is missing")
    );
    let directory = FileSecret::new(folder.path());
    assert!(
        fails(&directory, "CANARY")
            .await
            .contains("not a regular file")
    );
    let store = FileSecret::new(folder.write("refresh", "CANARY-1\n"));
    for wrong in ["CANARY\r", "\u{feff}CANARY"] {
        assert!(fails(&store, wrong).await.contains("cannot hold"));
    }
    assert!(
        fails(&store, &"CANARY".repeat(20_000))
            .await
            .contains("65536")
    );
    assert_eq!(store.secret().await.unwrap().expose(), "CANARY-1");
    assert_eq!(names(&folder), ["refresh"]);
}

/// A new file left by a killed process holds a secret. Files of other names or kinds, and recent ones that another
/// process may be about to rename, stay.
#[tokio::test]
async fn the_next_save_removes_files_of_an_interrupted_one() {
    let folder = Folder::new();
    let store = FileSecret::new(folder.path().join("refresh"));
    let old = SystemTime::now() - Duration::from_secs(120);
    let stays = [
        ".refresh.12-0.new.bak",
        ".refresh.12-.new",
        ".refresh.12.new",
        ".refresh.x-0.new",
        ".refreshed.12-0.new",
        "refresh.12-0.new",
        "report.new",
    ];
    for name in stays.into_iter().chain([".refresh.12-0.new"]) {
        let path = folder.write(name, "CANARY");
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    folder.write(".refresh.13-0.new", "CANARY");
    fs::create_dir(folder.path().join(".refresh.14-0.new")).unwrap();
    store.save(&secret("CANARY")).await.unwrap();
    let mut expect: Vec<&str> = stays.to_vec();
    expect.extend(["refresh", ".refresh.13-0.new", ".refresh.14-0.new"]);
    expect.sort_unstable();
    let mut left = names(&folder);
    left.sort_unstable();
    assert_eq!(left, expect);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    // covers: F-112
    #[tokio::test]
    async fn a_new_file_is_private_and_an_existing_one_keeps_its_mode() {
        let folder = Folder::new();
        let path = folder.path().join("refresh");
        let store = FileSecret::new(&path).strict();
        store.save(&secret("CANARY")).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        for (before, after) in [(0o400, 0o400), (0o640, 0o640), (0o666, 0o660)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
            store.save(&secret("CANARY")).await.unwrap();
            assert_eq!(mode(&path), after, "{before:o}");
        }
    }

    // covers: F-105
    #[tokio::test]
    async fn a_symbolic_link_is_an_error_and_is_not_replaced() {
        let folder = Folder::new();
        let file = folder.write("file", "CANARY\n");
        let link = folder.path().join("link");
        symlink(&file, &link).unwrap();
        let error = fails(&FileSecret::new(&link), "CANARY-2").await;
        assert!(error.contains("symbolic link"), "{error}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "CANARY\n");
    }

    #[tokio::test]
    async fn a_file_left_by_a_crash_does_not_block_a_save() {
        let folder = Folder::new();
        let path = folder.path().join("refresh");
        let (_file, left) = TemporaryFile::create(&path).unwrap();
        let (_other, other) = TemporaryFile::create(&path).unwrap();
        assert_ne!(left.0, other.0);
        std::mem::forget(left);
        drop(other);
        FileSecret::new(&path)
            .save(&secret("CANARY"))
            .await
            .unwrap();
        assert_eq!(names(&folder).len(), 2);
    }
}
