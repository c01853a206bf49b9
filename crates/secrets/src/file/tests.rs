use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use hallpass_core::SecretStore as _;
use hallpass_testkit::{ManualClock, leak};

use super::*;
use crate::folder::Folder;

async fn fails(source: &FileSecret) -> String {
    let error = source.secret().await.unwrap_err();
    let shown = leak::error_chain(&error);
    leak::assert_clean(&shown, "CANARY");
    let path = source.path().display().to_string();
    assert!(shown.contains(&path), "{shown}");
    error.to_string()
}

// covers: F-105, F-108, F-109
#[tokio::test]
async fn an_unreadable_file_is_reported_with_its_path() {
    let folder = Folder::new();
    let missing = FileSecret::new(folder.path().join("missing"));
    assert!(fails(&missing).await.contains("is missing"));
    let unmounted = FileSecret::new(folder.path().join("no/such/directory"));
    assert!(fails(&unmounted).await.contains("is missing"));
    let empty = FileSecret::new(folder.write("empty", "\n"));
    assert!(fails(&empty).await.contains("is empty"));
    let long = FileSecret::new(folder.write("long", "CANARY".repeat(20_000)));
    assert!(fails(&long).await.contains("more than 65536 bytes"));
    let odd = FileSecret::new(folder.write("odd", b"CANARY\xff"));
    assert!(fails(&odd).await.contains("not valid UTF-8"));
    let directory = FileSecret::new(folder.path());
    assert!(fails(&directory).await.contains("not a regular file"));
}

// covers: F-107
#[tokio::test]
async fn files_of_windows_powershell_are_read_or_reported() {
    let folder = Folder::new();
    let utf8 = folder.write("utf8", "\u{feff}s3cr3t\r\n");
    let secret = FileSecret::new(utf8).secret().await.unwrap();
    assert_eq!(secret.expose(), "s3cr3t");
    let utf16: Vec<u8> = "\u{feff}CANARY\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let redirected = FileSecret::new(folder.write("utf16", utf16));
    assert!(fails(&redirected).await.contains("save it again as UTF-8"));
}

/// Windows, where one program can lock a file against others.
#[cfg(windows)]
mod windows {
    use std::{fs::OpenOptions, os::windows::fs::OpenOptionsExt as _, thread, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_locked_file_is_retried_and_then_reported() {
        let folder = Folder::new();
        let path = folder.write("secret", "first\n");
        let source = FileSecret::new(&path);
        let keep = || OpenOptions::new().read(true).share_mode(0).open(&path);
        let keep_for_a_moment = || {
            let kept = keep().unwrap();
            thread::spawn(|| {
                thread::sleep(Duration::from_millis(50));
                drop(kept);
            })
        };
        let kept = keep_for_a_moment();
        assert_eq!(source.secret().await.unwrap().expose(), "first");
        kept.join().unwrap();
        let kept = keep_for_a_moment();
        source.save(&Secret::new("CANARY").unwrap()).await.unwrap();
        kept.join().unwrap();

        let kept = keep().unwrap();
        assert!(fails(&source).await.contains("os error 32"));
        let saved = source.save(&Secret::new("lost").unwrap()).await;
        let error = saved.unwrap_err().to_string();
        assert!(error.contains("cannot be"), "{error}");
        drop(kept);
        assert_eq!(source.secret().await.unwrap().expose(), "CANARY");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    // covers: F-105
    #[tokio::test]
    async fn directories_fifos_and_devices_are_refused_without_blocking() {
        let folder = Folder::new();
        let fifo = folder.fifo("fifo");
        for path in [folder.path(), &fifo, Path::new("/dev/zero")] {
            let error = fails(&FileSecret::new(path)).await;
            assert!(error.contains("not a regular file"), "{error}");
        }
    }

    // covers: F-112
    #[tokio::test]
    async fn a_world_accessible_file_is_logged_once_or_refused() {
        let folder = Folder::new();
        let path = folder.write("secret", "CANARY\n");
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let capture = leak::Capture::start();
        let source = FileSecret::new(&path);
        let strict = FileSecret::new(&path).strict();
        for quiet in [0o600, 0o640, 0o400] {
            mode(quiet);
            // On this thread, since the capture sees no other one.
            source.0.reread().unwrap();
            strict.0.reread().unwrap();
        }
        assert!(!capture.text().contains("everyone"), "{}", capture.text());
        for open in [0o644, 0o604, 0o602] {
            mode(open);
            for _ in 0..3 {
                source.0.reread().unwrap();
            }
            let error = fails(&strict).await;
            assert!(error.contains(&format!("has mode {open:04o}")), "{error}");
        }
        let text = capture.text();
        assert_eq!(
            text.matches("secret file accessible to every user").count(),
            1
        );
        assert!(
            text.contains("WARN") && text.contains("mode=0644"),
            "{text}"
        );
        assert!(text.contains(&format!("path={path:?}")), "{text}");
        leak::assert_clean(&text, "CANARY");
    }

    /// A volume as mounted by Kubernetes: `secret -> ..data/secret`, `..data -> ..1`, the secret in `..1`.
    struct Volume(Folder);

    impl Volume {
        fn new() -> Self {
            let volume = Self(Folder::new());
            volume.swap(0);
            symlink("..data/secret", volume.path()).unwrap();
            volume
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("secret")
        }

        /// Writes a new directory, renames the link to point at it, and removes the old one, as the kubelet does.
        fn swap(&self, generation: usize) {
            let root = self.0.path();
            fs::create_dir(root.join(format!("..{generation}"))).unwrap();
            // Long enough that a partial read would be noticed.
            let content = format!("{generation}-").repeat(1_000);
            self.0.write(&format!("..{generation}/secret"), content);
            symlink(format!("..{generation}"), root.join("..data_tmp")).unwrap();
            fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
            if let Some(before) = generation.checked_sub(1) {
                fs::remove_dir_all(root.join(format!("..{before}"))).unwrap();
            }
        }
    }

    // covers: F-111, I-10
    #[test]
    fn a_volume_replaced_during_reads_is_read_consistently() {
        const READINGS: usize = 500;
        let volume = Volume::new();
        let source = FileSecret::new(volume.path());
        // One swap per reading, at some point within it: the reader signals the start.
        let begun = AtomicUsize::new(0);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for generation in 1..=READINGS {
                    while begun.load(Ordering::SeqCst) < generation {
                        std::hint::spin_loop();
                    }
                    volume.swap(generation);
                }
            });
            for reading in 1..=READINGS {
                begun.store(reading, Ordering::SeqCst);
                let secret = source.0.read().unwrap();
                let number = secret.expose().split('-').next().unwrap();
                assert_eq!(secret.expose(), format!("{number}-").repeat(1_000));
            }
        });
        assert!(source.0.read().unwrap().expose().starts_with("500-"));
    }
}

// covers: F-110
#[tokio::test]
async fn a_new_secret_is_read_at_the_next_call_and_raises_the_epoch() {
    let folder = Folder::new();
    let source = FileSecret::new(folder.write("secret", "first"));
    assert_eq!(source.epoch(), 0);
    for (content, epoch) in [
        ("first", 0),
        ("first\n", 0),
        // As long as the one before, and within the same tick of the file system's clock.
        ("secon", 1),
        ("third", 2),
        ("third\r\n", 2),
        ("first", 3),
    ] {
        folder.replace("secret", content);
        let secret = source.secret().await.unwrap();
        assert_eq!(secret.expose(), content.trim_end());
        assert_eq!(source.epoch(), epoch, "{content}");
    }
    fs::remove_file(source.path()).unwrap();
    source.secret().await.unwrap_err();
    assert_eq!(source.epoch(), 3);
    // A restored file may have the old content: it ends a cached failure all the same.
    folder.replace("secret", "first");
    source.secret().await.unwrap();
    assert_eq!(source.epoch(), 4);
}

/// Asks for the epoch, and waits for the read that it may trigger.
async fn looked(source: &FileSecret) -> u64 {
    source.epoch();
    while source.0.turn.try_take().is_none() {
        tokio::task::yield_now().await;
    }
    source.0.last().epoch
}

// covers: F-98
#[tokio::test]
async fn the_epoch_check_rereads_the_file_at_intervals() {
    let folder = Folder::new();
    let clock = ManualClock::new();
    let source = FileSecret::new(folder.write("secret", "first")).clock(clock.clone());
    // Before the first read there is nothing to compare with.
    clock.advance(Duration::from_secs(9));
    looked(&source).await;
    assert!(matches!(source.0.last().reading, Reading::None));

    source.secret().await.unwrap();
    folder.replace("secret", "second");
    clock.advance(Duration::from_millis(999));
    assert_eq!(looked(&source).await, 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(looked(&source).await, 1);
    folder.replace("secret", "third");
    assert_eq!(looked(&source).await, 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(looked(&source).await, 2);
}

/// With an unresponsive network file system, the process has threads left.
#[test]
fn a_hanging_mount_uses_one_thread_and_times_out() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(2)
        .build()
        .unwrap();
    let folder = Folder::new();
    let path = folder.write("secret", "s3cr3t");
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (gate, opened) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
    let opens = opened.clone();
    let clock = ManualClock::new();
    let source = FileSecret::new(&path).clock(clock.clone());
    let source = source.change(|settings| {
        settings.open = Arc::new(move |path| {
            // The first read responds.
            if opens.fetch_add(1, Ordering::SeqCst) > 0 {
                let _ = gate.lock().unwrap().recv();
            }
            RegularFile::open(path)
        });
    });
    runtime.block_on(async {
        source.secret().await.unwrap();
        for _ in 0..100 {
            let call = tokio::spawn({
                let source = source.clone();
                async move { source.secret().await.is_ok() }
            });
            tokio::task::yield_now().await;
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            clock.advance(Duration::from_secs(1));
            source.epoch();
        }
        tokio::task::spawn_blocking(|| ()).await.unwrap();

        let save = tokio::spawn({
            let source = source.clone();
            async move { source.save(&Secret::new("CANARY").unwrap()).await }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(FILE_TIMEOUT).await;
        let error = save.await.unwrap().unwrap_err();
        let shown = format!(
            "the secret file `{}` did not respond within 10s",
            path.display()
        );
        assert_eq!(error.to_string(), shown);
        assert!(error.is_local() && error.is_transient());

        drop(release);
        assert_eq!(source.secret().await.unwrap().expose(), "s3cr3t");
        assert_eq!(opened.load(Ordering::SeqCst), 3);
    });
}

// covers: F-99
#[tokio::test]
async fn debug_shows_the_path_and_no_secret() {
    let folder = Folder::new();
    let source = FileSecret::new(folder.write("secret", "CANARY"));
    let secret = source.secret().await.unwrap();
    assert!(leak::find(secret.expose(), "CANARY").is_some());
    let shown = format!("{source:?} {source:#?} {secret:?}");
    leak::assert_clean(&shown, "CANARY");
    assert!(
        shown.contains("secret") && shown.contains("strict: false"),
        "{shown}"
    );
}

/// Without a runtime, the file is read on the caller's thread.
#[test]
fn the_file_can_be_read_without_a_runtime() {
    let folder = Folder::new();
    let source = FileSecret::new(folder.write("secret", "s3cr3t"));
    let mut future = std::pin::pin!(source.secret());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(secret) = future.as_mut().poll(&mut context) else {
        panic!("it waits");
    };
    assert_eq!(secret.unwrap().expose(), "s3cr3t");
    assert_eq!(source.epoch(), 0);
}
