//! The isolation levels, and variations of the sandbox: the one place that lists them.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use nook_mpk::MpkLauncher;
use nook_native::NativeLauncher;
use nook_process::{ProcessLauncher, Wait};
use nook_runtime::{CodeGen, DriverModule, Launcher, Mmio, ModuleCache, RollbackMethod, Wasi, WasmLauncher};
use nook_tests::driver_file;

/// How a driver is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// As `--isolation` calls it; for a variation, what is different.
    pub name: &'static str,
    /// What that is, in a few words.
    pub about: &'static str,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Native,
    Wrapped,
    Mpk,
    Wasm(Sandbox),
    Process(Wait),
}

/// A sandbox, as one may vary it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sandbox {
    undo: Option<RollbackMethod>,
    code: CodeGen,
    mmio: Mmio,
    /// The driver was compiled without SIMD.
    scalar: bool,
}

const CODE: CodeGen = CodeGen { guard_pages: true, spectre: true, deadline_checks: true, metered: false };
const SANDBOX: Sandbox = Sandbox { undo: None, code: CODE, mmio: Mmio::Emulated, scalar: false };

/// The baseline.
pub const NATIVE: Level = Level { name: "native", about: "a shared object, no checks", how: How::Native };
/// Native, behind the host's checks.
pub const WRAPPED: Level = Level { name: "wrapped", about: "a shared object, calls checked", how: How::Wrapped };
/// Native, behind a protection key.
pub const MPK: Level = Level { name: "mpk", about: "native code behind a memory protection key", how: How::Mpk };
/// The sandbox.
pub const SFI: Level = Level { name: "sfi", about: "WebAssembly", how: How::Wasm(SANDBOX) };
/// The sandbox whose calls can be rolled back.
pub const SFI_TXN: Level = Level {
    name: "sfi+txn",
    about: "WebAssembly with transactions",
    how: How::Wasm(Sandbox { undo: Some(RollbackMethod::Log), ..SANDBOX }),
};
/// The same, with the kernel's notes of written pages in place of most of the log.
pub const PAGES: Level = Level {
    name: "sfi+txn by pages",
    about: "WebAssembly with transactions, rollback.method = \"pages\"",
    how: How::Wasm(Sandbox { undo: Some(RollbackMethod::Pages), ..SANDBOX }),
};

/// Native, in a separate process that is woken.
pub const PROCESS: Level =
    Level { name: "process", about: "a separate process, woken", how: How::Process(Wait::Futex) };
/// Native, in a separate process that polls on another core.
pub const PROCESS_POLLED: Level =
    Level { name: "process, polled", about: "a separate process, polling", how: How::Process(Wait::Poll) };

/// The levels that are compared with each other: those in this process, from the least isolation to the most, then
/// those that leave it.
pub const LEVELS: &[Level] = &[NATIVE, WRAPPED, MPK, SFI, SFI_TXN, PROCESS, PROCESS_POLLED];

/// Those whose memory and time are all this process's.
pub const HERE: &[Level] = LEVELS.split_at(5).0;
/// Those of which a process can have a thousand nooks.
pub const MANY: &[Level] = &[NATIVE, WRAPPED, SFI, SFI_TXN];

/// Returns those that this machine can run.
pub fn levels() -> &'static [Level] {
    static LEVELS_HERE: LazyLock<Vec<Level>> = LazyLock::new(|| possible(LEVELS));
    &LEVELS_HERE
}

/// Returns those of [`HERE`] that this machine can run.
pub fn here() -> &'static [Level] {
    static HERE_HERE: LazyLock<Vec<Level>> = LazyLock::new(|| possible(HERE));
    &HERE_HERE
}

fn possible(levels: &[Level]) -> Vec<Level> {
    levels.iter().copied().filter(|level| level.obstacle().is_none()).collect()
}

/// Registers as the driver's memory.
pub const DIRECT: Level = Level {
    name: "sfi, direct registers",
    about: "WebAssembly, registers not checked",
    how: How::Wasm(Sandbox { mmio: Mmio::Direct, ..SANDBOX }),
};

const fn compiled(name: &'static str, code: CodeGen) -> Level {
    Level { name, about: name, how: How::Wasm(Sandbox { code, ..SANDBOX }) }
}

/// The sandbox with one thing of its code generation changed. The first is what the others are compared with.
pub const SETTINGS: &[Level] = &[
    SFI,
    compiled("bounds checks", CodeGen { guard_pages: false, ..CODE }),
    compiled("bounds checks, no Spectre mitigation", CodeGen { guard_pages: false, spectre: false, ..CODE }),
    compiled("no Spectre mitigation", CodeGen { spectre: false, ..CODE }),
    compiled("no deadline checks", CodeGen { deadline_checks: false, ..CODE }),
    Level {
        name: "driver without SIMD",
        about: "driver without SIMD",
        how: How::Wasm(Sandbox { scalar: true, ..SANDBOX }),
    },
    SFI_TXN,
    PAGES,
];

/// Which driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The network card's.
    E1000,
    /// The disk's.
    Nvme,
    /// The one that does one thing a given number of times; see [`touch_driver`].
    Touch,
}

impl Program {
    /// Returns its module.
    ///
    /// # Panics
    /// If it was not built.
    pub fn module(self) -> Arc<DriverModule> {
        static TOUCH: LazyLock<Arc<DriverModule>> = LazyLock::new(|| load("touch"));
        match self {
            Program::E1000 => nook_tests::e1000_module(),
            Program::Nvme => nook_tests::nvme_module(),
            Program::Touch => TOUCH.clone(),
        }
    }

    /// Returns its module without SIMD: of the touching driver only, for the others have nothing that SIMD is for.
    fn scalar_module(self) -> Arc<DriverModule> {
        static SCALAR: LazyLock<Arc<DriverModule>> = LazyLock::new(|| load("touch-scalar"));
        match self {
            Program::E1000 | Program::Nvme => self.module(),
            Program::Touch => SCALAR.clone(),
        }
    }

    /// Returns the same driver, compiled in another way.
    fn file(self, extension: &str) -> PathBuf {
        let name = match self {
            Program::E1000 => "e1000",
            Program::Nvme => "nvme",
            Program::Touch => "touch",
        };
        driver_file(name).with_extension(extension)
    }

    fn native(self, level: nook_native::Level) -> Shared {
        let launcher = NativeLauncher::new(&self.file("so"), self.module().manifest(), level);
        Arc::new(launcher.unwrap_or_else(|error| panic!("{error}")))
    }

    fn domain(self) -> Shared {
        let launcher = MpkLauncher::new(&self.file("mpk"), self.module().manifest());
        Arc::new(launcher.unwrap_or_else(|error| panic!("{error}")))
    }

    fn process(self, wait: Wait) -> Shared {
        let launcher = ProcessLauncher::new(&self.file("elf"), self.module().manifest(), wait);
        Arc::new(launcher.unwrap_or_else(|error| panic!("{error}")))
    }
}

fn load(name: &str) -> Arc<DriverModule> {
    let module = DriverModule::load(&driver_file(name), Wasi::Refused);
    Arc::new(module.unwrap_or_else(|error| panic!("{error}; run `cargo xtask drivers`")))
}

/// A launcher that many nooks share.
pub type Shared = Arc<dyn Launcher + Sync>;

impl Level {
    /// Returns a launcher of `program`; its code is compiled now.
    ///
    /// # Panics
    /// If the module was not built or does not compile.
    pub fn launcher(&self, program: Program) -> Shared {
        self.launcher_with(program, &ModuleCache::none())
    }

    /// Returns the same, with compiled code out of `cache` if it is there.
    ///
    /// # Panics
    /// As [`launcher`](Self::launcher).
    pub fn launcher_with(&self, program: Program, cache: &ModuleCache) -> Shared {
        match self.how {
            How::Native => program.native(nook_native::Level::Native),
            How::Wrapped => program.native(nook_native::Level::Wrapped),
            How::Mpk => program.domain(),
            How::Wasm(sandbox) => sandbox.launcher(program, cache),
            How::Process(wait) => program.process(wait),
        }
    }

    /// Returns why this machine cannot run it, if it cannot.
    pub fn obstacle(&self) -> Option<String> {
        let answer = (self.how == How::Mpk).then(nook_mpk::supported)?;
        answer.err().map(|why| why.to_string())
    }

    /// Returns how many instances of each of these things are measured in turn. A process has keys for fifteen.
    pub(crate) fn instances(&self, things: usize) -> usize {
        const KEYS: usize = 15;
        const INSTANCES: usize = 5;
        if self.how == How::Mpk { (KEYS / things).clamp(1, INSTANCES) } else { INSTANCES }
    }

    /// Whether a driver's mistakes stay with the driver.
    pub fn isolates(&self) -> bool {
        !matches!(self.how, How::Native | How::Wrapped)
    }

    /// Returns what nook-run is given to run a driver at this level.
    pub fn options(&self) -> &'static [&'static str] {
        match self.how {
            How::Native => &["--isolation", "native"],
            How::Wrapped => &["--isolation", "wrapped"],
            How::Mpk => &["--isolation", "mpk"],
            How::Wasm(Sandbox { undo: Some(_), .. }) => &["--isolation", "sfi+txn"],
            How::Wasm(_) => &["--isolation", "sfi"],
            How::Process(Wait::Futex) => &["--isolation", "process"],
            How::Process(Wait::Poll) => &["--isolation", "process", "--process-wait", "poll"],
        }
    }

    /// Returns a name without what a name in JSON or a file should not have: `sfi_txn`.
    pub fn key(&self) -> String {
        key(self.name)
    }
}

/// Returns the text with everything but letters and digits as single underscores.
pub fn key(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("_")
}

impl Sandbox {
    fn launcher(&self, program: Program, cache: &ModuleCache) -> Shared {
        let module = if self.scalar { program.scalar_module() } else { program.module() };
        let launcher = match (self.undo, self.mmio) {
            (Some(method), _) => WasmLauncher::with_rollback(&module, cache, method.rollback()),
            (None, Mmio::Emulated) => WasmLauncher::compiled(&self.code, module, cache),
            (None, Mmio::Direct) => WasmLauncher::new(module, cache, Mmio::Direct),
        };
        Arc::new(launcher.expect("the driver compiles"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_json_are_words() {
        assert_eq!(SFI_TXN.key(), "sfi_txn");
        assert_eq!(key("bounds checks, no Spectre mitigation"), "bounds_checks_no_spectre_mitigation");
    }

    #[test]
    fn no_two_levels_have_one_name() {
        let settings = SETTINGS.iter().filter(|level| !LEVELS.contains(level));
        let mut names: Vec<_> = LEVELS.iter().chain(settings).chain([&DIRECT]).map(Level::key).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
