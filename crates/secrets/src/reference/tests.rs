use proptest::prelude::*;

use super::*;

#[test]
fn each_scheme_is_parsed_and_displayed() {
    for (text, shown) in [
        ("env:CLIENT_SECRET", "env:CLIENT_SECRET"),
        ("env:_x9", "env:_x9"),
        ("command:get-secret", "command:get-secret"),
        ("command:  pass show  a/b ", "command:pass .."),
        (r#"command:["a b", "c d", ""]"#, "command:a b .."),
        (
            r"command:C:\tools\get.exe x",
            r"command:C:\tools\get.exe ..",
        ),
        ("systemd:client-secret", "systemd:client-secret"),
        ("keychain:orders/me", "keychain:orders/me"),
        (
            "keychain:https://x.example/me",
            "keychain:https://x.example/me",
        ),
        (
            "vault:secret/orders/client#key",
            "vault:secret/orders/client#key",
        ),
        #[cfg(unix)]
        ("file:/run/secrets/client", "file:/run/secrets/client"),
        #[cfg(unix)]
        ("file:/with space:and colon", "file:/with space:and colon"),
        #[cfg(windows)]
        (r"file:C:\my secrets\client", r"file:C:\my secrets\client"),
        #[cfg(windows)]
        ("file:C:/secrets/client", "file:C:/secrets/client"),
        #[cfg(windows)]
        (r"file:\\server\share\client", r"file:\\server\share\client"),
    ] {
        let reference: SecretReference = text.parse().unwrap();
        assert_eq!(reference.to_string(), shown);
        assert_eq!(
            format!("{reference:?}"),
            format!("SecretReference({shown:?})")
        );
    }
}

#[test]
fn a_command_is_split_at_spaces_or_is_an_array() {
    let words = |text: &str| match text.parse::<SecretReference>().unwrap().0.place.clone() {
        SecretLocation::Command { program, arguments } => [vec![program], arguments].concat(),
        _ => panic!("not a command"),
    };
    assert_eq!(words("command:a  b\tc=d\\e"), ["a", "b", "c=d\\e"]);
    assert_eq!(
        words(r#"command: ["a b", "$c", "d\"e", ""]"#),
        ["a b", "$c", "d\"e", ""]
    );
}

/// Each holds the canary where a secret or a part of one could be.
#[test]
fn an_error_does_not_show_the_invalid_reference() {
    for (text, expect) in [
        ("CANARY", "not a secret reference"),
        ("", "not a secret reference"),
        ("CANARY:value", "not a secret reference"),
        ("ENV:CANARY", "not a secret reference"),
        ("http://CANARY.example", "not a secret reference"),
        (":CANARY", "not a secret reference"),
        ("env:", "name of a variable"),
        ("env:CANARY-x", "name of a variable"),
        ("env:9CANARY", "name of a variable"),
        ("env: CANARY", "name of a variable"),
        ("env:$CANARY", "name of a variable"),
        ("file:", "absolute path"),
        ("file:CANARY", "absolute path"),
        ("file:~/CANARY", "absolute path"),
        #[cfg(windows)]
        ("file:/run/CANARY", r"as in `file:C:\secrets\client`"),
        #[cfg(windows)]
        ("file:C:\\\tCANARY", "without tabs"),
        ("command:", "must be followed by a program"),
        ("command:   ", "must be followed by a program"),
        ("command:[]", "must be followed by a program"),
        ("command:[\"\"]", "must be followed by a program"),
        (
            "command:[\"CANARY\\u0000\"]",
            "must be followed by a program",
        ),
        ("command:[CANARY]", "JSON array"),
        ("command:[\"a\", 1, \"CANARY\"]", "JSON array"),
        ("command:echo \"CANARY\"", "shell"),
        ("command:echo $CANARY", "shell"),
        ("command:cat CANARY | head", "shell"),
        ("systemd:../CANARY", "name of a credential"),
        ("keychain:CANARY", "service and a user"),
        ("keychain:CANARY/", "service and a user"),
        ("vault:CANARY", "mount, a path and a field"),
        ("vault:CANARY/x", "mount, a path and a field"),
        ("vault:CANARY#x", "mount, a path and a field"),
        ("vault:a/../CANARY#x", "mount, a path and a field"),
        ("vault:a/CANARY#", "mount, a path and a field"),
    ] {
        let error = text.parse::<SecretReference>().unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expect), "{text}: {shown}");
        assert!(!shown.contains("CANARY"), "{text}: {shown}");
    }
}

#[test]
fn an_absolute_path_alone_is_a_file_reference() {
    let path = std::env::temp_dir().join("client-secret");
    let path = path.to_str().unwrap();
    let named = SecretReference::from_file(path).unwrap();
    assert!(named == format!("file:{path}").parse().unwrap());
    for path in ["CANARY", "./CANARY", "~/CANARY", "", "file:/CANARY"] {
        let error = SecretReference::from_file(path).unwrap_err().to_string();
        assert!(error.starts_with("the path is not absolute"), "{error}");
        assert!(
            !error.contains("CANARY") && !error.contains("file:"),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn equal_references_have_one_canonical_text() {
    let parse = |path: &str| format!("file:{path}").parse::<SecretReference>();
    let plain = parse("/a/b").unwrap();
    for same in ["/a/b", "//a/b", "/a//b", "/a/./b"] {
        let other = parse(same).unwrap();
        assert_eq!((&other, other.canonical()), (&plain, plain.canonical()));
        assert_eq!(other.to_string(), format!("file:{same}"));
    }
    for other in ["/a/c", "/a/B", "/a/c/../b"] {
        let other = parse(other).unwrap();
        assert_ne!(other, plain);
        assert_ne!(other.canonical(), plain.canonical());
    }
    // It compares as `/a/b`, and opens no file.
    for directory in ["/a/b/", "/a/b/.", "/a/..", "/"] {
        let error = parse(directory).unwrap_err().to_string();
        assert!(error.contains("the path of a file"), "{error}");
        assert!(SecretReference::from_file(directory).is_err());
    }
}

#[cfg(all(unix, feature = "command"))]
#[tokio::test]
async fn a_reference_sets_the_timeout_of_a_command() {
    let reference: SecretReference = "command:sleep 1000".parse().unwrap();
    let source = reference.command_timeout(Duration::ZERO).open().unwrap();
    let error = source.secret().await.unwrap_err();
    assert!(error.to_string().contains("within 0ns"), "{error}");
}

#[tokio::test]
async fn an_opened_reference_returns_its_secret() {
    let folder = crate::folder::Folder::new();
    let path = folder.write("secret", "from a file\n");
    for (text, expect) in [
        ("env:CARGO_PKG_NAME".to_owned(), "hallpass-secrets"),
        (format!("file:{}", path.display()), "from a file"),
    ] {
        let source = text.parse::<SecretReference>().unwrap().open().unwrap();
        assert_eq!(source.secret().await.unwrap().expose(), expect);
    }
}

#[test]
fn a_disabled_feature_is_named() {
    for (feature, on, text) in [
        ("command", cfg!(feature = "command"), "command:true"),
        ("keychain", cfg!(feature = "keychain"), "keychain:orders/me"),
        ("vault", cfg!(feature = "vault"), "vault:a/b#c"),
    ] {
        let opened = text.parse::<SecretReference>().unwrap().open();
        let named = opened.is_err_and(|error| {
            let name = format!("without the feature `{feature}`");
            error.to_string().contains(&name)
        });
        assert_eq!(named, !on, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_handled(text in "(env|file|command|systemd|keychain|vault)?:?\\PC{0,30}") {
        if let Ok(reference) = text.parse::<SecretReference>() {
            prop_assert!(text.contains(':'));
            let _ = reference.to_string();
        }
    }
}
