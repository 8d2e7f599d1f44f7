//! `cargo xtask guest-test`: a guest with Debian's kernel, an emulated IOMMU and QEMU's cards, in which drivers meet
//! vfio-pci as they do on hardware. The cases are shell functions in `tests/guest`; this side fetches, boots,
//! keeps the time limits, counts register accesses and collects what the cases report.
//!
//! Nothing is installed and nobody has to be root: all of it lies in `target/guest`. Times under emulation say nothing
//! about hardware; the counts do.

mod cases;
mod cpio;
mod debian;
mod keys;
mod lanes;
mod machine;
mod packaged;
mod peer;
mod servers;
mod testpmd;
mod trace;
mod wire;

use crate::{cargo, dpdk, drivers, newer_qemu, util};
use anyhow::{Context, Result, bail};
use cases::{Case, CaseOutcome};
use cpio::Archive;
use debian::Debian;
use machine::Kind;
use serde_json::{Value, json};
use servers::FileServer;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the cases load with `load` and `give`; what these need is found by itself.
const MODULES: [&str; 11] =
    ["vfio-pci", "vfio_iommu_type1", "e1000", "e1000e", "igb", "tun", "nvme", "nbd", "loop", "crc32c_generic", "ext4"];

/// The scripts that have cases, in the order in which they run: those without an IOMMU last.
const CASES: [&str; 4] = ["disk.sh", "virtio.sh", "cases.sh", "keys.sh"];

/// How the names of cases begin that run in a machine without an IOMMU.
const WITHOUT_IOMMU: &str = "without_an_iommu";

/// How the names of cases begin that run with another kernel, on a processor with protection keys and on one without.
const KEYS: &str = "keys";
const NO_KEYS: &str = "no_keys";

/// How the names of cases begin that are about DPDK's driver.
const DPDK: &str = "dpdk";

/// How the names of cases begin that run in a machine whose cards are 82576, for DPDK's driver of them.
const IGB: &str = "dpdk_igb";

/// What the names of cases have in them that start DPDK's own program.
const TESTPMD: &str = "testpmd";

/// The driver that points its card outside its window: tests/stray-dma.
const STRAY: &str = "stray-dma";

/// Runs the named cases, or all but those about DPDK's driver, which must be fetched and built, two at a time. An error
/// names those that failed.
pub fn run(only: &[String]) -> Result<()> {
    run_in(only, 2)
}

/// Runs them one after the other: what comes with what depends on what else the machine has to do, and that is counted.
pub fn count(only: &[String]) -> Result<()> {
    run_in(only, 1)
}

fn run_in(only: &[String], lanes: usize) -> Result<()> {
    let scripts = util::root().join("tests/guest");
    let text = CASES.iter().map(|script| read_text(&scripts.join(script))).collect::<Result<String>>()?;
    let mut chosen = choose(cases::parse(&text)?, only)?;
    if only.is_empty() {
        chosen.retain(|case| !is_about_dpdk(case));
    }
    let debian = Debian::find_or_fetch()?;
    let newer = match chosen.iter().any(has_newer_kernel).then(Debian::newer).transpose() {
        Err(error) if only.is_empty() => {
            let (left_out, rest): (Vec<_>, Vec<_>) = chosen.into_iter().partition(has_newer_kernel);
            let names: Vec<_> = left_out.iter().map(|case| case.name.as_str()).collect();
            println!("guest: LEFT OUT, because there is no kernel for them: {}: {error:#}", names.join(", "));
            chosen = rest;
            None
        }
        newer => newer?,
    };
    let mut rigs = Vec::new();
    if chosen.iter().any(|case| !has_newer_kernel(case)) {
        rigs.push((false, ordinary(&debian, &scripts, &chosen)?));
    }
    if let Some(newer) = &newer {
        rigs.push((true, keys::rig(newer, &debian, &scripts)?));
    }
    let outcomes = lanes::run(&chosen, kind, &rigs, lanes)?;
    let mut report = serde_json::Map::new();
    let mut failed = Vec::new();
    for (case, outcome) in chosen.iter().zip(&outcomes) {
        if outcome.failure.is_some() {
            failed.push(case.name.as_str());
        }
        report.insert(case.name.clone(), to_json(case, outcome));
    }
    let path = report_file();
    let text = serde_json::to_string_pretty(&Value::Object(report)).context("writing the report")?;
    fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    println!("guest: {} of {} cases passed; {}", chosen.len() - failed.len(), chosen.len(), path.display());
    if !failed.is_empty() {
        bail!("failed: {} (one alone: `cargo xtask guest-test {}`)", failed.join(", "), failed[0]);
    }
    Ok(())
}

/// What a machine is started with.
struct Rig {
    kernel: PathBuf,
    initramfs: PathBuf,
}

/// Returns the machine that a case runs in.
fn kind(case: &Case) -> Result<Kind> {
    Ok(match case.name.as_str() {
        name if name.starts_with(WITHOUT_IOMMU) => Kind::WithoutIommu,
        name if name.starts_with(IGB) => Kind::Igb(newer_qemu::fetch()?),
        name if name.starts_with(NO_KEYS) => Kind::NoKeys,
        name if name.starts_with(KEYS) => Kind::Keys,
        _ => Kind::Usual,
    })
}

/// Returns whether a case's kernel is the newer one.
fn has_newer_kernel(case: &Case) -> bool {
    [KEYS, NO_KEYS].iter().any(|begin| case.name.starts_with(begin))
}

/// Returns what cases are run with on Debian's own kernel.
fn ordinary(debian: &Debian, scripts: &Path, chosen: &[Case]) -> Result<Rig> {
    let folder = debian::folder();
    let programs = [
        cargo::binary("nook-run")?,
        cargo::binary("nook-restarts")?,
        cargo::example("vfio_check")?,
        find("iperf3")?,
        find("setpriv")?,
        find("mke2fs")?,
        find("e2fsck")?,
    ];
    let mut drivers: Vec<_> = drivers::build_all()?.into_iter().collect();
    if chosen.iter().any(is_about_dpdk) {
        drivers.extend(dpdk::build()?);
    }
    drivers.push((STRAY.into(), drivers::build_for_tests(STRAY)?));
    let file = FileServer::start(&folder)?;
    let settings = format!(
        "{}DISK_MIB={}\nKILLS={}\nFILE_PORT={}\nFILE_SHA256={}\n",
        slots(),
        machine::DISK_MIB,
        if env::var_os("NOOK_LONG").is_some() { 20 } else { 5 },
        file.port,
        file.sha256
    );
    let with_testpmd = chosen.iter().any(|case| case.name.contains(TESTPMD));
    let archive = root_file_system(debian, scripts, &programs, &drivers, &settings, with_testpmd)?;
    let initramfs = folder.join("initramfs.cpio");
    fs::write(&initramfs, archive).with_context(|| format!("writing {}", initramfs.display()))?;
    println!("guest: Linux {} with an Intel IOMMU, emulated", debian.release);
    Ok(Rig { kernel: debian.vmlinux()?, initramfs })
}

fn is_about_dpdk(case: &Case) -> bool {
    case.name.starts_with(DPDK)
}

/// Returns where cards and disks are, as settings of the scripts.
fn slots() -> String {
    let [card, disk, past] = machine::virtio_slots();
    format!(
        "NICS='{}'\nPEERED={}\nDISK={}\nVIRTIO_CARD={card}\nVIRTIO_DISK={disk}\nVIRTIO_PAST={past}\n",
        machine::slots(),
        machine::peered_slot(),
        machine::disk_slot()
    )
}

/// Returns what came of the cases that were run last.
pub fn report_file() -> PathBuf {
    debian::folder().join("report.json")
}

fn choose(all: Vec<Case>, only: &[String]) -> Result<Vec<Case>> {
    if only.is_empty() {
        return Ok(all);
    }
    if let Some(unknown) = only.iter().find(|name| all.iter().all(|case| case.name != **name)) {
        let names: Vec<_> = all.iter().map(|case| case.name.as_str()).collect();
        bail!("there is no case {unknown}; there are: {}", names.join(", "));
    }
    Ok(all.into_iter().filter(|case| only.contains(&case.name)).collect())
}

fn shown(case: &Case, outcome: &CaseOutcome) -> String {
    let seconds = outcome.time.as_secs_f64();
    match &outcome.failure {
        None => {
            // The counts by register are for the report.
            let data: serde_json::Map<_, _> = outcome
                .data
                .iter()
                .filter(|(key, _)| *key != "accesses")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let data = if data.is_empty() { String::new() } else { format!("\n     {}", Value::Object(data)) };
            format!("ok   {} ({seconds:.1} s): {}{data}", case.name, case.sentence)
        }
        Some(failure) => format!("FAIL {} ({seconds:.1} s): {}\n{failure}", case.name, case.sentence),
    }
}

fn to_json(case: &Case, outcome: &CaseOutcome) -> Value {
    json!({
        "shows": case.sentence,
        "passed": outcome.failure.is_none(),
        "failure": outcome.failure,
        "duration_ns": outcome.time.as_nanos() as u64,
        "data": outcome.data,
    })
}

/// Returns what the guest's kernel unpacks.
fn root_file_system(
    debian: &Debian,
    scripts: &Path,
    programs: &[PathBuf],
    drivers: &[(String, PathBuf)],
    settings: &str,
    with_testpmd: bool,
) -> Result<Vec<u8>> {
    let mut archive = begun(debian, scripts, settings)?;
    let mut modules = BTreeSet::new();
    for module in MODULES {
        let order = debian.load_order(module)?;
        archive.file(&format!("modules/{module}.order"), order.join(" ").as_bytes());
        modules.extend(order);
    }
    for module in &modules {
        archive.file(&format!("modules/{module}.ko"), &debian.module(module)?);
    }
    for (name, module) in drivers {
        archive.file(&format!("drivers/{name}.wasm"), &read(module)?);
    }
    // A driver for --isolation mpk has another form.
    archive.file("drivers/e1000.mpk", &read(&util::target_dir().join("drivers/e1000.mpk"))?);
    let mut libraries = BTreeSet::new();
    for program in programs {
        archive.program(&format!("usr/bin/{}", file_name(program)?), &stripped(program)?);
        libraries.extend(needed_libraries(&util::output(Command::new("ldd").arg(program))?));
    }
    for library in &libraries {
        archive.program(library.trim_start_matches('/'), &read(Path::new(library))?);
    }
    packaged::add_nbd_client(&mut archive, &mut libraries)?;
    packaged::add_ethtool(&mut archive, &mut libraries)?;
    if with_testpmd {
        testpmd::add(&mut archive, &mut libraries)?;
    }
    Ok(archive.finish())
}

/// Returns what every machine's kernel unpacks: the scripts, and what they run in.
fn begun(debian: &Debian, scripts: &Path, settings: &str) -> Result<Archive> {
    let mut archive = Archive::default();
    archive.program("init", &read(&scripts.join("init"))?);
    for script in ["words.sh"].iter().chain(&CASES) {
        archive.file(script, &read(&scripts.join(script))?);
    }
    archive.file("settings", settings.as_bytes());
    archive.program("bin/busybox", &debian.busybox()?);
    Ok(archive)
}

/// Returns the program without what only debuggers read, if there is a tool for that: the guest has it in memory twice.
pub(crate) fn stripped(program: &Path) -> Result<Vec<u8>> {
    if util::find_program("strip").is_none() {
        return read(program);
    }
    let small = debian::folder().join(format!("{}.stripped", file_name(program)?));
    util::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(&small).arg(program))?;
    read(&small)
}

/// Files that the dynamic linker maps, out of what `ldd` prints.
pub(crate) fn needed_libraries(ldd: &str) -> Vec<String> {
    let path = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let file = match words.as_slice() {
            [_, "=>", file, ..] => file,
            [file, ..] => file,
            [] => return None,
        };
        file.starts_with('/').then(|| file.to_string())
    };
    ldd.lines().filter_map(path).collect()
}

fn find(program: &str) -> Result<PathBuf> {
    util::find_program(program).with_context(|| format!("{program} is not installed; `cargo xtask setup` installs it"))
}

fn file_name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).with_context(|| format!("{} has no name", path.display()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_are_those_with_a_path() {
        let ldd = "\tlinux-vdso.so.1 (0x00007fff)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n\tstatically linked\n";
        assert_eq!(needed_libraries(ldd), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn a_case_that_is_not_there_is_answered_with_those_that_are() {
        let all = cases::parse("# A. [1]\ncase_a() {\n# B. [1]\ncase_b() {\n").unwrap();
        assert_eq!(choose(all.clone(), &["b".into()]).unwrap()[0].name, "b");
        assert_eq!(choose(all.clone(), &[]).unwrap().len(), 2);
        let message = choose(all, &["c".into()]).unwrap_err().to_string();
        assert!(message.contains("no case c") && message.contains("a, b"), "{message}");
    }
}
