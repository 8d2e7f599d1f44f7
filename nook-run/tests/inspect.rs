//! What `inspect` prints about the e1000 driver, held by a golden file, and where compiled modules are not kept.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::module::Module;
use support::{Place, assert_is_said, e1000};

/// Returns what differs from build to build and from machine to machine.
fn masked(text: &str) -> String {
    let mut counts = false;
    let mask = |line: &str| match line.split_whitespace().next() {
        _ if counts && line.starts_with("    ") => "    (a function)\n".to_owned(),
        // What the undo log takes depends on the compiler that built the driver.
        _ if counts => digits_masked(line) + "\n",
        Some("undo") => {
            counts = true;
            format!("{line}\n")
        }
        Some("file") => "file            (bytes, SHA-256)\n".to_owned(),
        Some("compiled") => "compiled for    (this machine)\n".to_owned(),
        _ => format!("{line}\n"),
    };
    text.lines().map(mask).collect()
}

/// Replaces each number by an N.
fn digits_masked(line: &str) -> String {
    let mut masked = String::new();
    for c in line.chars() {
        match c.is_ascii_digit() {
            true if masked.ends_with('N') => {}
            true => masked.push('N'),
            false => masked.push(c),
        }
    }
    masked
}

#[test]
fn inspect_prints_what_the_golden_file_has() {
    let place = Place::new();
    let ended = place.nook_run(["inspect", e1000().to_str().unwrap()]).end().with(0);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inspect.txt");
    let found = masked(&ended.stdout);
    if std::env::var_os("NOOK_BLESS").is_some() {
        fs::write(&file, &found).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(found, golden, "if that is right: NOOK_BLESS=1 cargo test --release -p nook-run --test inspect");
    assert_eq!(ended.stderr, "");
    assert!(place.names().is_empty(), "nothing of it was compiled or run: {:?}", place.names());
}

/// The guide promises "what the host sees in it, or why it refuses it".
#[test]
fn what_a_run_would_refuse_is_shown_and_refused_in_the_same_words() {
    for (what, module, beside, why) in [
        (
            "a register map that is not there",
            Module::with_line("registers", "registers = nowhere"),
            None,
            "the driver `crash-dummy` is written for the register map `nowhere`, and the built-in ones are e1000",
        ),
        ("a broken register map beside it", Module::default(), Some("?"), "driver.regs.toml"),
    ] {
        let place = Place::new();
        let file = place.file("driver.wasm", module.wasm());
        beside.map(|text| place.file("driver.regs.toml", text));
        let before = place.names();
        let ended = place.nook_run(["inspect", file.to_str().unwrap()]).end();
        assert_is_said(what, &ended, 1, &["this host would not run", "driver.wasm", why]);
        assert!(ended.stdout.starts_with("driver          crash-dummy 1"), "{what}: {}", ended.stdout);
        assert!(ended.stdout.ends_with("\nthis host       refuses it\n"), "{what}: {}", ended.stdout);
        assert_is_said(what, &place.nook_run([&file]).end(), 1, &[why]);
        assert_eq!(place.names(), before, "{what}");
    }
}

#[test]
fn what_no_entry_comes_to_and_what_nothing_undoes_is_named() {
    const IMPORTS: &str = r#"(import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))
        (import "nook" "dma_disable" (func $off (result i32)))
        (import "nook" "sleep_ns" (func $sleep (param i64)))
        (import "nook" "clock_ns" (func $clock (result i64)))"#;
    const POLL: &str = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) (call $finish) (i32.const 0))"#;
    // Nobody calls the second one.
    const MORE: &str = "(func $finish (drop (call $off)) (call $sleep (i64.const 1))) (func (drop (call $clock)))";
    let place = Place::new();
    let file =
        place.file("driver.wasm", Module { imports: IMPORTS, poll: POLL, more: MORE, ..Module::default() }.wasm());
    let told = place.nook_run(["inspect", file.to_str().unwrap()]).end().with(0).stdout;
    for line in [
        "\n  clock_ns        Never called: no entry comes to it. Nanoseconds of a monotonic clock",
        "\n  sleep_ns        Sleeps at least",
        "\n  poll            not after dma_disable: nothing undoes that\n",
        "\n  poll            not after sleep_ns, if it has written a register before\n",
        "\n  never           probe, remove, open, stop: they are no transactions\n",
        " of these registers: no entry comes to a hostcall of their width\n",
        "\n  never         no DMA: no entry comes to dma_enable\n",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(!told.contains("  irq             not"), "{told}");
}

const WAITS: Module = Module {
    imports: r#"(import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))
        (import "nook" "dma_alloc" (func $alloc (param i32 i32) (result i64)))
        (import "nook" "mmio_read32" (func $read (param i32 i32) (result i32)))"#,
    memory: r#"(memory (export "memory") 1)"#,
    entries: r#"(func (export "nook_remove")) (func (export "nook_stop") (result i32) (i32.const 0))
        (func (export "nook_open") (result i32) (drop (call $alloc (i32.const 64) (i32.const 64))) (i32.const 0))
        (func (export "nook_irq") (param i32) (result i32) (call $read (i32.const 0) (i32.const 8)))"#,
    poll: r#"(func (export "nook_poll") (param i32 i32 i32) (result i32)
        (if (local.get 2) (then (call $wait_done (i32.const 64)))) (i32.const 0))"#,
    probe: support::module::PROBE,
    more: r#"(func $wait_done (param $slot i32)
        (loop $again (br_if $again (i32.eqz (i32.and (i32.load offset=12 (local.get $slot)) (i32.const 1))))))"#,
    manifests: Vec::new(),
};

/// Both of a driver that forgot something, when it is looked at and when it runs.
#[test]
fn what_was_forgotten_and_what_waits_without_a_barrier_is_a_warning() {
    let place = Place::new();
    let module = Module { manifests: vec![support::module::MANIFEST.to_owned()], ..WAITS };
    let file = place.file("driver.wasm", module.wasm());
    let told = place.nook_run(["inspect", file.to_str().unwrap()]).end().with(0).stdout;
    for part in [
        "\nwarning         the driver allocates DMA memory and never calls `dma_enable`",
        "\nwarning         the driver has an `irq` that looks at its device and never calls `irq_enable`",
        "\nwarning         wait_done waits for memory to change and reads it by plain loads",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let log = place.nook_run([file.to_str().unwrap(), "--duration", "50ms"]).end().with(0).stderr;
    for call in ["dma_enable", "irq_enable"] {
        let says = |line: &&str| line.contains("WARN") && line.contains(&format!("never calls `{call}`"));
        assert_eq!(log.lines().filter(says).count(), 1, "{log}");
    }
}

#[test]
fn a_region_that_there_is_no_room_for_is_said_with_the_manifests_key() {
    let place = Place::new();
    let entries = Box::leak(
        WAITS.entries.replace("(i32.const 64) (i32.const 64)", "(i32.const 8192) (i32.const 64)").into_boxed_str(),
    );
    let module = Module { entries, manifests: vec![support::module::MANIFEST.to_owned()], ..WAITS };
    let file = place.file("driver.wasm", module.wasm());
    let log = place.nook_run([file.to_str().unwrap(), "--duration", "50ms"]).end().with(0).stderr;
    let says =
        "WARN no DMA region: of 4096 bytes, 0 are given out, and there is no place for 8192 more: raise `dma_bytes`";
    assert!(log.contains(says), "{log}");
}

/// Those of the repository, and of DPDK and Linux where they were built.
#[test]
fn no_driver_that_works_has_a_warning() {
    let files = fs::read_dir(e1000().parent().unwrap()).unwrap().map(|file| file.unwrap().path());
    let modules: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "wasm")).collect();
    assert!(modules.len() >= 8, "{modules:?}");
    // One has no device, and one is there to be compiled: no device ever sees its memory.
    let is_driver = |path: &&PathBuf| !path.ends_with("filter.wasm") && !path.ends_with("access.wasm");
    for module in modules.iter().filter(is_driver) {
        assert_eq!(nook_run::inspect::warnings(module).unwrap(), "", "{}", module.display());
    }
}

#[test]
fn the_level_at_which_a_run_begins_is_printed() {
    const WASI: &str = r#"(import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    for (module, says) in [
        (Module::default(), "\nthis host       runs it at sfi+txn\n"),
        (
            Module { imports: WASI, ..Module::default() },
            "\nthis host       runs it at sfi, with --wasi: it was built for WASI\n",
        ),
    ] {
        let place = Place::new();
        let file = place.file("driver.wasm", module.wasm());
        let told = place.nook_run(["inspect", file.to_str().unwrap()]).end().with(0).stdout;
        assert!(told.ends_with(says), "{told}");
    }
}

#[test]
fn a_cache_that_others_can_write_to_is_not_used() {
    let place = Place::new();
    let folder = place.at("cache/nook");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let run = [e1000().to_str().unwrap().to_owned(), "--duration".into(), "50ms".into()];
    let ended = place.nook_run(run).env("XDG_CACHE_HOME", place.at("cache")).end().with(0);
    assert!(ended.stderr.contains("WARN compiled modules are not kept in"), "{}", ended.stderr);
    assert!(ended.stderr.contains("or others can write to it"), "{}", ended.stderr);
    assert!(place.names().is_empty(), "{:?}", place.names());
}
