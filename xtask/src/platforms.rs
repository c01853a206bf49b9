//! `cargo xtask platforms`: checks the published crates for other operating systems.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use cargo_metadata::{Metadata, MetadataCommand, Package};
use xshell::{Shell, cmd};

const WINDOWS: &str = "x86_64-pc-windows-gnu";
const APPLE: &str = "aarch64-apple-darwin";
const FOLDER: &str = "target/platforms";

/// The DLL with the random numbers of Rust's standard library, which some versions of Wine lack. Wine prefers its own.
const PRNG: &str = "#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T length)
{ return SystemFunction036(bytes, (ULONG)length); }
";

pub(crate) fn run(shell: &Shell, tests: bool) -> anyhow::Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(crate::files::root().join("Cargo.toml"))
        .exec()?;
    let published: Vec<&Package> = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.publish.is_none())
        .collect();
    let packages: Vec<&str> = published
        .iter()
        .flat_map(|package| ["--package", &package.name])
        .collect();
    for target in [WINDOWS, APPLE] {
        println!("\n=== {target}");
        check(shell, target, &packages, &metadata)
            .with_context(|| format!("{target} was not checked, or has faults"))?;
    }
    if tests {
        println!("\n=== the tests, by Wine");
        run_tests(shell, &packages, &published)?;
    }
    Ok(())
}

fn check(
    shell: &Shell,
    target: &str,
    packages: &[&str],
    metadata: &Metadata,
) -> anyhow::Result<()> {
    let mut arguments = arguments(shell, target)?;
    let mut variables = ENVIRONMENT.to_vec();
    match target {
        WINDOWS => needs(shell, "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64")?,
        // The system has its own headers.
        _ if cfg!(target_vendor = "apple") => {}
        _ => {
            needs(shell, "clang", "clang")?;
            arguments.extend(without_c(metadata));
            variables.extend(WITHOUT_HEADERS);
        }
    }
    let check = cmd!(
        shell,
        "cargo clippy {arguments...} {packages...} --all-targets --all-features"
    );
    // The lint requires `const` even where it is present, on systems that emulate thread-local variables.
    let lints = [
        "-D",
        "warnings",
        "-A",
        "clippy::missing_const_for_thread_local",
    ];
    let check = check.arg("--").args(lints);
    Ok(check.envs(variables).run()?)
}

/// Runs the tests in Wine, which is not Windows: a pass is only an indication.
fn run_tests(shell: &Shell, packages: &[&str], published: &[&Package]) -> anyhow::Result<()> {
    needs(shell, "wine", "wine")?;
    let arguments = arguments(shell, WINDOWS)?;
    let folder = crate::files::root().join(FOLDER).join("wine");
    fs::create_dir_all(&folder)?;
    let (source, library) = (folder.join("prng.c"), folder.join("bcryptprimitives.dll"));
    fs::write(&source, PRNG)?;
    cmd!(
        shell,
        "x86_64-w64-mingw32-gcc -shared -o {library} {source} -ladvapi32"
    )
    .run()?;
    // The module of a hardware token is a library of the host system.
    let features = published.iter().flat_map(|package| {
        let names = package.features.keys();
        let names = names.filter(|name| !name.contains("pkcs11"));
        names.flat_map(|name| ["--features".to_owned(), format!("{}/{name}", package.name)])
    });
    let test = cmd!(
        shell,
        "cargo test {arguments...} {packages...} {features...} --no-fail-fast"
    );
    let test = test
        .envs(ENVIRONMENT)
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", "wine")
        .env("WINEPREFIX", folder.join("prefix"))
        .env("WINEPATH", &folder)
        .env("WINEDEBUG", "-all")
        .env_remove("DISPLAY");
    Ok(test.run()?)
}

/// Allows a stable compiler to build the standard library, and a build of aws-lc without its assembler.
const ENVIRONMENT: [(&str, &str); 2] =
    [("RUSTC_BOOTSTRAP", "1"), ("AWS_LC_SYS_PREBUILT_NASM", "1")];

/// The C code that is compiled for Apple's systems, for the benchmarks, is one function that needs only the compiler's
/// own headers.
const WITHOUT_HEADERS: [(&str, &str); 3] = [
    ("CC_aarch64_apple_darwin", "clang"),
    ("CFLAGS_aarch64_apple_darwin", "-ffreestanding"),
    ("SDKROOT", "/"),
];

/// A separate target directory: the variables above would cause everything else to be rebuilt.
fn arguments(shell: &Shell, target: &str) -> anyhow::Result<Vec<String>> {
    let sysroot = cmd!(shell, "rustc --print sysroot").quiet().read()?;
    let libraries = Path::new(&sysroot).join("lib/rustlib");
    let mut arguments: Vec<String> = ["--target", target, "--target-dir", FOLDER]
        .map(Into::into)
        .into();
    if libraries.join(target).join("lib").is_dir() {
        return Ok(arguments);
    }
    if !libraries.join("src/rust/library/Cargo.toml").is_file() {
        bail!(
            "there is no standard library for {target}: `rustup target add {target}`, or `rustup component add rust-src` to build it"
        );
    }
    println!("no standard library for {target} is installed: it is built from its source");
    arguments.push("-Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test".into());
    Ok(arguments)
}

fn needs(shell: &Shell, program: &str, package: &str) -> anyhow::Result<()> {
    let found = cmd!(shell, "{program} --version").quiet().ignore_stderr();
    found
        .read()
        .map(drop)
        .with_context(|| format!("`{program}` is missing; it is in Debian's package `{package}`"))
}

/// C code for Apple's systems requires Apple's headers. To check the Rust code, the build scripts that would compile C
/// are not run; their output is given here.
fn without_c(metadata: &Metadata) -> Vec<String> {
    let mut arguments = Vec::new();
    for links in metadata
        .packages
        .iter()
        .filter_map(|it| it.links.as_deref())
    {
        let lines: &[&str] = match links {
            _ if links.starts_with("ring_core_") => &["rustc-cfg=[]"],
            _ if links.starts_with("aws_lc_") && !links.ends_with("_sys") => {
                &["rustc-cfg=['aarch64_apple_darwin']", "include=''"]
            }
            _ => continue,
        };
        for line in lines {
            arguments.push("--config".to_owned());
            arguments.push(format!("target.{APPLE}.{links}.{line}"));
        }
    }
    arguments
}
