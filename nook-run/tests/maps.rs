//! Register maps from files: written out, run with, accepted, and refused.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::module::Module;
use support::{Ended, Place, assert_is_said, e1000};

/// Returns the built-in map of this name, as a file's text.
fn exported(place: &Place, name: &str) -> String {
    place.nook_run(["map", "export", name]).end().with(0).stdout
}

/// Returns the driver in a folder of the test, where a map can lie beside it.
fn driver(place: &Place) -> PathBuf {
    let path = place.at("e1000.wasm");
    fs::copy(e1000(), &path).expect("copying the driver");
    path
}

fn ping(place: &Place, driver: &Path, more: &[&str]) -> Ended {
    let driver = driver.display().to_string();
    let args = [driver.as_str(), "--exercise", "ping", "--seed", "3"];
    place.nook_run(args.iter().chain(more)).end()
}

fn assert_prints<const N: usize>(place: &Place, args: [&str; N], says: &[&str]) {
    let stdout = place.nook_run(args).end().with(0).stdout;
    for part in says {
        assert!(stdout.contains(part), "{part:?} is not in: {stdout}");
    }
}

fn assert_pings(ended: &Ended) {
    assert_eq!(ended.code(), 0, "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("ping      100 of 100 answered"), "{}", ended.stdout);
}

#[test]
fn the_exported_map_serves_a_driver_as_the_built_in_one_does() {
    let place = Place::new();
    let map = place.file("mine.regs.toml", exported(&place, "e1000"));
    let map = map.display().to_string();
    let driver = driver(&place);
    // Rollbacks, restarts and snapshots are part of the report.
    let args = ["--virtual-time", "--crash-every", "10ms", "--json", "report.json", "--registers", &map];
    let built_in = ping(&place, &driver, &args[..5]);
    let built_in_report = fs::read_to_string(place.at("report.json")).expect("a report");
    let from_file = ping(&place, &driver, &args);
    assert_pings(&from_file);
    assert_eq!(from_file.stdout, built_in.stdout);
    assert_eq!(fs::read_to_string(place.at("report.json")).expect("a report"), built_in_report);
    assert_is_said("a run", &from_file, 0, &["registers: the map `e1000` in ", "mine.regs.toml, SHA-256 "]);
}

#[test]
fn a_map_beside_the_driver_is_used_once_it_was_accepted_and_until_it_changes() {
    let place = Place::new();
    let driver = driver(&place);
    let text = exported(&place, "e1000");
    let map = place.file("e1000.regs.toml", &text);
    let file = map.display().to_string();

    let remedy = format!("Accept it with `nook-run map accept {file}`");
    let allows = "DMA bases     RDBAL, RDBAH, TDBAL, TDBAH";
    let refused = ping(&place, &driver, &[]);
    assert_is_said("a map that nobody accepted", &refused, 1, &["was not accepted", allows, &remedy]);

    assert_prints(&place, ["map", "check", &file], &[allows, "accepted      no"]);
    assert_prints(&place, ["map", "accept", &file], &[allows, "accepted      yes", ".local/state/nook/maps/"]);
    assert_prints(&place, ["map", "check", &file], &["accepted      yes"]);
    assert_pings(&ping(&place, &driver, &[]));

    fs::write(&map, text.replace("write = \"dma_base\"\n", "")).expect("changing the map");
    let refused = ping(&place, &driver, &[]);
    let warning = "`RDBAL`: its name has `BAL`";
    let says = ["has changed since it was accepted", "WARNING", warning, &remedy];
    assert_is_said("a map that has changed", &refused, 1, &says);
    assert_pings(&ping(&place, &driver, &["--registers", &file]));
    assert_eq!(ping(&place, &driver, &[]).code(), 1, "for one run only");

    fs::write(&map, text).expect("changing it back");
    assert_pings(&ping(&place, &driver, &[]));
}

#[test]
fn what_is_accepted_lies_in_the_folder_that_was_named_and_in_no_other() {
    let place = Place::new();
    let driver = driver(&place);
    let map = place.file("e1000.regs.toml", exported(&place, "e1000")).display().to_string();
    let state = place.at("state").display().to_string();
    place.nook_run(["map", "accept", &map, "--state", &state]).end().with(0);
    assert_eq!(ping(&place, &driver, &[]).code(), 1);
    assert_pings(&ping(&place, &driver, &["--state", &state]));
    let args = [driver.as_os_str(), "--exercise".as_ref(), "ping".as_ref()];
    assert_pings(&place.nook_run(args).env("NOOK_STATE", &state).end());

    fs::set_permissions(place.at("state/maps"), fs::Permissions::from_mode(0o777)).expect("opening the folder");
    let refused = ping(&place, &driver, &["--state", &state]);
    assert_is_said("an open folder", &refused, 1, &["is not believed", "others can write to it", "chmod 700"]);
}

#[test]
fn a_broken_map_is_refused_with_line_and_column() {
    let place = Place::new();
    let driver = driver(&place);
    let text = exported(&place, "e1000");
    let line = text.lines().position(|line| line == "access = \"rw\"").expect("a register") + 1;
    let map = place.file("broken.regs.toml", text.replacen("access = \"rw\"", "access = \"rx\"", 1));
    let map = map.display().to_string();
    let says =
        format!("{map}:{line}:10: a register's `access` is \"ro\", \"wo\", \"rw\" or \"forbidden\", and not `rx`");
    for command in ["check", "accept"] {
        let ended = place.nook_run(["map", command, &map]).end();
        assert_is_said("a broken map", &ended, 1, &[&says, "docs/register-maps.md"]);
    }
    let before = place.names();
    let ended = ping(&place, &driver, &["--registers", &map]);
    assert_is_said("a broken map", &ended, 1, &["--registers", &says]);
    assert_eq!(place.names(), before, "nothing is left behind");
}

#[test]
fn a_map_that_is_not_there_or_of_something_else_is_refused() {
    let place = Place::new();
    let driver = driver(&place);
    let edu = place.file("edu.regs.toml", exported(&place, "edu")).display().to_string();
    let folder = place.path().display().to_string();
    let other = exported(&place, "e1000").replace("\"8086:100e\", \"8086:100f\", ", "");
    let other = place.file("other.regs.toml", other).display().to_string();
    for (map, says) in [
        ("nowhere.regs.toml", ["cannot read the register map nowhere.regs.toml", "No such file"]),
        (&folder, ["cannot read the register map", "it is not a regular file"]),
        (&edu, ["is the register map `edu`", "the driver `e1000` is written for `e1000`"]),
        (&other, ["the register map `e1000` is for 8086:10d3, and this is", "use a map that names this device"]),
    ] {
        let ended = ping(&place, &driver, &["--registers", map]);
        assert_is_said(map, &ended, 1, &says);
    }
    let ended = place.nook_run(["map", "export", "rtl8139"]).end();
    let says = "there is no built-in register map `rtl8139`; there are e1000, edu, igb, nvme, uart16550, virtio-blk, virtio-console, virtio-net, virtio-rng, vmxnet3";
    assert_is_said("a name of no map", &ended, 1, &[says]);
}

#[test]
fn a_map_inside_the_drivers_module_is_none() {
    let place = Place::new();
    let map = exported(&place, "e1000").replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let sections =
        ["nook.registers", "nook.map", "e1000.regs.toml"].map(|name| format!("(@custom \"{name}\" \"{map}\")"));
    let module = Module {
        more: Box::leak(sections.concat().into_boxed_str()),
        ..Module::with_line("registers", "registers = mine")
    };
    let driver = place.file("mine.wasm", module.wasm());
    let ended = ping(&place, &driver, &[]);
    let says = [
        "is written for the register map `mine`",
        "the built-in ones are e1000, edu, igb, nvme, uart16550, virtio-blk, virtio-console, virtio-net, virtio-rng, vmxnet3",
        "--registers",
    ];
    assert_is_said("a map in the module", &ended, 1, &says);
}

#[test]
fn a_map_from_a_file_names_registers_at_every_level_and_holds_wherever_registers_are_checked() {
    let place = Place::new();
    let driver = driver(&place);
    for ending in ["so", "elf"] {
        fs::copy(e1000().with_extension(ending), driver.with_extension(ending)).expect("copying the driver");
    }
    let text = exported(&place, "e1000");
    let good =
        place.file("good.regs.toml", text.replace("name = \"STATUS\"", "name = \"MY_STATUS\"")).display().to_string();
    // It reads its address through this register.
    let (before, after) = text.split_once("name = \"EERD\"").expect("the register");
    let forbids = [before, "name = \"EERD\"", &after.replacen("\"rw\"", "\"forbidden\"", 1)].concat();
    let forbids = place.file("forbids.regs.toml", forbids).display().to_string();
    for level in ["native", "wrapped", "sfi", "sfi+txn", "process"] {
        let ended = ping(&place, &driver, &["-vv", "--isolation", level, "--registers", &good]);
        assert_pings(&ended);
        assert!(ended.stderr.contains("MY_STATUS -> "), "{level}");
        let ended = ping(&place, &driver, &["--isolation", level, "--registers", &forbids]);
        if level == "native" {
            assert_pings(&ended);
        } else {
            let says = "ERROR mmio_write32: BAR 0 offset 0x14: the register is not a driver's to touch (register EERD)";
            assert!(ended.code() != 0 && ended.stderr.contains(says), "{level}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_crash_bundle_names_registers_by_the_map_that_held() {
    let place = Place::new();
    let driver = driver(&place);
    let text = exported(&place, "e1000").replace("name = \"RDT\"", "name = \"MY_TAIL\"");
    let map = place.file("mine.regs.toml", text).display().to_string();
    place.file("policy.toml", "[bundles]\nfolder = \"bundles\"\n");
    let run = ping(&place, &driver, &["--registers", &map, "--policy", "policy.toml", "--crash-at", "poll:25"]);
    assert_pings(&run);
    fs::remove_file(map).expect("removing the map");
    let bundle =
        fs::read_dir(place.at("bundles")).expect("bundles").next().expect("a bundle").expect("an entry").path();
    let told = place.nook_run(["postmortem".as_ref(), bundle.as_os_str()]).end().with(0).stdout;
    assert!(told.contains("    MY_TAIL <- "), "{told}");
}

#[test]
fn a_map_that_is_named_is_warned_about_where_it_allows_too_much() {
    let place = Place::new();
    let text = exported(&place, "e1000").replacen("write = \"dma_base\"\n", "", 1);
    let map = place.file("mine.regs.toml", text).display().to_string();
    let run = ping(&place, &driver(&place), &["--registers", &map]);
    assert_pings(&run);
    assert_is_said("a map without an effect", &run, 0, &["WARN ", "`RDBAL`: its name has `BAL`"]);
}
