//! Drivers whose crates are in no folder of nook's: `nook-run build` makes their files, and they run with nothing of
//! nook changed.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Asked, Place, assert_is_said, repository};

/// Returns a driver's Cargo.toml, with this library and these dependencies.
fn manifest(name: &str, library: &str, dependencies: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.3.0\"\nedition = \"2024\"\nlicense = \"Apache-2.0\"\n\n[lib]\n\
         {library}\n\n[dependencies]\n{dependencies}\n[profile.dev]\nopt-level = 2\n"
    )
}

const BOTH: &str = "crate-type = [\"cdylib\", \"rlib\"]";

/// Names a dependency on a crate in nook's repository.
fn nook(name: &str, dir: &str) -> String {
    format!("{name} = {{ path = {:?} }}\n", repository().join(dir))
}

fn sdk() -> String {
    nook("nook-sdk", "driver-sdk")
}

/// Puts a crate into a folder of this name.
fn package(place: &Place, name: &str, manifest: &str, library: &str) -> PathBuf {
    let dir = place.at(name);
    fs::create_dir_all(dir.join("src")).unwrap();
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    fs::write(dir.join("src/lib.rs"), library).unwrap();
    dir
}

/// Builds the crate in `own`, with the files for `out` in the same place.
fn build(place: &Place) -> Asked {
    place.nook_run(["build", "own", "--out", "out/of/it"]).with_cargo()
}

/// Copies the crates of the e1000 driver and its map out of the repository; they look for nook where it is.
fn copied_e1000(place: &Place) {
    for (from, to) in [("drivers/e1000-wasm/src", "own/src"), ("hw/e1000-regs/src", "map/src")] {
        fs::create_dir_all(place.at(to)).unwrap();
        for file in fs::read_dir(repository().join(from)).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), place.at(to).join(file.file_name())).unwrap();
        }
    }
    let own = sdk() + "e1000-regs = { path = \"../map\" }\n";
    place.file("own/Cargo.toml", manifest("my-e1000", BOTH, &own));
    place.file("map/Cargo.toml", manifest("e1000-regs", "", &nook("nook-regs", "hw/regs")));
}

/// Changes a text in a file, which must have it.
fn change(place: &Place, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(place.at(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(place.at(file), text.replace(from, to)).unwrap();
}

/// Runs a driver at this level of isolation, with these options besides, and says how many of 100 pings were answered.
fn pings(place: &Place, driver: &Path, isolation: &str, more: &[&str]) -> Value {
    let args = ["--isolation", isolation, "--exercise", "ping", "--json", "report.json"];
    let args = args.iter().chain(more).map(AsRef::as_ref);
    let ended = place.nook_run([driver.as_os_str()].into_iter().chain(args)).end();
    assert_eq!(ended.code(), 0, "{isolation}: {}", ended.stderr);
    let report: Value = serde_json::from_slice(&fs::read(place.at("report.json")).unwrap()).unwrap();
    assert_eq!(report["isolation"], isolation);
    report["exercise"]["ping"]["received"].clone()
}

const LEVELS: [&str; 5] = ["native", "wrapped", "sfi", "sfi+txn", "process"];

#[test]
fn a_driver_in_a_separate_repository_runs_at_every_level_of_isolation() {
    let place = Place::new();
    copied_e1000(&place);
    // Another card of the family, 8086:100c, which neither nook's driver nor its map knows.
    change(&place, "own/src/lib.rs", "8086:100e ", "8086:100c 8086:100e ");
    let known = "Chip { device: DEVICE_82540EM, name: \"82540EM\", wrong: &QEMU_PCI, ..PCI },";
    let both = format!("{known}\n    Chip {{ device: 0x100c, name: \"82544GC\", ..PCI }},");
    change(&place, "own/src/chip.rs", "[Chip; 3]", "[Chip; 4]");
    change(&place, "own/src/chip.rs", known, &both);
    let built = build(&place).end().with(0);
    let files = ["out/of/it/e1000.elf", "out/of/it/e1000.mpk", "out/of/it/e1000.so", "out/of/it/e1000.wasm"];
    let names = place.names();
    assert_eq!(names.iter().filter(|name| name.starts_with("out/")).collect::<Vec<_>>(), files.each_ref());
    assert!(files.iter().all(|file| built.stdout.contains(file)), "{}", built.stdout);
    let driver = Path::new("out/of/it/e1000.wasm");
    let other = ["--qemu", "e1000-82544gc"];
    let refused = place.nook_run([&[driver.to_str().unwrap()], &other[..]].concat()).end();
    assert_is_said("the built-in map", &refused, 1, &["the register map `e1000` is for 8086:100e", "a map that names"]);
    let map = place.nook_run(["map", "export", "e1000"]).end().with(0).stdout;
    place.file("82544gc.regs.toml", map);
    change(&place, "82544gc.regs.toml", "\"8086:100e\"", "\"8086:100c\"");
    let other = [&other[..], &["--registers", "82544gc.regs.toml"]].concat();
    // What the loader would not take, it refuses before it looks for protection keys.
    match nook_mpk::supported() {
        Ok(()) => assert_eq!(pings(&place, driver, "mpk", &[]), 100),
        Err(why) => {
            let refused = place.nook_run([driver.to_str().unwrap(), "--isolation", "mpk", "--exercise", "ping"]).end();
            assert_is_said("mpk", &refused, 1, &[&why.to_string()]);
        }
    }
    for isolation in LEVELS {
        assert_eq!(pings(&place, driver, isolation, &[]), 100, "{isolation}");
        assert_eq!(pings(&place, driver, isolation, &other), 100, "{isolation}, another card");
    }
}

/// Returns what a driver's crate has in `.cargo/config.toml`, as the guide says it.
fn configuration() -> String {
    let guide = fs::read_to_string(repository().join("docs/writing-a-driver.md")).unwrap();
    let blocks = guide.split("```toml\n").skip(1).filter_map(|block| block.split("```").next());
    let block = blocks.into_iter().find(|block| block.contains("rustflags")).expect("the guide's flags");
    block.to_owned()
}

#[test]
fn plain_cargo_builds_the_same_driver_and_without_atomics_it_is_refused() {
    let place = Place::new();
    copied_e1000(&place);
    if !has_library(&place) {
        eprintln!("left out: the active rustc has no library for wasm32-unknown-unknown");
        return;
    }
    let cargo = || {
        let args = ["build", "--quiet", "--target", "wasm32-unknown-unknown", "--target-dir", "target"];
        let mut asked = place.command("cargo", args).with_cargo();
        asked.command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").current_dir(place.at("own"));
        asked
    };
    cargo().end().with(0);
    let module = place.at("own/target/wasm32-unknown-unknown/debug/my_e1000.wasm");
    let refused = place.nook_run([&module]).end();
    assert_is_said("without", &refused, 1, &["no atomic instruction", "+atomics,+bulk-memory", ".cargo/config.toml"]);

    fs::create_dir(place.at("own/.cargo")).unwrap();
    place.file("own/.cargo/config.toml", configuration());
    cargo().end().with(0);
    for isolation in ["sfi", "sfi+txn"] {
        assert_eq!(pings(&place, &module, isolation, &[]), 100, "{isolation}");
    }
}

fn has_library(place: &Place) -> bool {
    let args = ["--print", "target-libdir", "--target", "wasm32-unknown-unknown"];
    let asked = place.command("rustc", args).with_cargo().end();
    let found = fs::read_dir(asked.stdout.trim());
    found.is_ok_and(|files| files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-")))
}

const PLAIN: &str = "#![cfg_attr(target_arch = \"wasm32\", no_std)]\n";

#[test]
fn what_is_no_drivers_crate_is_refused_and_nothing_is_left_of_it() {
    let older = "[package.metadata.nook]\nbeginning = \"000000000000\"\n";
    let older = || Some(manifest("own", BOTH, "") + older);
    let no_macro = "pub fn add(a: u32, b: u32) -> u32 { a + b }\n";
    let cases = [
        ("no folder", None, "there is no folder"),
        ("no Cargo.toml", Some(String::new()), "has no Cargo.toml: name the folder of a driver's crate"),
        ("a broken Cargo.toml", Some("[package\n".into()), "Cargo.toml:1"),
        ("a workspace", Some("[workspace]\n".into()), "The manifest is virtual"),
        ("no cdylib", Some(manifest("own", "", &sdk())), "put `crate-type = [\"cdylib\", \"rlib\"]` under [lib]"),
        ("no SDK", Some(manifest("own", BOTH, "")), "it does not depend on nook-sdk"),
        ("an older project", older(), "the project was made by another version of `nook-run new` than this"),
        ("what is wrong with that", older(), "it does not depend on nook-sdk"),
        ("no macro", Some(manifest("own", BOTH, &sdk())), "`nook_driver!` (or `nook_filter!`) is not in its lib.rs"),
    ];
    for (what, manifest, says) in cases {
        let place = Place::new();
        if let Some(manifest) = manifest {
            package(&place, "own", &manifest, no_macro);
            if manifest.is_empty() {
                fs::remove_file(place.at("own/Cargo.toml")).unwrap();
            }
        }
        assert_is_said(what, &build(&place).end(), 1, &[says]);
        assert!(!place.at("out").exists(), "{what}: {:?}", place.names());
    }
}

#[test]
fn what_the_compiler_says_of_a_drivers_crate_is_shown() {
    let place = Place::new();
    package(&place, "own", &manifest("own", BOTH, &sdk()), &format!("{PLAIN}fn odd() -> u32 {{ \"text\" }}\n"));
    let ended = build(&place).end();
    assert_is_said("a type", &ended, 1, &["error[E0308]: mismatched types", "src/lib.rs:2", "`cargo rustc"]);
    assert!(!place.at("out").exists(), "{:?}", place.names());
}

#[test]
fn a_machine_that_cannot_compile_for_wasm_learns_what_mends_it() {
    let place = Place::new();
    package(&place, "own", &manifest("own", BOTH, &sdk()), PLAIN);
    let rustc = place
        .file("rustc", "#!/bin/sh\ncase \"$*\" in *target-libdir*) echo /nowhere ;; *) exec rustc \"$@\" ;; esac\n");
    fs::set_permissions(&rustc, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let asked = build(&place).env("RUSTC", &rustc).env("NOOK_WASM_TOOLCHAIN", "rustup");
    let says =
        ["the active rustc has no library for wasm32-unknown-unknown", "rustup target add wasm32-unknown-unknown"];
    // Each remedy is on a separate line.
    let ended = asked.end().with(1);
    assert!(says.iter().all(|part| ended.stderr.contains(part)), "{}", ended.stderr);
    assert!(!place.at("out").exists(), "{:?}", place.names());
}

#[test]
fn a_folder_in_which_no_file_can_be_made_is_refused_before_anything_is_compiled() {
    let place = Place::new();
    package(&place, "own", &manifest("own", BOTH, &sdk()), PLAIN);
    place.file("out", "a file");
    let ended = build(&place).end();
    assert_is_said("a file", &ended, 1, &["cannot make files in out/of/it", "--out"]);
    assert!(!ended.stderr.contains("compiling"), "{}", ended.stderr);
    let ended = place.nook_run(["build", "own", "--out", "/proc/nook"]).with_cargo().end();
    assert_is_said("no place for files", &ended, 1, &["cannot make files in /proc/nook", "--out"]);
}
