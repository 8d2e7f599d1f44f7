//! A driver's forms are made of one library, several of them with the same name: none is taken for another, whatever
//! was compiled in between.

use nook_build::compile::{self, Package};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a workspace with something in place of the SDK, two libraries and the program of one.
fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("forms");
    let _ = fs::remove_dir_all(&root);
    let write = |file: &str, text: &str| {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    let package = |name: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n{rest}")
    };
    let members = ["nook-sdk", "one", "two"];
    let excluded = ["programs"];
    write("Cargo.toml", &format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\nexclude = {excluded:?}\n"));
    write("nook-sdk/Cargo.toml", &package("nook-sdk", "[features]\ndomain = []\n"));
    let sdk = "#![cfg_attr(feature = \"domain\", no_std)]
        pub const MARK: &str = if cfg!(feature = \"domain\") { \"made for a domain\" } else { \"made for a program\" };
        #[cfg(feature = \"domain\")]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            loop {}
        }\n";
    write("nook-sdk/src/lib.rs", sdk);
    for name in ["one", "two"] {
        let rest = "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\n[dependencies]\nnook-sdk.path = \"../nook-sdk\"\n";
        write(&format!("{name}/Cargo.toml"), &package(name, rest));
        let lib = "#![no_std]\n#[unsafe(no_mangle)]\npub static FORM: &str = nook_sdk::MARK;\n";
        write(&format!("{name}/src/lib.rs"), lib);
    }
    // It is its own workspace, as those are that nook writes.
    let rest = "[workspace]\n\n[dependencies]\ntwo.path = \"../../two\"\n";
    write("programs/two-process/Cargo.toml", &package("two-process", rest));
    write("programs/two-process/src/main.rs", "fn main() {\n    println!(\"{}\", two::FORM);\n}\n");
    root
}

#[test]
fn an_object_for_a_domain_is_not_the_one_that_its_programs_build_makes_by_the_way() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let root = workspace();
    let package = |name: &str, dir: &str| Package {
        dir: root.clone(),
        manifest: root.join(dir).join("Cargo.toml"),
        name: name.into(),
        target_dir: root.join("target"),
    };
    let is_for_domain = |name: &str| {
        let object = fs::read(compile::domain_object(&package(name, "")).unwrap()).unwrap();
        object.windows(17).any(|bytes| bytes == b"made for a domain")
    };
    for round in 0..2 {
        assert!(is_for_domain("one"), "round {round}");
        compile::program(&package("two-process", "programs/two-process")).unwrap();
        assert!(is_for_domain("two"), "round {round}");
        // What both depend on changes; it is compiled for a domain first because of the other library.
        let sdk = root.join("nook-sdk/src/lib.rs");
        fs::write(&sdk, fs::read_to_string(&sdk).unwrap() + "// Changed.\n").unwrap();
    }
}
