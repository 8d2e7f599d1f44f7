//! `nook-run new`: each beginning that it offers builds, runs and passes its own test, with the commands of its README.

mod support;

use std::path::Path;

use support::{Ended, NOOK_RUN, Place, assert_is_said};

fn new(place: &Place, args: &[&str]) -> Ended {
    place.nook_run([&["new"], args].concat()).end()
}

/// Makes a project, and does what its README says. Returns what that prints.
fn followed(args: &[&str], more: &str) -> String {
    let place = Place::new();
    let printed = new(&place, args).with(0).stdout;
    let folder = place.at(args[0]);
    let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
    let commands = readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("commands");
    assert!(commands.lines().all(|command| printed.contains(command)), "{printed}\n{commands}");
    assert!(!readme.contains('@'), "{readme}");
    let path = format!("{}:{}", Path::new(NOOK_RUN).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let script = format!("set -e\nexec 2>&1\ncd {}\n{commands}{more}", args[0]);
    let mut asked = place.command("sh", ["-c", &script]).with_cargo().env("PATH", path);
    asked.command.env_remove("CARGO_TARGET_DIR");
    let ended = asked.end();
    assert_eq!(ended.code(), 0, "{script}\n{}", ended.stdout);
    ended.stdout
}

#[test]
fn a_misc_driver_in_rust() {
    let printed = followed(&["my-edu", "--class", "misc"], "cargo build --quiet");
    assert!(printed.contains("first - -> ed000001: 1 right") && printed.contains("2 passed"), "{printed}");
}

#[test]
fn a_network_driver_in_rust() {
    let printed = followed(&["my-card", "--class", "net", "--lang", "rust", "--qemu", "e1000e"], "");
    let drives = "my-card 0.1.0 drives Intel 82574L";
    assert!(printed.contains(drives) && printed.contains("2 passed"), "{printed}");
}

#[test]
fn a_serial_lines_driver_in_rust() {
    let printed = followed(&["my-line", "--class", "serial", "--qemu", "pci-serial"], "");
    assert!(printed.contains("my-line 0.1.0 drives") && printed.contains("2 passed"), "{printed}");
}

#[test]
fn a_chip_that_nobody_was_asked_about_has_the_ports_of_a_16550() {
    let place = Place::new();
    new(&place, &["line", "--class", "serial", "--pci", "1b36:0003"]).with(0);
    let map = std::fs::read_to_string(place.at("line/line.regs.toml")).expect("a map");
    assert!(map.contains("space = \"io\"") && map.contains("bytes = 0x8\n"), "{map}");
    let check = place.nook_run(["map", "check", "line/line.regs.toml"]).end().with(0);
    assert!(check.stdout.contains("`line` for 1b36:0003"), "{}", check.stdout);
}

/// The README's example. The card has its registers in two BARs, of which the first is in I/O space.
#[test]
fn a_network_driver_of_a_card_that_nook_has_never_seen() {
    let printed = followed(&["my-8139", "--class", "net", "--pci", "10ec:8139", "--qemu", "rtl8139"], "");
    assert!(printed.contains("my-8139 0.1.0 drives") && printed.contains("2 passed"), "{printed}");
}

#[test]
fn without_qemu_it_says_what_was_not_looked_at() {
    let place = Place::new();
    let without = |args: &[&str]| {
        let mut asked = place.nook_run([&["new", "a", "--class", "net", "--qemu", "rtl8139"], args].concat());
        asked.command.env("NOOK_QEMU", "/nowhere/qemu-system-x86_64");
        asked.end()
    };
    assert_is_said("without ids", &without(&[]), 1, &["is not installed", "--pci VVVV:DDDD"]);
    let made = without(&["--pci", "10ec:8139"]).with(0).stdout;
    assert!(
        made.contains("note: /nowhere/qemu-system-x86_64 is not installed") && made.contains("right BAR"),
        "{made}"
    );
}

#[test]
fn a_misc_driver_in_c() {
    let args = ["my-c", "--class", "misc", "--lang", "c", "--pci", "1234:11E8", "--qemu", "edu"];
    let printed = followed(&args, "make clean && ls");
    assert!(printed.contains("first - -> ed000001: 1 right") && printed.contains("all is well"), "{printed}");
}

#[test]
fn what_cannot_be_begun_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let refused = |args: &[&str], says: &[&str]| assert_is_said(&args.join(" "), &new(&place, args), 1, says);
    refused(&["My", "--class", "net"], &["`My` is no name for a driver", "lower-case letters"]);
    refused(&["test", "--class", "net"], &["choose another name"]);
    refused(&["a", "--class", "net", "--lang", "c"], &["no beginning for drivers of class net in C", "--lang rust"]);
    refused(&["a", "--class", "serial", "--lang", "c"], &["no beginning for drivers of class serial in C"]);
    refused(&["a", "--class", "net", "--qemu", "rtl8138"], &["no device `rtl8138`", "`rtl8139`"]);
    refused(&["a", "--class", "misc", "--tree", "."], &["no source tree of nook's", "--tree DIR"]);
    assert_eq!(place.names(), Vec::<String>::new());
    place.file("there", "");
    refused(&["there", "--class", "misc"], &["cannot make the folder there", "choose another name"]);
    assert_eq!(std::fs::read(place.at("there")).unwrap(), b"");
    // What cannot be made under any name.
    let nowhere = place
        .command("sh", ["-c", "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" new a --class misc", NOOK_RUN]);
    let ended = nowhere.end();
    assert!(ended.stderr.contains("cannot make the folder a: "), "{}", ended.stderr);
    assert!(ended.code() == 1 && !ended.stderr.contains("choose another name"), "{}", ended.stderr);
}

#[test]
fn a_driver_of_a_real_device_says_where_its_address_goes() {
    let place = Place::new();
    let printed = new(&place, &["rtl", "--class", "net", "--pci", "10EC:8139"]).with(0).stdout;
    assert!(printed.contains("--pci ADDRESS --registers rtl.regs.toml"), "{printed}");
    let map = place.nook_run(["map", "check", "rtl/rtl.regs.toml"]).end();
    assert!(map.stdout.contains("`rtl` for 10ec:8139"), "{}{}", map.stdout, map.stderr);
}
