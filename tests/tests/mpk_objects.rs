//! What the loader of `--isolation mpk` refuses, by name, each as a file that has one thing that it should not have. It
//! is refused on every machine: the loader reads a file before it asks for keys.

use std::fs;
use std::path::Path;

use hostile_domain::MANIFEST;
use nook_mpk::{MpkError, MpkLauncher, supported};
use nook_runtime::{OwnedManifest, parse_manifest};
use nook_seed::Rng;
use nook_tests::object_file::{DT_RELA, DT_SYMTAB, EXECUTES, FLAGS, ObjectFile, PT_DYNAMIC, PT_LOAD};
use nook_tests::{driver_file, e1000_module, nvme_module};

const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_TLS: u32 = 7;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const WRITES: u8 = 2;

const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_FLAGS: u64 = 30;

const RELATIVE: u64 = 8;

/// Where more fields of a program header are.
const ADDRESS: usize = 16;
const MEMORY_BYTES: usize = 40;

/// Breaks one thing.
type Break<'a> = &'a dyn Fn(&mut ObjectFile);

fn manifest() -> OwnedManifest {
    parse_manifest(MANIFEST.as_bytes()).unwrap()
}

fn load(path: &Path) -> Result<(), MpkError> {
    MpkLauncher::new(path, &manifest()).map(drop)
}

/// Breaks an object and returns what is said of it.
fn said_of(break_it: impl Fn(&mut ObjectFile)) -> String {
    let mut file = ObjectFile::hostile();
    break_it(&mut file);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.mpk");
    fs::write(&path, &file.0).unwrap();
    match load(&path) {
        Err(error @ (MpkError::Refused { .. } | MpkError::Object(_))) => error.to_string(),
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn what_cargo_xtask_drivers_makes_is_refused_by_a_machine_without_keys_only() {
    let drivers = [
        ("hostile", manifest()),
        ("e1000", e1000_module().manifest().clone()),
        ("nvme", nvme_module().manifest().clone()),
    ];
    for (name, manifest) in drivers {
        match MpkLauncher::new(&driver_file(name).with_extension("mpk"), &manifest) {
            Ok(_) => assert!(supported().is_ok()),
            Err(MpkError::NoKeys(why)) => assert_eq!(why.to_string(), supported().unwrap_err().to_string()),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn each_thing_that_the_loader_does_not_do_is_refused_by_its_name() {
    let cases: &[(&str, Break)] = &[
        ("program interpreter", &|file| file.retype(PT_NOTE, PT_INTERP)),
        ("thread-locals", &|file| file.retype(PT_NOTE, PT_TLS)),
        ("thread-locals", &|file| {
            let at = file.dynamic(DT_FLAGS) + 8;
            file.set(at, file.word(at) | 0x10);
        }),
        ("executable stack", &|file| {
            let at = file.headers(PT_GNU_STACK)[0];
            file.0[at + FLAGS] |= EXECUTES;
        }),
        ("executable stack", &|file| file.retype(PT_GNU_STACK, 0)),
        ("both writable and executable", &|file| {
            let at = file.headers(PT_LOAD)[1];
            file.0[at + FLAGS] |= WRITES;
        }),
        ("more than one executable segment", &|file| {
            let at = file.headers(PT_LOAD)[0];
            file.0[at + FLAGS] |= EXECUTES;
        }),
        ("segments overlap", &|file| {
            let at = file.headers(PT_LOAD)[3];
            file.set(at + ADDRESS, 0x1000);
        }),
        ("makes no sense", &|file| {
            let at = file.headers(PT_LOAD)[3];
            file.set(at + MEMORY_BYTES, 1 << 40);
        }),
        ("makes no sense", &|file| {
            let at = file.headers(PT_LOAD)[3];
            file.set(at + ADDRESS, u64::MAX - 8);
        }),
        ("lies in no writable segment", &|file| {
            let at = file.headers(PT_GNU_RELRO)[0];
            file.set(at + ADDRESS, 0x2000);
        }),
        ("fixed data makes no sense", &|file| {
            let at = file.headers(PT_GNU_RELRO)[0];
            file.set(at + ADDRESS, u64::MAX - 8);
        }),
        ("it imports `bcmp`", &|file| {
            let at = file.offset(file.word(file.dynamic(DT_SYMTAB) + 8)) + 24;
            file.0[at + 6..at + 8].fill(0);
        }),
        ("needs a library", &|file| file.say(1, 1)),
        ("constructors or destructors", &|file| file.say(12, 0x2000)),
        ("constructors or destructors", &|file| file.say(13, 0x2000)),
        ("constructors or destructors", &|file| file.say(25, 0x5000)),
        ("constructors or destructors", &|file| file.say(26, 0x5000)),
        ("constructors or destructors", &|file| file.say(32, 0x5000)),
        ("text relocations", &|file| file.say(22, 0)),
        ("text relocations", &|file| {
            let at = file.dynamic(DT_FLAGS) + 8;
            file.set(at, file.word(at) | 4);
        }),
        ("relocations of another kind", &|file| file.say(17, 0)),
        ("relocations of another kind", &|file| file.say(23, 0)),
        ("relocations of another kind", &|file| file.say(36, 0)),
        ("does not end with one", &|file| {
            let at = file.dynamic(DT_RELASZ) + 8;
            file.set(at, file.word(at) - 1);
        }),
        ("of another size", &|file| {
            let at = file.dynamic(DT_RELAENT) + 8;
            file.set(at, 16);
        }),
        ("table of relocations lies outside", &|file| {
            let at = file.dynamic(DT_RELA) + 8;
            file.set(at, u64::MAX - 7);
        }),
        ("(IFUNC)", &|file| {
            let at = file.relocation(0) + 8;
            file.set(at, 37);
        }),
        ("relocation of type 6, which needs a symbol", &|file| {
            let at = file.relocation(0) + 8;
            file.set(at, 6);
        }),
        ("text relocations: one at 0x2100", &|file| {
            let at = file.relocation(0);
            file.set(at, 0x2100);
        }),
        ("lies outside the image", &|file| {
            let at = file.relocation(0);
            file.set(at, 0x10_0000);
        }),
        ("has no address", &|file| {
            let at = file.first_function();
            file.set(at, file.table().1 + 8);
        }),
        ("is no code", &|file| {
            let at = file.first_function() + 16;
            file.set(at, 0x800);
        }),
        ("is no code", &|file| {
            let at = file.first_function() + 16;
            file.set(at, u64::MAX);
        }),
        ("is not in the file", &|file| {
            let at = file.table().0 + 8;
            file.set(at, 0x10_0000);
        }),
        ("built for other tables", &|file| {
            let at = file.offset(file.table().1);
            file.0[at] ^= 1;
        }),
        ("WRPKRU", &|file| {
            let at = file.code() + 1;
            file.0[at..at + 3].copy_from_slice(&[0x0f, 0x01, 0xef]);
        }),
        ("XRSTOR", &|file| {
            let at = file.code() + 1;
            file.0[at..at + 3].copy_from_slice(&[0x0f, 0xae, 0x28]);
        }),
        ("SYSCALL", &|file| {
            let at = file.code();
            file.0[at..at + 5].copy_from_slice(&[0x0f, 0x05, 0x90, 0x90, 0x90]);
        }),
    ];
    for (index, (wanted, break_it)) in cases.iter().enumerate() {
        let said = said_of(break_it);
        assert!(said.contains("broken.mpk") && said.contains(wanted), "case {index}, {wanted}: {said}");
    }
}

#[test]
fn a_relocation_at_the_end_of_all_addresses_is_outside_though_the_first_segment_can_be_written_to() {
    for place in u64::MAX - 7..=u64::MAX {
        let said = said_of(|file| {
            let at = file.headers(PT_LOAD)[0];
            file.0[at + FLAGS] |= WRITES;
            let at = file.relocation(0);
            file.set(at, place);
            assert_eq!(file.word(at + 8), RELATIVE);
        });
        assert!(said.contains("lies outside the image"), "{place:#x}: {said}");
    }
}

#[test]
fn an_object_of_another_kind_is_refused() {
    let object = parse_manifest(odd_native::MANIFEST.as_bytes()).unwrap();
    let said = MpkLauncher::new(&driver_file("odd").with_extension("so"), &object).err().unwrap().to_string();
    assert!(said.contains("odd.so") && said.contains("cargo xtask drivers"), "{said}");
}

#[test]
fn a_file_that_ends_early_or_has_wrong_bytes_is_never_the_hosts_end() {
    let good = ObjectFile::hostile();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.mpk");
    let mut refused = 0;
    let mut try_it = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refused += u32::from(matches!(load(&path), Err(MpkError::Refused { .. } | MpkError::Object(_))));
    };
    for end in (0..good.0.len()).step_by(211) {
        try_it(&good.0[..end]);
    }
    let mut rng = Rng::new(16);
    // Headers, dynamic table and relocations: what the loader believes.
    let table = good.word(good.headers(PT_DYNAMIC)[0] + 8) as usize;
    let places = [(0, 0x270), (table, 0xc0), (good.relocation(0), 624)];
    for round in 0..3000 {
        let (from, bytes) = places[round % places.len()];
        let mut broken = good.0.clone();
        for _ in 0..=rng.below(2) {
            broken[from + rng.below(bytes as u64) as usize] = [0, 1, 8, 0x7f, 0xff][rng.below(5) as usize];
        }
        try_it(&broken);
    }
    assert!(refused > 1000, "{refused} were refused");
}
