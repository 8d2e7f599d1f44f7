//! `nook-run new`: each beginning that it offers builds, runs and passes its own test, with the commands of its README.

mod support;

use std::path::Path;

use support::{Ended, NOOK_RUN, Place, assert_is_said};

fn new(place: &Place, args: &[&str]) -> Ended {
    place.nook_run([&["new"], args].concat()).end()
}

/// Makes a project, and does what its README says, and then `more`. Returns what that prints.
fn followed(place: &Place, args: &[&str], more: &str) -> String {
    let printed = new(place, args).with(0).stdout;
    let folder = place.at(args[0]);
    let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
    let commands = readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("commands");
    assert!(commands.lines().all(|command| printed.contains(command)), "{printed}\n{commands}");
    assert!(!readme.contains('@'), "{readme}");
    // What all of them depend on is compiled once.
    std::fs::create_dir_all(place.at("target")).expect("a folder");
    std::os::unix::fs::symlink(place.at("target"), folder.join("target")).expect("a link");
    let path = format!("{}:{}", Path::new(NOOK_RUN).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let script = format!("set -e\nexec 2>&1\ncd {}\n{commands}{more}", args[0]);
    let mut asked = place.command("sh", ["-c", &script]).with_cargo().env("PATH", path);
    asked.command.env_remove("CARGO_TARGET_DIR");
    let ended = asked.end();
    assert_eq!(ended.code(), 0, "{script}\n{}", ended.stdout);
    ended.stdout
}

/// Follows the README of each beginning: what `new` is asked, what is done besides, and what has to be printed.
fn follow(beginnings: &[(&[&str], &str, &[&str])]) {
    let place = Place::new();
    place.file("disk.img", vec![0; 1 << 20]);
    for (args, more, says) in beginnings {
        let printed = followed(&place, args, more);
        assert!(says.iter().all(|text| printed.contains(text)), "{args:?}: {says:?}\n{printed}");
    }
}

/// What the exercise of a disk says if all is well.
const VERIFIED: &str = "0 errors, 0 wrong\nverify ";

/// The last card has its registers in two BARs, of which the first is in I/O space; nook has never seen it. A driver
/// for it, written with the documents alone by somebody who had not seen nook's sources, is built and run besides.
#[test]
fn each_class_has_a_beginning_in_rust() {
    let rtl8139 = ["rtl8139", "--class", "net", "--pci", "10ec:8139", "--qemu", "rtl8139"];
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rtl8139");
    let finished = format!(
        "cp {kept}/lib.rs {kept}/registers.rs src/\ncp {kept}/scripted.rs tests/\ncp {kept}/rtl8139.regs.toml .\n\
         nook-run build .\n\
         nook-run target/drivers/rtl8139.wasm --registers rtl8139.regs.toml --qemu rtl8139 \
         --exercise ping,tcp --crash-every 5ms\ncargo test --quiet\n"
    );
    // The constants are those of the map.
    let again = "cargo build --quiet\nnook-run map export my-edu.regs.toml --lang rust | diff - src/registers.rs\n";
    // A whole driver, with its crashes rolled back.
    let whole = [
        "rtl8139 0.1.0 drives",
        "2 passed",
        "100 of 100 answered",
        "hash ok",
        " rollback(s), 0 restart(s)",
        "5 passed",
    ];
    follow(&[
        (&["my-edu", "--class", "misc"], again, &["first - -> ed000001: 1 done", "2 passed"]),
        (&["my-line", "--class", "serial"], "", &["my-line 0.1.0 drives", "2 passed"]),
        (&["my-disk", "--class", "block"], "", &["nothing reaches the device", VERIFIED, "2 passed"]),
        (&["my-card", "--class", "net", "--qemu", "e1000e"], "", &["my-card 0.1.0 drives Intel 82574L", "2 passed"]),
        (&rtl8139, &finished, &whole),
    ]);
}

#[test]
fn each_class_has_a_beginning_in_c() {
    let edu = ["my-edu", "--class", "misc", "--lang", "c", "--pci", "1234:11E8", "--qemu", "edu"];
    let disk = ["my-nvme", "--class", "block", "--lang", "c", "--qemu", "nvme,file=disk.img"];
    let well = "all is well";
    follow(&[
        (&edu, "make clean && ls", &["first - -> ed000001: 1 done", well]),
        (&["my-line", "--class", "serial", "--lang", "c"], "", &["my-line 0.1.0 drives", well]),
        (&["my-disk", "--class", "block", "--lang", "c"], "", &["nothing reaches the device", VERIFIED, well]),
        (&disk, "", &["my-nvme 0.1.0 drives", "read ", "0 errors, 0 wrong", well]),
        (&["my-card", "--class", "net", "--lang", "c"], "", &["my-card 0.1.0 drives Intel 82540EM", well]),
    ]);
}

/// It is run in the project's folder; and a shell reads it.
#[test]
fn a_drives_file_is_found_from_the_projects_folder() {
    let place = Place::new();
    std::fs::create_dir(place.at("a b")).expect("a folder");
    place.file("a b/disk.img", vec![0; 1 << 20]);
    let printed = new(&place, &["disk", "--class", "block", "--qemu", "nvme,file=a b/disk.img"]).with(0).stdout;
    let option = format!("--qemu 'nvme,file={}' ", place.path().canonicalize().unwrap().join("a b/disk.img").display());
    assert!(printed.contains(&option), "{printed}");
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
fn what_cannot_be_begun_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let refused = |args: &[&str], says: &[&str]| assert_is_said(&args.join(" "), &new(&place, args), 1, says);
    refused(&["My", "--class", "net"], &["`My` is no name for a driver", "lower-case letters"]);
    refused(&["test", "--class", "net"], &["choose another name"]);
    refused(&["a", "--class", "net", "--qemu", "rtl8138"], &["no device `rtl8138`", "`rtl8139`"]);
    refused(&["a", "--class", "block", "--qemu", "virtio-blk-pci"], &["give it a drive with `file=PATH`"]);
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
