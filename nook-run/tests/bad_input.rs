//! What nook-run does with what it cannot use: it says what is wrong and what to do, ends with a status that says so,
//! and leaves nothing behind.

mod support;

use std::fs;

use support::module::{MANIFEST, Module};
use support::{Place, assert_is_said, e1000, has_interface};

/// A file that is not a driver, and the parts of the message about it: what is wrong, and what to do.
struct Unfit {
    what: &'static str,
    bytes: Vec<u8>,
    says: [&'static str; 2],
}

fn unfit_files() -> Vec<Unfit> {
    let file = |what, bytes: &[u8], says| Unfit { what, bytes: bytes.to_owned(), says };
    let module = |what, module: Module, says| Unfit { what, bytes: module.wasm(), says };
    let sdk = "rebuild the driver with this host's SDK";
    let guide = "docs/writing-a-driver.md";
    let driver = fs::read(e1000()).expect("the driver");
    vec![
        file("an empty file", b"", ["the file is empty", guide]),
        file("an ELF file", b"\x7fELF\x02\x01\x01", ["it is an ELF file", guide]),
        file("a text", b"#!/bin/sh\n", ["it begins with [23, 21, 2f, 62]", guide]),
        file("a driver that was cut off", &driver[..driver.len() / 2], ["not a valid WebAssembly module", guide]),
        file("a component", b"\0asm\x0d\0\x01\0", ["a WebAssembly component", "a driver is a core module"]),
        module(
            "an import that no host has",
            Module { imports: r#"(import "nook" "teleport" (func))"#, probe: NO_PROBE, ..Module::default() },
            ["imports `nook.teleport`, which this host (ABI 1.0) does not have", sdk],
        ),
        module(
            "an import from another world",
            Module { imports: r#"(import "env" "memcpy" (func))"#, probe: NO_PROBE, ..Module::default() },
            ["imports `env.memcpy`", sdk],
        ),
        module(
            "an import whose name would clear the terminal",
            Module { imports: r#"(import "nook" "\1b[2J" (func))"#, probe: NO_PROBE, ..Module::default() },
            [r"imports `nook.\u{1b}[2J`", sdk],
        ),
        module(
            "an imported memory",
            Module {
                imports: r#"(import "nook" "memory" (memory 1))"#,
                memory: "",
                probe: NO_PROBE,
                ..Module::default()
            },
            ["imports the memory `nook.memory`", "a driver imports functions only"],
        ),
        module(
            "an import of WASI",
            Module {
                imports: r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#,
                probe: NO_PROBE,
                ..Module::default()
            },
            ["imports `wasi_snapshot_preview1.fd_write`: built for WASI", "--wasi"],
        ),
        module(
            "an import with another signature",
            Module {
                imports: r#"(import "nook" "mmio_flush" (func (param i64)))"#,
                probe: NO_PROBE,
                ..Module::default()
            },
            ["import `mmio_flush` has type", sdk],
        ),
        module(
            "a hint with another signature",
            Module { imports: HINT_OF_TWO, probe: NO_PROBE, ..Module::default() },
            ["import `store64` has type", sdk],
        ),
        module(
            "a hint that no host has",
            Module { imports: r#"(import "nook_hint" "store4" (func))"#, probe: NO_PROBE, ..Module::default() },
            ["imports `nook_hint.store4`, which this host (ABI 1.0) does not have", sdk],
        ),
        module(
            "a hint in a table",
            Module {
                imports: r#"(import "nook_hint" "store64" (func (param i32 i64 i32)))"#,
                probe: NO_PROBE,
                more: "(table 1 funcref) (elem (i32.const 0) func 0)",
                ..Module::default()
            },
            ["takes its address: it is an instruction and no function", "docs/abi.md has the hints"],
        ),
        module(
            "an entry with another signature",
            Module { poll: r#"(func (export "nook_poll"))"#, ..Module::default() },
            ["export `nook_poll` has type", sdk],
        ),
        module(
            "a function with more local variables than any driver's",
            Module { more: Box::leak(format!("(func (local{}))", " i32".repeat(9000)).into()), ..Module::default() },
            ["has 9000 local variables; a driver's has at most 8192", "divide it into smaller parts"],
        ),
        module(
            "no manifest",
            Module { manifests: vec![], ..Module::default() },
            ["no `nook.manifest` section: not a nook driver", "nook_driver! macro writes it"],
        ),
        module(
            "two manifests",
            Module { manifests: vec![MANIFEST.into(), MANIFEST.into()], ..Module::default() },
            ["more than one `nook.manifest` section", "keep one"],
        ),
        module(
            "a class that nook does not have",
            Module::with_line("class", "class = sound"),
            ["has class = \"sound\", which should be one of net filter misc block", "docs/writing-a-driver.md"],
        ),
        module(
            "a manifest with an unknown key",
            Module::with_line("license", "license = MIT\ncolour = red"),
            ["the manifest has the unknown key \"colour\"", guide],
        ),
        module(
            "a manifest without a name",
            Module::with_line("name", ""),
            ["the manifest lacks the key \"name\"", "docs/abi.md#manifest has every key"],
        ),
        module(
            "a manifest with a PCI id that is none",
            Module::with_line("pci", "pci = e1000"),
            ["has pci = \"e1000\", which should be vendor:device ids such as 8086:100e", guide],
        ),
        module(
            "a manifest that is not text",
            Module { manifests: vec!["\u{1b}[2J".into()], ..Module::default() },
            ["the manifest is not plain UTF-8 text", guide],
        ),
        module(
            "another ABI",
            Module::with_line("abi", "abi = 9.0"),
            ["built for nook ABI 9.0, this host runs drivers for 1.0 to 1.0 only", "use a newer nook-run"],
        ),
        module(
            "a newer ABI",
            Module::with_line("abi", "abi = 1.999"),
            ["built for nook ABI 1.999, this host runs drivers for 1.0 to 1.0 only", "use a newer nook-run"],
        ),
        // Whatever else it has that this host does not know: what is to be done is said first.
        module(
            "a newer ABI with a hostcall of it",
            Module {
                imports: r#"(import "nook" "teleport" (func))"#,
                probe: NO_PROBE,
                ..Module::with_line("abi", "abi = 1.999")
            },
            ["built for nook ABI 1.999", "use a newer nook-run"],
        ),
        module(
            "a newer ABI with a class of it",
            Module::with_line("abi", "abi = 1.999\nclass = teapot\npower_watts = 2000"),
            ["built for nook ABI 1.999", "use a newer nook-run"],
        ),
        module(
            "an older ABI",
            Module::with_line("abi", "abi = 0.2"),
            [
                "built for nook ABI 0.2, this host runs drivers for 1.0 to 1.0 only",
                "rebuild the driver with this host's SDK",
            ],
        ),
        module(
            "a missing entry",
            Module { poll: "", ..Module::default() },
            ["does not export `nook_poll`, which every driver of its class has", "docs/abi.md"],
        ),
        module(
            "a misspelt entry",
            Module { more: r#"(func (export "nook_set_mack"))"#, ..Module::default() },
            ["exports `nook_set_mack`, which is not an entry", "docs/abi.md"],
        ),
        module(
            "a global with a name of the undo log's",
            Module { more: r#"(global (export "nook_undo_top") i32 (i32.const 0))"#, ..Module::default() },
            ["exports `nook_undo_top`, which is not an entry", "docs/abi.md"],
        ),
        module(
            "a memory that is too large",
            Module { memory: r#"(memory (export "memory") 4096)"#, ..Module::default() },
            ["the module asks for 256 MiB of data and stack; the most is 16 MiB", "`heap_bytes` in the manifest"],
        ),
        module(
            "a memory that is not exported",
            Module { memory: "(memory 1)", ..Module::default() },
            ["memory: it is not exported", "as `memory`"],
        ),
        module("no memory", Module { memory: "", ..Module::default() }, ["memory: 0 memories", "a driver defines one"]),
        module(
            "a start function",
            Module { more: "(func $go) (start $go)", ..Module::default() },
            ["a start function", "do the work in `probe`"],
        ),
        module(
            "a table that is too large",
            Module { more: "(table 100000 funcref)", ..Module::default() },
            ["a table with 100000 elements", "a driver has at most 65536"],
        ),
    ]
}

const HINT_OF_TWO: &str = r#"(import "nook_hint" "store64" (func (param i32 i64)))"#;
const NO_PROBE: &str = r#"(func (export "nook_probe") (param i32 i32) (result i32) (i32.const -2))"#;

#[test]
fn a_file_that_is_not_a_driver_is_refused_with_what_is_wrong_and_what_to_do() {
    for Unfit { what, bytes, says } in unfit_files() {
        let place = Place::new();
        let file = place.file("bad.wasm", bytes);
        for args in [vec![&file], vec![&"inspect".into(), &file]] {
            // Inspecting shows a driver that was built for WASI: nothing of it runs.
            if args.len() == 2 && what == "an import of WASI" {
                continue;
            }
            let ended = place.nook_run(args).end();
            assert_is_said(what, &ended, 1, &says);
            assert!(ended.stderr.contains("bad.wasm is not a driver for this host: "), "{what}: {}", ended.stderr);
        }
        assert_eq!(place.names(), ["bad.wasm"], "{what}");
    }
}

#[test]
fn what_cannot_be_read_as_a_file_is_refused() {
    let place = Place::new();
    let rows = [
        ("a file that is not there", "missing.wasm", "No such file"),
        ("a folder", "/", "it is not a regular file"),
        ("a device without end", "/dev/zero", "it is not a regular file"),
    ];
    for (what, file, says) in rows {
        let advice = "`nook-run build DIR` builds a driver, and `cargo xtask drivers` those in nook's tree";
        assert_is_said(what, &place.nook_run([file]).end(), 1, &["cannot read", file, says, advice]);
        assert_is_said(what, &place.nook_run(["inspect", file]).end(), 1, &["cannot read", file, says, advice]);
    }
    assert!(place.names().is_empty());
    place.command("mkdir", ["source"]).end().with(0);
    place.file("source/Cargo.toml", "");
    let says = "it is a driver's source, and `nook-run build source` compiles it";
    assert_is_said("a driver's source", &place.nook_run(["source"]).end(), 1, &[says]);
}

/// A run that cannot be set up: the arguments after the driver, the exit status, and parts of the message.
struct Refused {
    what: &'static str,
    args: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

const REFUSED: &[Refused] = &[
    Refused { what: "an address that is none", args: &["--pci", "eth0"], code: 1, says: &["eth0", "03:00.0"] },
    Refused {
        what: "a device that is not there",
        args: &["--pci", "ff:1f.7"],
        code: 1,
        says: &["ff:1f.7", "nook-run devices"],
    },
    Refused {
        what: "a name too long for an interface",
        args: &["--tap", "a-name-of-sixteen"],
        code: 1,
        says: &["--tap: `a-name-of-sixteen` cannot be the name of a network interface", "longer than 15 bytes"],
    },
    Refused {
        what: "a name with a space for the cable's end",
        args: &["--wire", "tap:a b"],
        code: 1,
        says: &["--wire: the cable's far end: `a b` cannot be the name of a network interface", "spaces"],
    },
    Refused {
        what: "a report in a folder that is not there",
        args: &["--json", "no/such/report.json"],
        code: 1,
        says: &["--json: there is no folder no/such"],
    },
    Refused { what: "a report over a folder", args: &["--json", "/"], code: 1, says: &["--json: / is a folder"] },
    Refused {
        what: "a capture in a folder that is not there",
        args: &["--pcap", "no/such/capture.pcap"],
        code: 1,
        says: &["--pcap: cannot create no/such/capture.pcap", "No such file or directory"],
    },
    Refused {
        what: "direct registers for a native driver",
        args: &["--isolation", "native", "--mmio", "direct"],
        code: 1,
        says: &["--mmio direct is for the sandbox"],
    },
    Refused {
        what: "direct registers for calls that are to be rolled back",
        args: &["--isolation", "sfi+txn", "--mmio", "direct"],
        code: 1,
        says: &["--mmio direct reaches the device at once", "use --isolation sfi"],
    },
    Refused {
        what: "an exercise that does not exist",
        args: &["--exercise", "juggle"],
        code: 2,
        says: &["invalid value 'juggle'", "ping, tcp, rr"],
    },
    Refused {
        what: "a time that is none",
        args: &["--duration", "soon"],
        code: 2,
        says: &["invalid value 'soon'", "it can be ms, s, m or h"],
    },
    Refused {
        what: "a cable into nowhere",
        args: &["--wire", "bridge:br0"],
        code: 2,
        says: &["it can be `peer`, `tap:NAME` or `none`"],
    },
    Refused {
        what: "an exercise over a TAP, which has no host in this process",
        args: &["--tap", "nook0", "--exercise", "ping"],
        code: 2,
        says: &["cannot be used with"],
    },
];

#[test]
fn a_run_that_cannot_be_set_up_says_what_to_do_instead() {
    for Refused { what, args, code, says } in REFUSED {
        let place = Place::new();
        let driver = e1000();
        let args = [driver.as_os_str()].into_iter().chain(args.iter().map(|arg| arg.as_ref()));
        assert_is_said(what, &place.nook_run(args).end(), *code, says);
        assert!(place.names().is_empty(), "{what}: {:?}", place.names());
    }
    let nothing: [&str; 0] = [];
    assert_is_said("no driver", &Place::new().nook_run(nothing).end(), 2, &["Usage: nook-run"]);
}

#[test]
fn a_driver_is_not_run_on_a_device_that_it_does_not_drive() {
    let place = Place::new();
    let file = place.file("other.wasm", Module::with_line("pci", "pci = 10ec:8139").wasm());
    let on =
        |args: &[&str]| place.nook_run([file.as_os_str()].into_iter().chain(args.iter().map(|a| a.as_ref()))).end();
    let says = ["which the driver `crash-dummy` does not drive", "choose another device with --qemu"];
    assert_is_said("the embedded model", &on(&[]), 1, &says);
    let says = ["the driver `crash-dummy` drives 10ec:8139, and this is", "use another driver or another device"];
    assert_is_said("QEMU's card", &on(&["--qemu", "e1000"]), 1, &says);
    let says = ["other.so", "No such file", "cargo xtask drivers"];
    assert_is_said("a native build", &on(&["--isolation", "native"]), 1, &says);
    assert_eq!(place.names(), ["other.wasm"]);
}

#[test]
fn a_driver_that_wants_unknown_registers_is_refused() {
    let place = Place::new();
    let file = place.file("other.wasm", Module::with_line("registers", "registers = rtl8139").wasm());
    let says = [
        "`crash-dummy` is written for the register map `rtl8139`, and the built-in ones are e1000, edu, igb, nvme, uart16550, virtio-blk, virtio-console, virtio-net, virtio-rng, vmxnet3",
    ];
    assert_is_said("registers", &place.nook_run([file]).end(), 1, &says);
}

#[test]
fn without_the_right_to_make_a_tap_the_two_ways_to_get_one_are_named() {
    let place = Place::new();
    for args in [["--tap", "nook-none"], ["--wire", "tap:nook-none"]] {
        let ended = place.nook_run([e1000().to_str().unwrap()].into_iter().chain(args)).without_net_admin().end();
        let says =
            ["no permission to use the TAP interface `nook-none`", "CAP_NET_ADMIN", "ip tuntap add dev nook-none"];
        assert_is_said(args[0], &ended, 1, &says);
        assert!(!has_interface("nook-none"));
    }
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_is_not_a_tap_is_left_alone() {
    let ended = Place::new().nook_run([e1000().to_str().unwrap(), "--tap", "lo"]).end();
    assert_is_said("lo", &ended, 1, &["`lo` exists and is not a plain TAP interface", "choose another name"]);
    assert!(has_interface("lo"));
}

/// A driver that faults whenever it gets so far.
struct Faulty {
    what: &'static str,
    module: Module,
    /// One of these: on a machine that gives an endless loop a small share, its time is over before its CPU time.
    faults: &'static [&'static str],
}

#[test]
fn a_driver_that_faults_for_ever_ends_in_quarantine() {
    let rows = [
        Faulty {
            what: "a trap in probe",
            module: Module {
                probe: r#"(func (export "nook_probe") (param i32 i32) (result i32) unreachable)"#,
                ..Module::default()
            },
            faults: &["probe: trap: unreachable code was reached"],
        },
        Faulty {
            what: "a trap in poll",
            module: Module {
                poll: r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) unreachable)"#,
                ..Module::default()
            },
            faults: &["poll: trap: unreachable code was reached"],
        },
        Faulty {
            what: "an endless loop in poll",
            module: Module {
                poll: r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) (loop (br 0)) unreachable)"#,
                ..Module::default()
            },
            faults: &["poll: used more than its", "poll: did not return within"],
        },
    ];
    for Faulty { what, module, faults } in rows {
        let place = Place::new();
        let file = place.file("faulty.wasm", module.wasm());
        // Where calls are not rolled back, so that each fault counts.
        let args = [file.to_str().unwrap(), "--isolation", "sfi", "--json", "report.json"];
        let ended = place.nook_run(args).end();
        assert_is_said(what, &ended, 4, &["the driver is in quarantine after 10 restarts"]);
        let report: serde_json::Value = serde_json::from_slice(&fs::read(place.at("report.json")).unwrap()).unwrap();
        let reported: Vec<_> =
            report["faults"].as_array().unwrap().iter().map(|it| it["fault"].as_str().unwrap()).collect();
        assert_eq!(reported.len(), 11, "{what}: {report:#}");
        assert!(reported.iter().all(|it| faults.iter().any(|fault| it.contains(fault))), "{what}: {report:#}");
        assert!(reported.iter().all(|it| ended.stderr.contains(it)), "{what}: {}", ended.stderr);
        assert_eq!(report["link"], "down", "{what}");
    }
}

#[test]
fn a_driver_that_says_no_is_not_asked_again() {
    let place = Place::new();
    let file = place.file("refuses.wasm", Module { imports: "", probe: NO_PROBE, ..Module::default() }.wasm());
    assert_is_said("no device", &place.nook_run([file]).end(), 1, &["probe: the driver says: no such device"]);
}
