//! `nook-run new`: a project for a driver, in a folder outside nook's tree, which builds, passes its test and runs as
//! it is. What is in it are the files in `templates/`.

mod beginning;
mod names;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nook_bus::{BarInfo, BarSpace, DmaWindow, PciDevice};
use nook_qemu::{DeviceSpec, QemuConfig, QemuDevice, QemuError, QemuNet, QemuProgram};

use self::beginning::beginning;
pub(crate) use self::beginning::made_by_another;
use self::names::check_name;
use crate::maps::constants::{self, constants};

/// `nook-run new`.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// What the driver is called: lower-case letters, digits and `-`. The folder that is made has this name, too.
    pub name: String,
    /// What kind of device it drives.
    #[arg(long, value_enum)]
    pub class: Class,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub lang: Language,
    /// The ids of its device: vendor and device, four hexadecimal digits each, such as 10ec:8139. Without this they are
    /// those of --qemu, which is asked for them.
    #[arg(long, value_name = "VVVV:DDDD")]
    pub pci: Option<Ids>,
    /// The device of QEMU's that it is tried on. Without this and --pci it is the embedded network card or disk,
    /// pci-serial for class serial, and edu for class misc.
    #[arg(long, value_name = "DEVICE")]
    pub qemu: Option<DeviceSpec>,
    /// Nook's source tree, with the SDK. Without this it is the one that this command was built from.
    #[arg(long, value_name = "DIR")]
    pub tree: Option<PathBuf>,
}

/// A class for which there is a beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Class {
    /// Network cards.
    Net,
    /// Disks.
    Block,
    /// Serial lines.
    Serial,
    /// Devices that do named operations.
    Misc,
}

impl Class {
    /// Returns it as manifests have it.
    fn name(self) -> &'static str {
        match self {
            Class::Net => "net",
            Class::Block => "block",
            Class::Serial => "serial",
            Class::Misc => "misc",
        }
    }
}

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust, built by cargo.
    Rust,
    /// C, built by make and Debian's clang-14.
    C,
}

/// The ids of a device, as manifests and maps have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids(String);

impl FromStr for Ids {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_word = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.split_once(':') {
            Some((vendor, device)) if is_word(vendor) && is_word(device) => Ok(Ids(text.to_ascii_lowercase())),
            _ => Err("write vendor and device, four hexadecimal digits each, such as 10ec:8139"),
        }
    }
}

/// The files of a project, each with the place that it has there, its name among the templates, and its text.
type Templates = &'static [(&'static str, &'static str, &'static str)];

macro_rules! templates {
    ($($place:literal = $file:literal),* $(,)?) => {
        &[$(($place, $file, include_str!(concat!("../templates/", $file)))),*]
    };
}

const COMMON: Templates = templates! { "README.md" = "README.md" };
const MAP: Templates = templates! { "@NAME@.regs.toml" = "map.regs.toml" };
/// Of chips whose registers have 8 bits.
const SERIAL_MAP: Templates = templates! { "@NAME@.regs.toml" = "serial.regs.toml" };
const RUST: Templates = templates! { "Cargo.toml" = "rust/Cargo.toml.in", ".cargo/config.toml" = "rust/config.toml" };

const C: Templates = templates! { "Makefile" = "c/Makefile" };
/// What drivers of classes with rings begin with.
const RUNTIME: &str = " $(NOOK)/driver-sdk/c/src/memory.c";

/// What is made of a class in a language.
struct Kind {
    templates: [Templates; 2],
    language: &'static str,
    /// Commands, in the project's folder.
    build: &'static str,
    test: &'static str,
    module: &'static str,
    source: &'static str,
    tested: &'static str,
    /// The registers as constants, and how they are made again.
    constants: &'static str,
    remade: &'static str,
    written: constants::Language,
    ignored: &'static str,
}

impl Kind {
    fn of(class: Class, lang: Language) -> Self {
        let own: Templates = match (class, lang) {
            (Class::Net, Language::Rust) => {
                templates! { "src/lib.rs" = "net-rust/lib.rs", "tests/scripted.rs" = "net-rust/scripted.rs" }
            }
            (Class::Block, Language::Rust) => {
                templates! { "src/lib.rs" = "block-rust/lib.rs", "tests/scripted.rs" = "block-rust/scripted.rs" }
            }
            (Class::Serial, Language::Rust) => {
                templates! { "src/lib.rs" = "serial-rust/lib.rs", "tests/scripted.rs" = "serial-rust/scripted.rs" }
            }
            (Class::Misc, Language::Rust) => {
                templates! { "src/lib.rs" = "misc-rust/lib.rs", "tests/scripted.rs" = "misc-rust/scripted.rs" }
            }
            (Class::Net, Language::C) => templates! { "driver.c" = "net-c/driver.c", "test.c" = "net-c/test.c" },
            (Class::Block, Language::C) => templates! { "driver.c" = "block-c/driver.c", "test.c" = "block-c/test.c" },
            (Class::Serial, Language::C) => {
                templates! { "driver.c" = "serial-c/driver.c", "test.c" = "serial-c/test.c" }
            }
            (Class::Misc, Language::C) => templates! { "driver.c" = "misc-c/driver.c", "test.c" = "misc-c/test.c" },
        };
        match lang {
            Language::Rust => Kind {
                templates: [RUST, own],
                language: "Rust",
                build: "nook-run build .",
                test: "cargo test",
                module: "target/drivers/@NAME@.wasm",
                source: "src/lib.rs",
                tested: "tests/scripted.rs",
                constants: "src/registers.rs",
                remade: "`nook-run map export @NAME@.regs.toml --lang rust >src/registers.rs` after each change",
                written: constants::Language::Rust,
                ignored: "/target\n",
            },
            Language::C => Kind {
                templates: [C, own],
                language: "C",
                build: "make",
                test: "make test",
                module: "@NAME@.wasm",
                source: "driver.c",
                tested: "test.c",
                constants: "registers.h",
                remade: "`make` does it after each change",
                written: constants::Language::C,
                ignored: "*.wasm\n/test-driver\n",
            },
        }
    }
}

/// Makes the project, and returns what is to be printed.
///
/// # Errors
/// If the name, the device or nook's tree cannot be used, or the folder cannot be made; then nothing is left.
pub fn text(args: &NewArgs) -> Result<String> {
    check_name(&args.name)?;
    let kind = Kind::of(args.class, args.lang);
    let Target { ids, option: device, space, bar, bytes, note } = Target::of(args)?;
    let (bar, bytes) = (bar.to_string(), format!("{bytes:#x}"));
    let tree = tree(args.tree.as_deref())?;
    let (space, units) = match space {
        BarSpace::Memory => ("memory", "bytes"),
        BarSpace::Io => ("io", "ports"),
    };
    let more = match args.class {
        Class::Net => " --duration 2s",
        // Only the embedded disk is this run's alone: the command stays in use when the driver writes to its device.
        Class::Block if device.is_empty() => " --exercise write,read,fsync,verify",
        Class::Block => " --exercise read",
        Class::Serial => " --pty @NAME@.pty --duration 2s",
        Class::Misc => "",
    };
    let runtime = if matches!(args.class, Class::Net | Class::Block) { RUNTIME } else { "" };
    let map = if args.class == Class::Serial { SERIAL_MAP } else { MAP };
    let ident = args.name.replace('-', "_");
    let beginning = beginning();
    let filled = |text: &str| {
        // First what may hold names itself.
        let words = [
            ("@BUILD@", kind.build),
            ("@TEST@", kind.test),
            ("@MODULE@", kind.module),
            ("@SOURCE@", kind.source),
            ("@TESTED@", kind.tested),
            ("@REMADE@", kind.remade),
            ("@CONSTANTS@", kind.constants),
            ("@BEGINNING@", &beginning),
            ("@LANGUAGE@", kind.language),
            ("@CLASS@", args.class.name()),
            ("@DEVICE@", &device),
            ("@MORE@", more),
            ("@RUNTIME@", runtime),
            ("@SPACE@", space),
            ("@UNITS@", units),
            ("@BAR@", &bar),
            ("@BYTES@", &bytes),
            ("@PCI@", &ids),
            ("@IDENT@", &ident),
            ("@NAME@", &args.name),
            ("@NOOK@", &tree),
        ];
        words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    };
    let all = [COMMON, map].into_iter().chain(kind.templates).flatten();
    let mut files: Vec<(String, String)> = all.map(|(place, _, text)| (filled(place), filled(text))).collect();
    files.push((".gitignore".into(), kind.ignored.into()));
    // Last, so that make takes it for newer than the map.
    files.push((kind.constants.into(), registers(&files, kind.written)?));
    let folder = Path::new(&args.name);
    if let Err(error) = fs::create_dir(folder) {
        let taken = error.kind() == ErrorKind::AlreadyExists;
        let remedy = if taken { ": choose another name" } else { "" };
        return Err(error).with_context(|| format!("cannot make the folder {}{remedy}", args.name));
    }
    if let Err(error) = write(folder, &files) {
        // It was made above.
        let _ = fs::remove_dir_all(folder);
        return Err(error);
    }
    let mut text: String = files.iter().map(|(place, _)| format!("{}/{place}\n", args.name)).collect();
    let run = format!("nook-run @MODULE@ {device}--registers @NAME@.regs.toml{more}");
    text.extend(note.map(|note| format!("note: {note}\n")));
    if beginning::is_of_another_version(Path::new(&tree)) {
        text += &format!("note: {}\n", beginning::other_version(&tree));
    }
    if args.tree.is_none() {
        text += &format!(
            "note: the project builds against {tree}, from which this command was built; --tree names another\n"
        );
    }
    text += &format!("next: cd {}\n", args.name);
    for command in [kind.build, &run, kind.test] {
        text += &format!("      {}\n", filled(command));
    }
    Ok(text)
}

/// Returns the constants of the map that is among these files.
fn registers(files: &[(String, String)], language: constants::Language) -> Result<String> {
    let map = files.iter().find(|(place, _)| place.ends_with(nook_regs_file::ENDING));
    let map = nook_regs_file::read(&map.context("a project has a map")?.1).context("the project's map")?;
    constants(map.map, language)
}

fn write(folder: &Path, files: &[(String, String)]) -> Result<()> {
    for (place, text) in files {
        let path = folder.join(place);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        made.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What the driver is for, as its files name it.
struct Target {
    ids: String,
    /// The options that a run needs for it, each with a blank behind it.
    option: String,
    /// The BAR with which its map begins, and how much of it that describes.
    space: BarSpace,
    bar: u8,
    bytes: u64,
    /// What the author is to look after.
    note: Option<String>,
}

/// How much of a BAR a map begins with, if there is as much.
const BAR_BYTES: u64 = 0x100;

impl Target {
    fn new(ids: &str, option: &str) -> Self {
        let (ids, option) = (ids.into(), option.into());
        Target { ids, option, space: BarSpace::Memory, bar: 0, bytes: BAR_BYTES, note: None }
    }

    /// A chip like the 16550, with its eight ports.
    fn ports(ids: &str, option: &str) -> Self {
        Target { space: BarSpace::Io, bytes: 8, ..Target::new(ids, option) }
    }

    /// Finds out what can be known: QEMU is asked about its device.
    fn of(args: &NewArgs) -> Result<Self> {
        let given = args.pci.as_ref().map(|Ids(ids)| ids.as_str());
        match (&args.qemu, given, args.class) {
            (Some(device), given, class) => Target::asked(device, given, class),
            (None, Some(ids), Class::Serial) => Ok(Target::ports(ids, "--pci ADDRESS ")),
            (None, Some(ids), _) => Ok(Target::new(ids, "--pci ADDRESS ")),
            (None, None, Class::Net) => Ok(Target::new("8086:100e", "")),
            (None, None, Class::Block) => Ok(Target::new("1234:0108", "")),
            (None, None, Class::Serial) => Ok(Target::ports("1b36:0002", "--qemu pci-serial ")),
            (None, None, Class::Misc) => Ok(Target::new("1234:11e8", "--qemu edu ")),
        }
    }

    fn asked(device: &DeviceSpec, given: Option<&str>, class: Class) -> Result<Self> {
        // The driver is run in its own folder.
        let told = device.clone().from_anywhere().context("finding the drive's file")?;
        let option = format!("--qemu {} ", in_shell(&told.to_string()));
        match ask(device) {
            Ok((ids, bars)) => {
                let target = Target::new(given.unwrap_or(&ids), &option);
                let space = if class == Class::Serial { BarSpace::Io } else { BarSpace::Memory };
                // Of several as long the first: others are for interrupts, or show the same once more.
                let found = bars.iter().filter(|bar| bar.space == space).rev().max_by_key(|bar| bar.len_bytes);
                Ok(match found {
                    Some(bar) => Target { space, bar: bar.index, bytes: bar.len_bytes.min(BAR_BYTES), ..target },
                    None => {
                        let space = if space == BarSpace::Io { "I/O" } else { "memory" };
                        let note =
                            format!("QEMU's `{device}` has no BAR in {space} space: describe another in the map");
                        Target { note: Some(note), ..target }
                    }
                })
            }
            Err(QemuError::NotInstalled { program }) => {
                let why = format!("{} is not installed, so it was not asked about `{device}`", program.display());
                let ids =
                    given.with_context(|| format!("{why}: give its ids with --pci VVVV:DDDD, from its manual"))?;
                let note = format!("{why}: see to it that the map describes the right BAR");
                let target = if class == Class::Serial { Target::ports } else { Target::new };
                Ok(Target { note: Some(note), ..target(ids, &option) })
            }
            Err(error) => Err(error).with_context(|| format!("--qemu {device}")),
        }
    }
}

/// Starts QEMU with the device, and returns its ids and BARs.
fn ask(device: &DeviceSpec) -> Result<(String, Vec<BarInfo>), QemuError> {
    let mut config = QemuConfig::new(device.clone(), QemuNet::User { restrict: true });
    config.program = QemuProgram::from_environment()?;
    // Nothing reaches memory before a driver runs; QEMU wants some.
    let what = || "making a DMA window".to_owned();
    let window = DmaWindow::new(4096).map_err(|source| QemuError::Os { what: what(), source })?;
    let device = QemuDevice::start(config, &window)?;
    let identity = device.identity();
    Ok((format!("{:04x}:{:04x}", identity.vendor, identity.device), device.bars().to_vec()))
}

/// Returns nook's tree, as it stands in files of the project: as it was named, so that a link to it can be named.
fn tree(given: Option<&Path>) -> Result<String> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this command was built nowhere")?;
    let path = given.unwrap_or(built_from);
    let found = std::path::absolute(path).ok().filter(|path| path.join("driver-sdk/Cargo.toml").is_file());
    let found = found.with_context(|| {
        format!("{} is no source tree of nook's (it has no driver-sdk): name one with --tree DIR", path.display())
    })?;
    match found.to_str().filter(|text| text.chars().all(is_plain)) {
        Some(text) => Ok(text.to_owned()),
        None => bail!(
            "{} has characters in its path that make, cargo or a shell could take for something else: link to it from \
             another place, and name that with --tree",
            found.display()
        ),
    }
}

/// Returns a word as a shell takes it for one.
fn in_shell(word: &str) -> String {
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._+@,=-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_files_have_them() {
        assert_eq!("10EC:8139".parse(), Ok(Ids("10ec:8139".into())));
        for wrong in ["", "10ec", "10ec:", "10ec:813", "10ec:81390", "class:010802", "+0ec:8139"] {
            assert!(wrong.parse::<Ids>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tree_with_an_odd_path_is_refused_and_a_link_to_it_is_not() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        for odd in ["a b", "a&b", "a;b", "a(b", "a*b", "a~b", "a#b"] {
            let odd = place.join(odd);
            fs::create_dir_all(odd.join("driver-sdk")).unwrap();
            fs::write(odd.join("driver-sdk/Cargo.toml"), "").unwrap();
            let refused = tree(Some(&odd)).unwrap_err().to_string();
            assert!(refused.contains("link to it from another place"), "{refused}");
            let link = place.join("link");
            std::os::unix::fs::symlink(&odd, &link).unwrap();
            assert_eq!(tree(Some(&link)).unwrap(), link.to_str().unwrap());
            fs::remove_file(&link).unwrap();
        }
        assert!(tree(Some(&place)).unwrap_err().to_string().contains("no source tree"));
    }
}
