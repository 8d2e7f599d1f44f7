//! Finds or makes a way to compile drivers to wasm32-unknown-unknown.
//!
//! Two ways are known, tried in this order: the active rustc with the target's library installed (which rustup can
//! add, if its server answers), and Debian's rustc with its library source, which builds `core` and `alloc` itself.
//! Nothing is installed here: who can make a way that is missing says how ([`Machine::make`]).

use crate::{cargo, command};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What drivers are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Forces one way; for tests, and for machines that have both.
const FORCE: &str = "NOOK_WASM_TOOLCHAIN";
/// Debian's compiler, by its full path, as rustup's `rustc` comes first in PATH.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// How drivers are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The active rustc and an installed library for the target.
    Rustup,
    /// Debian's rustc-web and rust-web-src; the library is built with the driver.
    Debian,
}

impl Way {
    const ALL: [Way; 2] = [Way::Rustup, Way::Debian];

    /// Returns its name, in the variable that forces it and where it is remembered.
    pub fn name(self) -> &'static str {
        match self {
            Way::Rustup => "rustup",
            Way::Debian => "debian",
        }
    }

    /// Returns the way with this name.
    pub fn from_name(name: &str) -> Option<Way> {
        Way::ALL.into_iter().find(|way| way.name() == name)
    }
}

/// A way that was seen to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    way: Way,
    /// `rustc 1.95.0`, for messages.
    version: String,
    /// What links for wasm, where rustc does not find it by itself.
    linker: Option<PathBuf>,
}

impl Toolchain {
    /// Returns which way it is.
    pub fn way(&self) -> Way {
        self.way
    }

    /// One clause for messages.
    pub fn describe(&self) -> String {
        match self.way {
            Way::Rustup => format!("{} with its {TARGET} library", self.version),
            Way::Debian => format!("Debian's {} with its library source", self.version),
        }
    }

    /// Returns whether `cargo clippy` works this way: Debian's compiler comes without it.
    pub fn has_clippy(&self) -> bool {
        self.way == Way::Rustup
    }

    /// Adds what a cargo command needs to compile for the target this way.
    pub fn apply(&self, cargo: &mut Command) {
        cargo.args(["--target", TARGET]);
        if self.way == Way::Debian {
            cargo.arg("-Zbuild-std=core,alloc,panic_abort");
            // -Z options are for nightly compilers, unless one says that one knows.
            cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            // `cargo run` puts the libraries of rustup's compiler there; Debian's must not load them.
            cargo.env_remove("LD_LIBRARY_PATH");
        }
        if let Some(linker) = &self.linker {
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
}

/// Returns the way that the environment forces, if it does. For tests, and for who has both.
///
/// # Errors
/// If there is no way of that name.
pub fn forced() -> Result<Option<Way>> {
    match env::var(FORCE) {
        Err(_) => Ok(None),
        Ok(name) => {
            let way = Way::from_name(&name);
            way.map(Some).with_context(|| format!("{FORCE}={name}: it can be `rustup` or `debian` only"))
        }
    }
}

/// Finds the first way that is there.
///
/// # Errors
/// If none is; it says what mends that.
pub fn find() -> Result<Toolchain> {
    choose(&AsItIs, forced()?, None)
}

/// What the choice needs from the machine; apart, so that the choice can be tested.
pub trait Machine {
    /// Returns the toolchain if it is there; it changes nothing.
    ///
    /// # Errors
    /// If it is not there; it says what is missing.
    fn probe(&self, way: Way) -> Result<Toolchain>;
    /// Tries to install it.
    ///
    /// # Errors
    /// If that did not work, or if nothing is installed here, which is why it is missing.
    fn make(&self, way: Way, missing: anyhow::Error) -> Result<()>;
}

/// Chooses the remembered way if it still holds, else the first that is there or can be made.
///
/// # Errors
/// If there is none; it says what was tried, and what mends it.
pub fn choose(machine: &impl Machine, forced: Option<Way>, remembered: Option<Way>) -> Result<Toolchain> {
    let ways: Vec<Way> = Way::ALL.into_iter().filter(|way| forced.is_none_or(|only| only == *way)).collect();
    if let Some(toolchain) = remembered.filter(|way| ways.contains(way)).and_then(|way| machine.probe(way).ok()) {
        return Ok(toolchain);
    }
    let mut failures = Vec::new();
    for way in ways {
        let found = machine.probe(way).or_else(|missing| {
            machine.make(way, missing)?;
            machine.probe(way)
        });
        match found {
            Ok(toolchain) => return Ok(toolchain),
            Err(error) => failures.push(format!("\n  {}: {error:#}", way.name())),
        }
    }
    bail!(
        "found no way to compile drivers to {TARGET}. Tried:{}\nAny one of these mends it:
  rustup target add {TARGET}
  sudo apt-get install --no-install-recommends rustc-web rust-web-src   (Debian)
  a rustc in PATH that brings the {TARGET} library (e.g. unpack rust-std for it into the toolchain's folder)",
        failures.concat()
    )
}

/// This machine, with what is installed.
struct AsItIs;

impl Machine for AsItIs {
    fn probe(&self, way: Way) -> Result<Toolchain> {
        probe(way)
    }

    fn make(&self, _: Way, missing: anyhow::Error) -> Result<()> {
        Err(missing)
    }
}

/// Finds this way's toolchain, if it is there.
///
/// # Errors
/// If it is not; it says what is missing.
pub fn probe(way: Way) -> Result<Toolchain> {
    match way {
        Way::Rustup => probe_rustup(&env::var("RUSTC").unwrap_or_else(|_| "rustc".into())),
        Way::Debian => probe_debian(),
    }
}

fn probe_rustup(rustc: &str) -> Result<Toolchain> {
    let libraries = command::output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))?;
    let libraries = Path::new(libraries.trim());
    let has_core = fs::read_dir(libraries).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore-")))
    });
    ensure!(has_core, "the active rustc has no library for {TARGET} at {}", libraries.display());
    Ok(Toolchain { way: Way::Rustup, version: version(rustc)?, linker: None })
}

fn probe_debian() -> Result<Toolchain> {
    ensure!(Path::new(DEBIAN_RUSTC).exists(), "Debian's rustc-web is not installed (no {DEBIAN_RUSTC})");
    let version = version(DEBIAN_RUSTC)?;
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    ensure!(
        is_at_least(&version, wanted),
        "{DEBIAN_RUSTC} is {version}, older than the {wanted} that this workspace needs: install rustc-web"
    );
    let sysroot = command::output(debian_rustc().args(["--print", "sysroot"]))?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    ensure!(source.exists(), "Debian's rust-web-src is not installed (no {})", source.display());
    let linker = wasm_linker().ok_or_else(|| anyhow!("there is no rust-lld and no wasm-ld (Debian's lld has one)"))?;
    Ok(Toolchain { way: Way::Debian, version, linker: Some(linker) })
}

/// Debian's compiler, kept from loading rustup's libraries (see [`Toolchain::apply`]).
fn debian_rustc() -> Command {
    let mut rustc = Command::new(DEBIAN_RUSTC);
    rustc.env_remove("LD_LIBRARY_PATH");
    rustc
}

/// Returns the active toolchain's rust-lld, which is as new as its LLVM, else a wasm-ld in PATH.
pub fn wasm_linker() -> Option<PathBuf> {
    let sysroot = command::output(Command::new("rustc").args(["--print", "sysroot"])).ok();
    let host = cargo::host_triple().ok();
    let own = sysroot
        .zip(host)
        .map(|(sysroot, host)| Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin").join("rust-lld"));
    own.filter(|file| file.exists()).or_else(|| command::find_program("wasm-ld"))
}

/// `rustc 1.95.0`, without commit and date.
fn version(rustc: &str) -> Result<String> {
    let mut command = if rustc == DEBIAN_RUSTC { debian_rustc() } else { Command::new(rustc) };
    let text = command::output(command.arg("--version"))?;
    Ok(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// Returns whether `rustc 1.96.0` is `1.95` or newer. What cannot be read is not.
fn is_at_least(version: &str, wanted: &str) -> bool {
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let have = version.split_whitespace().nth(1).and_then(numbers);
    have.zip(numbers(wanted)).is_some_and(|(have, wanted)| have >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A machine on which some ways are there and some can be made; it notes what was done.
    #[derive(Default)]
    struct Fake {
        there: RefCell<Vec<Way>>,
        can_make: Vec<Way>,
        done: RefCell<Vec<String>>,
    }

    impl Machine for Fake {
        fn probe(&self, way: Way) -> Result<Toolchain> {
            self.done.borrow_mut().push(format!("probe {}", way.name()));
            ensure!(self.there.borrow().contains(&way), "{} is missing", way.name());
            Ok(Toolchain { way, version: "rustc 1.96.0".into(), linker: None })
        }

        fn make(&self, way: Way, _: anyhow::Error) -> Result<()> {
            self.done.borrow_mut().push(format!("make {}", way.name()));
            ensure!(self.can_make.contains(&way), "cannot make {}", way.name());
            self.there.borrow_mut().push(way);
            Ok(())
        }
    }

    #[test]
    fn an_installed_target_is_used_and_nothing_is_installed() {
        let fake = Fake { there: vec![Way::Rustup, Way::Debian].into(), ..Fake::default() };
        assert_eq!(choose(&fake, None, None).unwrap().way, Way::Rustup);
        assert_eq!(*fake.done.borrow(), ["probe rustup"]);
    }

    #[test]
    fn rustup_is_asked_for_the_target_before_debian_is_looked_at() {
        let fake = Fake { can_make: vec![Way::Rustup], ..Fake::default() };
        assert_eq!(choose(&fake, None, None).unwrap().way, Way::Rustup);
        assert_eq!(*fake.done.borrow(), ["probe rustup", "make rustup", "probe rustup"]);
    }

    #[test]
    fn debian_serves_where_rustup_cannot() {
        let fake = Fake { can_make: vec![Way::Debian], ..Fake::default() };
        assert_eq!(choose(&fake, None, None).unwrap().way, Way::Debian);
    }

    #[test]
    fn a_remembered_way_that_still_holds_is_the_only_one_looked_at() {
        let fake = Fake { there: vec![Way::Debian].into(), ..Fake::default() };
        assert_eq!(choose(&fake, None, Some(Way::Debian)).unwrap().way, Way::Debian);
        assert_eq!(*fake.done.borrow(), ["probe debian"]);
    }

    #[test]
    fn a_remembered_way_that_is_gone_is_forgotten() {
        let fake = Fake { there: vec![Way::Rustup].into(), ..Fake::default() };
        assert_eq!(choose(&fake, None, Some(Way::Debian)).unwrap().way, Way::Rustup);
    }

    #[test]
    fn a_forced_way_is_used_whatever_is_remembered() {
        let fake = Fake { there: vec![Way::Rustup, Way::Debian].into(), ..Fake::default() };
        assert_eq!(choose(&fake, Some(Way::Debian), Some(Way::Rustup)).unwrap().way, Way::Debian);
        assert_eq!(*fake.done.borrow(), ["probe debian"]);
    }

    #[test]
    fn without_any_way_the_error_says_what_was_tried_and_names_three_ways_out() {
        let message = format!("{:#}", choose(&Fake::default(), None, None).unwrap_err());
        for part in ["cannot make rustup", "cannot make debian", "rustup target add", "rustc-web", "rust-std"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn versions_compare_by_number_and_not_by_letter() {
        assert!(is_at_least("rustc 1.96.0", "1.95"));
        assert!(is_at_least("rustc 1.100.0", "1.95"));
        assert!(!is_at_least("rustc 1.63.0", "1.95"));
        assert!(!is_at_least("gibberish", "1.95"));
    }
}
