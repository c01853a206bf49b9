//! `hallpass keygen`: keys that the library reads, in files that only the user can read.

use std::fs;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hallpass::jwt::{Algorithm, Signer as _, SigningKey};
use hallpass_testkit::leak;
use serde_json::Value;

use crate::support::{User, shown, stderr, stdout};

/// A private JWK with its own `kid`; the example of RFC 8037 appendix A.1.
const JWK: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"mine","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn written(user: &User, name: &str) -> String {
    fs::read_to_string(user.path(name)).unwrap()
}

/// Returns the only key of a printed set.
fn of_a_set(printed: &str) -> Value {
    let set: Value = serde_json::from_str(printed).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1, "{printed}");
    keys[0].clone()
}

// covers: C-49
#[test]
fn the_library_reads_the_generated_key() {
    let user = User::new();
    for (words, algorithm) in [
        ("", Algorithm::Es256),
        ("--algorithm es256", Algorithm::Es256),
        ("-a es384", Algorithm::Es384),
        ("-a eddsa", Algorithm::EdDsa),
        ("-a rs256 --bits 2048", Algorithm::Rs256),
        ("-a ps256 --bits 2048", Algorithm::Ps256),
    ] {
        let printed = user.prints(&format!("keygen {words} --force --out client.pem"));
        let key = SigningKey::from_pem(&written(&user, "client.pem")).unwrap();
        let key = key.with_algorithm(algorithm).unwrap();
        let key = key.with_thumbprint_as_key_id();
        let jwk = of_a_set(&printed);
        let expected: Value = serde_json::from_str(&key.public_jwk()).unwrap();
        assert_eq!(jwk, expected);
        assert_eq!(jwk["alg"], algorithm.name());
        assert_eq!(jwk["use"], "sig");
        assert_eq!(jwk["kid"].as_str(), key.key_id());
        // RFC 7518 section 6: the names of the private members.
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            assert!(jwk.get(private).is_none(), "{private}");
        }
    }
}

#[cfg(unix)]
#[test]
fn the_key_file_is_private_to_the_user() {
    use std::os::unix::fs::PermissionsExt as _;

    let user = User::new();
    let mode = || {
        let found = fs::metadata(user.path("client.pem")).unwrap();
        found.permissions().mode() & 0o777
    };
    user.prints("keygen -o client.pem");
    assert_eq!(mode(), 0o600);
    // A file that others can read is replaced by one that they cannot.
    fs::set_permissions(user.path("client.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    user.prints("keygen -o client.pem --force");
    assert_eq!(mode(), 0o600);
}

#[test]
fn the_public_key_of_an_existing_key_is_printed() {
    let user = User::new();
    let made = user.prints("keygen -a rs256 --bits 2048 -o client.pem");
    assert_eq!(user.prints("keygen --from client.pem"), made);
    let padded = of_a_set(&user.prints("keygen --from client.pem -a ps256"));
    assert_eq!(padded["alg"], "PS256");
    assert_eq!(padded["n"], of_a_set(&made)["n"]);

    let key = SigningKey::from_pem(&written(&user, "client.pem")).unwrap();
    let pem = user.prints("keygen --from client.pem --public pem");
    assert_eq!(pem, key.public_pem());

    fs::write(user.path("client.jwk"), JWK).unwrap();
    let jwk = of_a_set(&user.prints("keygen --from client.jwk"));
    assert_eq!(
        (&jwk["kid"], &jwk["alg"]),
        (&"mine".into(), &"EdDSA".into())
    );
}

#[test]
fn an_existing_key_is_replaced_only_with_force() {
    let user = User::new();
    user.prints("keygen -o client.pem");
    let first = written(&user, "client.pem");
    let run = user.run("keygen -o client.pem").code(1);
    assert!(
        stderr(&run).contains("client.pem already exists; "),
        "{}",
        stderr(&run)
    );
    assert_eq!(stdout(&run), "");
    assert_eq!(written(&user, "client.pem"), first);

    user.prints("keygen -o client.pem --force");
    assert_ne!(written(&user, "client.pem"), first);
    // The temporary file was removed.
    let names = fs::read_dir(user.path("")).unwrap();
    let left = names.filter(|name| {
        let name = name.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("client")
    });
    assert_eq!(left.count(), 1);
}

#[test]
fn only_regular_files_are_written() {
    let user = User::new();
    fs::create_dir(user.path("directory")).unwrap();
    for (words, code) in [
        ("-o directory", 1),
        ("-o directory --force", 1),
        ("-o nowhere/client.pem", 1),
        ("-o - --force", 2),
    ] {
        let run = user.run(&format!("keygen {words}")).code(code);
        assert_eq!(stdout(&run), "", "{words}");
    }
    assert!(!user.path("-").exists());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/dev/stdout", user.path("link")).unwrap();
        for path in ["link", "/dev/stdout", "/dev/tty"] {
            let run = user.run(&format!("keygen --force -o {path}")).code(1);
            assert_eq!(stdout(&run), "", "{path}");
        }
    }
}

#[test]
fn a_set_that_cannot_be_written_is_not_called_published() {
    let user = User::new();
    let run = user.run("keygen --rotate client.pem --jwks nowhere/client.jwks");
    let run = run.code(1);
    assert_eq!(stdout(&run), "");
    let says = stderr(&run);
    assert!(says.contains("create its directory first"), "{says}");
    assert!(!says.contains("is published"), "{says}");
    fs::create_dir(user.path("nowhere")).unwrap();
    let run = user.run("keygen --rotate client.pem --jwks nowhere/client.jwks");
    assert!(stderr(&run.code(0)).contains("is published"));
}

#[test]
fn conflicting_flags_are_exit_code_2() {
    let user = User::new();
    for words in [
        "",
        "-o client.pem --from client.pem",
        "--from client.pem --force",
        "--from client.pem --bits 2048",
        "-o client.pem --bits 2048",
        "-o client.pem -a rs256 --bits 1024",
        "-o client.pem -a rs256 --bits many",
        "-o client.pem -a hs256",
        "-o client.pem --public der",
    ] {
        let run = user.run(&format!("keygen {words}")).code(2);
        assert_eq!(stdout(&run), "", "{words}");
        assert!(!user.path("client.pem").exists(), "{words}");
    }
}

#[test]
fn files_without_a_private_key_are_errors() {
    let user = User::new();
    user.prints("keygen -o client.pem");
    let public = user.prints("keygen --from client.pem --public pem");
    fs::write(user.path("public.pem"), public).unwrap();
    fs::write(user.path("bytes"), [0xff; 64]).unwrap();
    for (words, says) in [
        ("missing.pem", "missing.pem cannot be read: "),
        ("bytes", "bytes cannot be read: "),
        ("public.pem", "has no private key"),
        ("client.pem -a rs256", "cannot sign with RS256"),
    ] {
        let run = user.run(&format!("keygen --from {words}")).code(3);
        assert!(stderr(&run).contains(says), "{}", stderr(&run));
    }
}

// covers: F-99, F-100, F-101
#[test]
fn no_part_of_the_private_key_is_printed() {
    let user = User::new();
    // The lines of the PEM text with private parts, and the position of the private number in the bytes.
    for (words, lines, number) in [
        ("-a es256", 1..3, 36..68),
        ("-a es384", 1..3, 35..83),
        ("-a eddsa", 1..2, 16..48),
        ("-a rs256 --bits 2048", 8..16, 336..384),
    ] {
        let run = user.run(&format!("keygen -vv --force -o client.pem {words}"));
        let pem = written(&user, "client.pem");
        fs::write(user.path("broken.pem"), pem.replace("END", "DNE")).unwrap();
        fs::write(user.path("cut.pem"), &pem[..pem.len() / 2]).unwrap();
        let runs = [
            run.success(),
            user.run("keygen -vv --from client.pem").success(),
            user.run("keygen -vv --from client.pem --public pem")
                .success(),
            user.run("keygen -vv -o client.pem").code(1),
            user.run("keygen -vv --from broken.pem").code(3),
            user.run("keygen -vv --from cut.pem").code(3),
        ];
        let all: Vec<&str> = pem.lines().collect();
        let der = BASE64_STANDARD.decode(all[1..all.len() - 1].concat());
        let number = BASE64_URL_SAFE_NO_PAD.encode(&der.unwrap()[number]);
        let private = all[lines].iter().copied().chain([&*number]);
        for canary in private {
            for run in &runs {
                leak::assert_clean(&shown(run), canary);
            }
        }
        // Positive control: the public part of the same key is found, and with the searched text the key is private.
        let mut jwk = of_a_set(&stdout(&runs[0]));
        let public = jwk["x"].as_str().or(jwk["n"].as_str()).unwrap();
        assert!(leak::find(&shown(&runs[1]), public).is_some());
        if jwk["kty"] != "RSA" {
            jwk["d"] = number.into();
            let read = SigningKey::from_jwk(&jwk.to_string()).unwrap();
            let key = SigningKey::from_pem(&pem).unwrap();
            assert_eq!(read.public_pem(), key.public_pem());
        }
    }
}

#[test]
fn a_rotated_key_is_published_before_it_is_used() {
    let user = User::new();
    let rotate = "keygen --rotate client.pem --jwks client.jwks";
    let printed = user.prints(rotate);
    let first = of_a_set(&printed);
    assert_eq!(written(&user, "client.jwks"), printed);
    assert_eq!(user.prints(rotate), printed);
    let both: Value = serde_json::from_str(&user.prints(&format!("{rotate} --now"))).unwrap();
    assert_eq!(both["keys"].as_array().unwrap().len(), 2);
    // The key in use is the published first one.
    let key = SigningKey::from_pem(&written(&user, "client.pem")).unwrap();
    let key = key.with_thumbprint_as_key_id();
    assert_eq!(first["kid"].as_str(), key.key_id());
    for (words, says) in [
        ("keygen --rotate client.pem", "--jwks"),
        ("keygen --jwks client.jwks --out other.pem", "--jwks"),
        (&format!("{rotate} --overlap 0"), "such as `10s`"),
        (&format!("{rotate} --now --every 1d"), "--every"),
        (&format!("{rotate} --out other.pem"), "--out"),
    ] {
        let run = user.run(words).code(2);
        assert!(stderr(&run).contains(says), "{words}: {}", stderr(&run));
    }
}
