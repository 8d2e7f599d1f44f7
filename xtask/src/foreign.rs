//! Drivers that somebody else wrote, in C, for another system ([`System`]). The system's source comes from Debian's
//! source package ([`source`]) and is compiled for wasm as it is, with the shim in `driver-sdk/<system>` and the
//! runtime in `driver-sdk/c`.
//!
//! A folder in the shim's that has a file `sources` is a driver: the file names the system's files, `driver.h` (if
//! there is one) stands before each file that is compiled, and `manifest` is the driver's, without its first line. What
//! else of C it has is the shim's for this driver. A driver without a manifest is compiled and linked, and nothing
//! more.

pub mod archive;
pub mod source;

use crate::{cargo, setup, util};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

/// Without `atomics` fences are left out; with them, and one thread, clang would leave them out too but for the thread
/// model.
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
];
/// For what we wrote: the system's own files are compiled as they are, without remarks.
const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Werror"];

/// The stack comes first, so that an overflow traps. A symbol that is not defined anywhere is an error of the linker's;
/// names stay, because the undo log finds the stack pointer by its own.
const LINK: &[&str] = &["--no-entry", "--stack-first", "-z", "stack-size=65536", "--gc-sections", "--fatal-warnings"];

/// What stands before a manifest in the shim's folder.
const HEADER_OF_ABI: &str = "driver-sdk/c/include/nook/abi.h";

/// The variable that names another QEMU, to nook-run and to tests.
pub const NOOK_QEMU: &str = "NOOK_QEMU";

/// The system that drivers were written for.
pub struct System {
    /// Its folder in `driver-sdk` and in `target`.
    pub name: &'static str,
    /// Where its source comes from.
    pub package: source::Package,
    /// More of the compiler's flags.
    pub flags: &'static [&'static str],
    /// Folders of the system's that hold headers for every driver. The shim's come before them.
    pub headers: &'static [&'static str],
    /// And one that comes after all others.
    pub last_headers: Option<&'static str>,
}

impl System {
    /// Builds every driver, says what it is made of, and returns where the modules are, by the names in their
    /// manifests.
    pub fn build(&'static self) -> Result<BTreeMap<String, PathBuf>> {
        let tools = setup::for_c()?;
        let source = source::fetch(&self.package, self.name)?;
        let drivers = self.drivers()?;
        ensure!(!drivers.is_empty(), "no folder in {} has a file `sources`", self.shim().display());
        let mut built = BTreeMap::new();
        for folder in drivers {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let driver = Driver::read(self, &folder, &source)?;
            let of = || format!("{}'s {name}", self.package.title);
            built.extend(driver.build(&name, &tools).with_context(of)?);
        }
        let count = |folder: &str, endings: &[&str]| lines_in(&util::root().join(folder), endings);
        println!(
            "{}: the shim has {} lines of headers and {} of C; the C runtime has {} lines and the header of the ABI",
            self.name,
            lines_in(&self.shim().join("include"), &["h"])?,
            lines_in(&self.shim(), &["c", "h"])? - lines_in(&self.shim().join("include"), &["h"])?,
            count("driver-sdk/c", &["c", "h"])? - lines(&util::root().join(HEADER_OF_ABI))?,
        );
        Ok(built)
    }

    fn shim(&self) -> PathBuf {
        util::root().join("driver-sdk").join(self.name)
    }

    /// Returns the folders of drivers.
    fn drivers(&self) -> Result<Vec<PathBuf>> {
        let mut drivers = folders(&self.shim())?;
        drivers.retain(|folder| folder.join("sources").is_file());
        Ok(drivers)
    }
}

/// Has the driver move frames, once with each set of arguments, and with this QEMU if one is named. `nook-run` fails if
/// some are lost or changed.
pub fn exercise(driver: &str, runs: &[&[&str]], qemu: Option<&Path>) -> Result<()> {
    let file = util::target_dir().join("drivers").join(format!("{driver}.wasm"));
    let nook_run = cargo::binary("nook-run")?;
    for more in runs {
        let mut command = Command::new(&nook_run);
        command.envs(qemu.map(|qemu| (NOOK_QEMU, qemu)));
        util::run(command.arg(&file).args(["--exercise", "ping,tcp,rr"]).args(*more))?;
    }
    Ok(())
}

/// One driver.
struct Driver {
    system: &'static System,
    /// What the shim has for it.
    folder: PathBuf,
    /// Where the system's source is.
    source: PathBuf,
    /// Its files and folders of headers, from there.
    files: Vec<String>,
    headers: Vec<String>,
    /// What stands before each file.
    before: Option<PathBuf>,
    manifest: Option<String>,
}

impl Driver {
    fn read(system: &'static System, folder: &Path, source: &Path) -> Result<Driver> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let text = read("sources")?;
        let named = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (headers, files) = named.map(String::from).partition(|line| line.ends_with('/'));
        let before = Some(folder.join("driver.h")).filter(|header| header.is_file());
        let manifest = folder.join("manifest").is_file().then(|| read("manifest")).transpose()?;
        let (folder, source) = (folder.to_path_buf(), source.to_path_buf());
        Ok(Driver { system, folder, source, files, headers, before, manifest })
    }

    /// Says where the module is, if it has a manifest.
    fn build(&self, name: &str, tools: &setup::CTools) -> Result<Option<(String, PathBuf)>> {
        let objects = util::target_dir().join(self.system.name).join("objects").join(name);
        let _ = fs::remove_dir_all(&objects);
        fs::create_dir_all(&objects).with_context(|| format!("making {}", objects.display()))?;
        let mut units = Vec::new();
        for file in &self.files {
            units.push((self.source.join(file), self.compile(tools, false)));
        }
        for folder in [&self.folder, &self.system.shim().join("src"), &util::root().join("driver-sdk/c/src")] {
            for file in files(folder, &["c"])? {
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
        let source::Package { title, version, .. } = self.system.package;
        let mut from = format!("{} files of {title} {version}, {lines} lines, 0 changed", self.files.len());
        if let Some(before) = &self.before {
            from += &format!(", {} lines before them", self::lines(before)?);
        }
        let module = objects.join("driver.wasm");
        if let Some(manifest) = &self.manifest {
            linked.push(self.manifest_object(manifest, &objects, tools)?);
        }
        let mut link = Command::new(&tools.linker);
        link.args(LINK).arg("-o").arg(&module).args(&linked).arg("-L").arg(&tools.libraries).arg("-lc");
        util::run(&mut link)
            .context("it does not link; what the linker misses belongs into the shim's folder `src`")?;
        let bytes = fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
        check_imports(&bytes)?;
        let system = self.system.name;
        if self.manifest.is_none() {
            println!("{system}: {name} compiles and links, without a manifest: {from}");
            return Ok(None);
        }
        let named = nook_build::module::driver_name(&bytes)?;
        let to = util::target_dir().join("drivers").join(format!("{named}.wasm"));
        let news = if util::write_if_changed(&to, &bytes)? { "new" } else { "unchanged" };
        println!("{system}: target/drivers/{named}.wasm from {from}; {} bytes, {news}", bytes.len());
        Ok(Some((named, to)))
    }

    /// Returns the compiler, with everything but the file.
    fn compile(&self, tools: &setup::CTools, ours: bool) -> Command {
        let mut clang = Command::new(&tools.compiler);
        clang.args(FLAGS).args(self.system.flags).args(if ours { WARNINGS } else { &["-w"] });
        clang.arg("-I").arg(self.system.shim().join("include"));
        clang.arg("-I").arg(util::root().join("driver-sdk/c/include"));
        for folder in self.system.headers.iter().copied().chain(self.headers.iter().map(String::as_str)) {
            clang.arg("-isystem").arg(self.source.join(folder));
        }
        clang.arg("-isystem").arg(&tools.builtin_headers).arg("-isystem").arg(&tools.libc_headers);
        if let Some(folder) = self.system.last_headers {
            clang.arg("-idirafter").arg(self.source.join(folder));
        }
        if let Some(before) = &self.before {
            clang.arg("-include").arg(before);
        }
        clang
    }

    /// Returns the manifest as an object file, with the version of the ABI from the header that the shim is compiled
    /// with.
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

/// Checks that a driver imports the host's functions only. (What of wasi-libc asks a system for something would import
/// that.)
fn check_imports(module: &[u8]) -> Result<()> {
    for (from, name) in nook_build::module::imports(module)? {
        ensure!(
            from == "nook",
            "the module imports `{from}.{name}`, which no host has: something in it asks a system, and the shim must \
             answer instead (its folder `src`)"
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
    fn every_driver_names_files_of_its_system() {
        for system in [&crate::dpdk::DPDK, &crate::linux::LINUX] {
            let drivers = system.drivers().unwrap();
            assert!(!drivers.is_empty(), "{}", system.name);
            for folder in drivers {
                let driver = Driver::read(system, &folder, Path::new("")).unwrap();
                assert!(!driver.files.is_empty(), "{}", folder.display());
                let is_in = |file: &String| file.starts_with("drivers/") || file.starts_with("lib/");
                assert!(driver.files.iter().all(|file| is_in(file) && file.ends_with(".c")), "{}", folder.display());
            }
        }
    }
}
