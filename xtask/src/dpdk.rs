//! `cargo xtask drivers --with dpdk`: drivers that somebody else wrote, in C, for another system. DPDK's source comes
//! from Debian's source package ([`source`]) and is compiled for wasm as it is, with the shim in `driver-sdk/dpdk`.
//!
//! A folder in `driver-sdk/dpdk` that has a file `sources` is a driver: the file names DPDK's files, and `manifest` is
//! the driver's, without its first line. A driver without a manifest is compiled and linked, and nothing more.

mod source;
mod without;

pub use source::VERSION;

use crate::{cargo, guest, manifest, setup, test, util};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Without `atomics` fences are left out; with them, and one thread, clang would leave them out too but for the thread
/// model. DPDK's per-thread variables are plain ones, as there is one thread.
const FLAGS: &[&str] = &[
    "--target=wasm32-wasi",
    "-std=gnu11",
    "-O2",
    "-matomics",
    "-mbulk-memory",
    "-msimd128",
    "-mthread-model",
    "posix",
    "-ffunction-sections",
    "-fdata-sections",
    "-nostdinc",
    "-D__thread=",
    "-D_WASI_EMULATED_SIGNAL",
    "-DALLOW_EXPERIMENTAL_API",
    "-DALLOW_INTERNAL_API",
];
/// For what we wrote: DPDK's own files are compiled as they are, without remarks.
const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Werror"];

/// Folders of DPDK's that hold headers for every driver. The shim's come before them.
const HEADERS: &[&str] = &[
    "lib/eal/linux/include",
    "lib/eal/include",
    "lib/eal",
    "config",
    "lib/ethdev",
    "lib/hash",
    "lib/kvargs",
    "lib/mbuf",
    "lib/mempool",
    "lib/meter",
    "lib/net",
    "lib/pci",
    "lib/ring",
    "lib/security",
    "lib/telemetry",
    "drivers/bus/pci",
];
/// Has `sys/queue.h`, which wasi-libc has not. It comes last, as the others of its headers are for Windows.
const LAST_HEADERS: &str = "lib/eal/windows/include";

/// The stack comes first, so that an overflow traps. A symbol that is not defined anywhere is an error of the linker's;
/// names stay, because the undo log finds the stack pointer by its own.
const LINK: &[&str] = &["--no-entry", "--stack-first", "-z", "stack-size=65536", "--gc-sections", "--fatal-warnings"];

/// What stands before a manifest in the shim's folder.
const HEADER_OF_ABI: &str = "driver-sdk/c/include/nook/abi.h";

/// What [`build`] has built in this process.
static BUILT: Mutex<Option<BTreeMap<String, PathBuf>>> = Mutex::new(None);

/// Builds every driver, once, says what it is made of, and returns where the modules are, by the names in their
/// manifests.
pub fn build() -> Result<BTreeMap<String, PathBuf>> {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.is_none() {
        *built = Some(build_all()?);
    }
    Ok(built.clone().unwrap_or_default())
}

fn build_all() -> Result<BTreeMap<String, PathBuf>> {
    let tools = setup::for_c()?;
    let source = source::fetch()?;
    let shim = util::root().join("driver-sdk/dpdk");
    let mut drivers = folders(&shim)?;
    drivers.retain(|folder| folder.join("sources").is_file());
    ensure!(!drivers.is_empty(), "no folder in {} has a file `sources`", shim.display());
    let mut built = BTreeMap::new();
    for folder in drivers {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let driver = Driver::read(&folder, &source)?;
        built.extend(driver.build(&name, &tools).with_context(|| format!("DPDK's {name}"))?);
    }
    let count = |folder: &str, endings: &[&str]| lines_in(&util::root().join(folder), endings);
    println!(
        "dpdk: the shim has {} lines of headers and {} of C; the C runtime has {} lines and the header of the ABI",
        count("driver-sdk/dpdk/include", &["h"])?,
        count("driver-sdk/dpdk/src", &["c", "h"])?,
        count("driver-sdk/c", &["c", "h"])? - lines(&util::root().join(HEADER_OF_ABI))?,
    );
    Ok(built)
}

/// What DPDK's driver is run on by the command, which must move frames each time: the model, QEMU's cards, and the
/// model again with a call that ends in a trap every tenth of a second.
const RUNS: &[&[&str]] =
    &[&["--isolation", "sfi"], &["--qemu", "e1000"], &["--qemu", "e1000e"], &["--crash-every", "100ms"]];

/// And in the guest.
const GUEST_CASES: [&str; 4] = ["dpdk_counts_of_testpmd", "dpdk_pings", "dpdk_carries_tcp", "dpdk_is_taken_back"];

/// Builds every driver, and has DPDK's driver of the e1000 do what our own does, in the same tests.
pub fn test() -> Result<()> {
    without::test()?;
    build()?;
    let driver = util::target_dir().join("drivers/dpdk-e1000.wasm");
    let nook_run = cargo::binary("nook-run")?;
    for more in RUNS {
        let mut command = Command::new(&nook_run);
        util::run(command.arg(&driver).args(["--exercise", "ping,tcp,rr"]).args(*more))?;
    }
    let mut tests = cargo::command();
    tests.arg("test").args(cargo::WORKSPACE);
    tests.args(["--test", "dpdk", "--test", "conformance", "--test", "rollback"]);
    // DPDK's driver has no loopback.
    tests.args(["--", "--skip", "in_loopback"]).env("NOOK_TEST_DRIVER", "dpdk-e1000");
    util::run(&mut tests)?;
    // What needs root is about network namespaces.
    if test::has_namespaces() {
        let mut streams = cargo::command();
        streams.arg("test").args(cargo::WORKSPACE).args(["--test", "rigs"]);
        // How often this driver's ring rests long enough for a snapshot under TCP is chance.
        streams.args(["--", "--include-ignored", "--nocapture", "namespaces::", "--skip", "to_a_snapshot"]);
        util::run(streams.env("NOOK_TEST_DRIVER", "dpdk-e1000"))?;
    } else {
        println!("dpdk: LEFT OUT, because they need root and network namespaces: streams of iperf3");
    }
    guest::run(&GUEST_CASES.map(str::to_owned))
}

/// One driver of DPDK's.
struct Driver {
    /// Where DPDK's source is.
    source: PathBuf,
    /// Its files and folders of headers, from there.
    files: Vec<String>,
    headers: Vec<String>,
    manifest: Option<String>,
}

impl Driver {
    fn read(folder: &Path, source: &Path) -> Result<Driver> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let text = read("sources")?;
        let named = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (headers, files) = named.map(String::from).partition(|line| line.ends_with('/'));
        let manifest = folder.join("manifest").is_file().then(|| read("manifest")).transpose()?;
        Ok(Driver { source: source.to_path_buf(), files, headers, manifest })
    }

    /// Says where the module is, if it has a manifest.
    fn build(&self, name: &str, tools: &setup::CTools) -> Result<Option<(String, PathBuf)>> {
        let objects = util::target_dir().join("dpdk/objects").join(name);
        let _ = fs::remove_dir_all(&objects);
        fs::create_dir_all(&objects).with_context(|| format!("making {}", objects.display()))?;
        let mut units = Vec::new();
        for file in &self.files {
            units.push((self.source.join(file), self.compile(tools, false)));
        }
        for folder in ["driver-sdk/dpdk/src", "driver-sdk/c/src"] {
            for file in files(&util::root().join(folder), &["c"])? {
                units.push((file, self.compile(tools, true)));
            }
        }
        let mut linked = Vec::new();
        let mut commands = Vec::new();
        for (number, (file, mut compile)) in units.into_iter().enumerate() {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let object = objects.join(format!("{number:02}-{stem}.o"));
            compile.arg("-c").arg(&file).arg("-o").arg(&object);
            commands.push(compile);
            linked.push(object);
        }
        run_all(commands)?;
        let lines = self.files.iter().map(|file| lines(&self.source.join(file))).sum::<Result<usize>>()?;
        let from = format!("{} files of DPDK {}, {lines} lines, 0 changed", self.files.len(), source::VERSION);
        let module = objects.join("driver.wasm");
        if let Some(manifest) = &self.manifest {
            linked.push(self.manifest_object(manifest, &objects, tools)?);
        }
        let mut link = Command::new(&tools.linker);
        link.args(LINK).arg("-o").arg(&module).args(&linked).arg("-L").arg(&tools.libraries).arg("-lc");
        util::run(&mut link).context("it does not link; what the linker misses belongs into driver-sdk/dpdk/src")?;
        let bytes = fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
        check_imports(&bytes)?;
        if self.manifest.is_none() {
            println!("dpdk: {name} compiles and links, without a manifest: {from}");
            return Ok(None);
        }
        let named = manifest::driver_name(&bytes)?;
        let to = util::target_dir().join("drivers").join(format!("{named}.wasm"));
        let news = if util::write_if_changed(&to, &bytes)? { "new" } else { "unchanged" };
        println!("dpdk: target/drivers/{named}.wasm from {from}; {} bytes, {news}", bytes.len());
        Ok(Some((named, to)))
    }

    /// The compiler, with everything but the file.
    fn compile(&self, tools: &setup::CTools, ours: bool) -> Command {
        let root = util::root();
        let mut clang = Command::new(&tools.compiler);
        clang.args(FLAGS).args(if ours { WARNINGS } else { &["-w"] });
        clang.arg("-I").arg(root.join("driver-sdk/dpdk/include")).arg("-I").arg(root.join("driver-sdk/c/include"));
        for folder in HEADERS.iter().copied().chain(self.headers.iter().map(String::as_str)) {
            clang.arg("-isystem").arg(self.source.join(folder));
        }
        clang.arg("-isystem").arg(&tools.builtin_headers).arg("-isystem").arg(&tools.libc_headers);
        clang.arg("-idirafter").arg(self.source.join(LAST_HEADERS)).args(["-include", "rte_config.h"]);
        clang
    }

    /// The manifest as an object file, with the version of the ABI from the header that the shim is compiled with.
    fn manifest_object(&self, manifest: &str, objects: &Path, tools: &setup::CTools) -> Result<PathBuf> {
        let header = util::root().join(HEADER_OF_ABI);
        let text = fs::read_to_string(&header).with_context(|| format!("reading {}", header.display()))?;
        let line = abi_line(&text).with_context(|| format!("{} has no NOOK_ABI_LINE", header.display()))?;
        let (plain, assembly, object) =
            (objects.join("manifest"), objects.join("manifest.s"), objects.join("manifest.o"));
        let include = format!(
            "\t.section .custom_section.nook.manifest,\"\",@\n\t.incbin {:?}\n",
            plain.to_str().context("the repository's path is not UTF-8")?
        );
        util::write_if_changed(&plain, format!("{line}\n{manifest}").as_bytes())?;
        util::write_if_changed(&assembly, include.as_bytes())?;
        util::run(
            Command::new(&tools.compiler).arg("--target=wasm32").arg("-c").arg(&assembly).arg("-o").arg(&object),
        )?;
        Ok(object)
    }
}

/// `abi = 0.2` out of the header's definition.
fn abi_line(header: &str) -> Option<&str> {
    let (_, rest) = header.split_once("#define NOOK_ABI_LINE \"")?;
    rest.split_once("\\n\"").map(|(line, _)| line)
}

/// A driver imports the host's functions only. (What of wasi-libc asks a system for something would import that.)
fn check_imports(module: &[u8]) -> Result<()> {
    for (from, name) in manifest::imports(module)? {
        ensure!(
            from == "nook",
            "the module imports `{from}.{name}`, which no host has: something in it asks a system, and the shim must \
             answer instead (driver-sdk/dpdk/src)"
        );
    }
    Ok(())
}

/// Runs the commands, as many at once as there are processors; the first failure in order is the error.
fn run_all(commands: Vec<Command>) -> Result<()> {
    let left = Mutex::new(commands.into_iter().enumerate());
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some((number, mut command)) = left.lock().map(|mut left| left.next()).unwrap_or(None) {
            if let Err(error) = util::run(&mut command)
                && let Ok(mut failed) = failed.lock()
            {
                failed.push((number, error));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().unwrap_or_default();
    failed.sort_by_key(|(number, _)| *number);
    match failed.into_iter().next() {
        Some((_, error)) => Err(error).context("a file does not compile"),
        None => Ok(()),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading the folder {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let ends = |path: &PathBuf| path.extension().is_some_and(|ending| endings.iter().any(|it| ending == *it));
    Ok(entries(folder)?.into_iter().filter(|path| path.is_file() && ends(path)).collect())
}

fn lines(file: &Path) -> Result<usize> {
    let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(text.iter().filter(|&&byte| byte == b'\n').count())
}

/// Lines of the files with these endings, in the folder and below it.
fn lines_in(folder: &Path, endings: &[&str]) -> Result<usize> {
    let here = files(folder, endings)?.iter().map(|file| lines(file)).sum::<Result<usize>>()?;
    let below = folders(folder)?.iter().map(|folder| lines_in(folder, endings)).sum::<Result<usize>>()?;
    Ok(here + below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_first_line_is_the_headers() {
        assert_eq!(abi_line("x\n#define NOOK_ABI_LINE \"abi = 0.7\\n\"\ny"), Some("abi = 0.7"));
        assert_eq!(abi_line("nothing"), None);
        let header = fs::read_to_string(util::root().join(HEADER_OF_ABI)).unwrap();
        assert!(abi_line(&header).unwrap().starts_with("abi = "));
    }

    #[test]
    fn a_module_that_asks_a_system_is_refused_by_name() {
        let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x1c\x01\x16wasi_snapshot_preview1\x01a\0\0";
        let message = format!("{:#}", check_imports(module).unwrap_err());
        assert!(message.contains("wasi_snapshot_preview1.a"), "{message}");
        assert!(check_imports(b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0a\x01\x04nook\x01a\0\0").is_ok());
    }

    #[test]
    fn the_first_command_that_fails_is_the_error() {
        let commands = ["true", "exit 3", "true", "exit 4"].map(|script| {
            let mut sh = Command::new("sh");
            sh.args(["-c", script]);
            sh
        });
        let message = format!("{:#}", run_all(commands.into()).unwrap_err());
        assert!(message.contains("exit 3"), "{message}");
    }

    #[test]
    fn every_driver_names_files_and_folders_of_dpdks_drivers() {
        for folder in folders(&util::root().join("driver-sdk/dpdk")).unwrap() {
            if folder.join("sources").is_file() {
                let driver = Driver::read(&folder, Path::new("")).unwrap();
                assert!(!driver.files.is_empty() && !driver.headers.is_empty(), "{}", folder.display());
                assert!(
                    driver
                        .files
                        .iter()
                        .all(|file| (file.starts_with("drivers/") || file.starts_with("lib/")) && file.ends_with(".c"))
                );
            }
        }
    }
}
