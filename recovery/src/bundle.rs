//! Crash bundles: what a fault leaves behind for its investigation. `nook-run postmortem` reads them.
//!
//! A bundle is a directory: `report.json` says what happened, `calls.jsonl` holds the last calls in and out of the
//! driver (one a line, oldest first), `memory.bin` its memory, where zero pages are holes, so that offsets are
//! addresses, `registers.regs.toml` the register map that it was checked against, `registers.jsonl` what passed last
//! between it and each register (one a line, in the map's order), and `run.rec`, if the policy asks for
//! it, a recording of the time before. Writing is a thread's business and never delays or stops a recovery.

mod fault;

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::mem::{Discriminant, discriminant};
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use nook_abi::{Fault, Hex};
use nook_runtime::{
    Call, Caller, Class, CrashState, LastValue, Layout, MemoryDump, Named, Nook, NookError, TracedCall,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{NoRollbackReport, Policy};

/// The layout of bundles; a reader refuses another.
pub const BUNDLE_FORMAT: u64 = 3;

/// The file of a bundle that has what was recorded before the fault, for `nook-run replay`.
pub const RECORDING: &str = "run.rec";

/// The file of a bundle that has what passed last between the driver and each register.
pub const LAST_VALUES: &str = "registers.jsonl";

/// Where bundles go, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleConfig {
    /// The folder, which is made if it is missing.
    pub folder: PathBuf,
    /// Maximum number of bundles to keep, newest first.
    pub keep: usize,
    /// Minimum time between two bundles, in nanoseconds: a fault that comes sooner leaves none.
    pub every_ns: u64,
    /// Maximum number of bundles for rolled-back calls. Each place in the driver's code leaves at most one.
    pub rollbacks: usize,
    /// What of the driver's memory goes into them.
    pub memory: MemoryDump,
    /// The driver's file, for the reader.
    pub driver_file: PathBuf,
    /// Its hash.
    pub driver_sha256: [u8; 32],
    /// The text of its register map's file, for the reader.
    pub registers: String,
}

/// How many faults there were until now, this one among them, and what was done about them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct SoFar {
    pub(crate) faults: u64,
    pub(crate) rollbacks: u64,
    pub(crate) snapshot_restores: u64,
    pub(crate) restarts: u64,
}

/// What the supervisor knows of a fault.
pub(crate) struct BundleContext<'a> {
    pub(crate) error: &'a NookError,
    pub(crate) policy: &'a Policy,
    pub(crate) so_far: SoFar,
    pub(crate) now_ns: u64,
    /// The call was rolled back, and the driver goes on.
    pub(crate) rolled_back: bool,
    /// Why it was not, if it could not be.
    pub(crate) no_rollback: Option<&'a NoRollbackReport>,
    /// It is the fault that came last, of which the log says only how often it came.
    pub(crate) repeated: bool,
}

/// Leaves bundles.
pub(crate) struct Bundles {
    config: BundleConfig,
    /// When the last one was left of a driver that was ended, and of a call that was rolled back.
    last_ns: [Option<u64>; 2],
    /// What bundles of calls that were rolled back were about: which fault, and where.
    places: Vec<(Discriminant<Fault>, Option<u64>)>,
    writer: Option<JoinHandle<()>>,
    /// What is being written is about a call that was rolled back.
    writes_rollback: bool,
}

impl Bundles {
    pub(crate) fn new(config: BundleConfig) -> Self {
        Bundles { config, last_ns: [None; 2], places: Vec::new(), writer: None, writes_rollback: false }
    }

    /// Returns whether one can be left now. A driver's end does not wait for those of calls that were rolled back.
    fn has_time(&self, rolled_back: bool, now_ns: u64) -> bool {
        let writes = self.writer.as_ref().is_some_and(|writer| !writer.is_finished());
        let busy = writes && (rolled_back || !self.writes_rollback);
        let last_ns = self.last_ns[usize::from(rolled_back)];
        !busy && last_ns.is_none_or(|last| now_ns.saturating_sub(last) >= self.config.every_ns)
    }

    /// Captures the state before a call is rolled back, because nothing of it is to be seen afterwards: what there is
    /// to see, if this is to be kept.
    pub(crate) fn look<C: Class>(&mut self, nook: &mut Nook<C>, error: &NookError, now_ns: u64) -> Option<CrashState> {
        let NookError::Fault { fault, .. } = error else { return None };
        if self.places.len() >= self.config.rollbacks || !self.has_time(true, now_ns) {
            return None;
        }
        let place = (discriminant(fault), nook.place_of_fault());
        if self.places.contains(&place) {
            return None;
        }
        self.places.push(place);
        Some(CrashState { recording: nook.kept_recording(), ..nook.take_crash_state() })
    }

    /// Leaves a bundle, unless it is too soon for another. Without a crash state, takes it now.
    pub(crate) fn leave<C: Class>(
        &mut self,
        nook: &mut Nook<C>,
        crash_state: Option<CrashState>,
        about: &BundleContext<'_>,
    ) {
        // Taken in any case: the next fault's is another.
        let mut crash_state = crash_state.unwrap_or_else(|| nook.take_crash_state());
        if self.config.keep == 0 || !self.has_time(about.rolled_back, about.now_ns) {
            return;
        }
        self.last_ns[usize::from(about.rolled_back)] = Some(about.now_ns);
        crash_state.recording = crash_state.recording.or_else(|| nook.kept_recording());
        let report = report(nook, about, &self.config, &crash_state);
        let config = self.config.clone();
        let name = nook.host().manifest().name.clone();
        let total_bytes = nook.host().layout().total_pages() * 65536;
        let before = self.writer.take();
        let repeated = about.repeated;
        let write = move || {
            // One at a time, or they would remove old ones together.
            before.map(JoinHandle::join);
            match write(&config, &name, &report, &crash_state, total_bytes) {
                Ok(path) if repeated => tracing::debug!("crash bundle: {}", path.display()),
                Ok(path) => {
                    let path = path.display();
                    tracing::info!("crash bundle: {path} (explained by `nook-run postmortem {path}`)");
                }
                Err(error) => tracing::warn!("no crash bundle in {}: {error}", config.folder.display()),
            }
        };
        self.writes_rollback = about.rolled_back;
        match std::thread::Builder::new().name("nook-bundle".into()).spawn(write) {
            Ok(writer) => self.writer = Some(writer),
            Err(error) => tracing::warn!("no crash bundle: {error}"),
        }
    }

    /// Waits until what was begun is written.
    pub(crate) fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Bundles {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Returns what `report.json` says. What others declare is taken whole (the policy, the counters) or field by field
/// without a rest, so that a field that is added to them is either here or does not compile.
fn report<C: Class>(
    nook: &Nook<C>,
    about: &BundleContext<'_>,
    config: &BundleConfig,
    crash_state: &CrashState,
) -> Value {
    let host = nook.host();
    let manifest = host.manifest();
    let BundleContext { error, policy, so_far, now_ns, rolled_back, no_rollback, repeated: _ } = *about;
    json!({
        "format": BUNDLE_FORMAT,
        "time": utc(SystemTime::now()).0,
        "at_ns": now_ns,
        "fault": fault::describe(error),
        "rolled_back": rolled_back,
        "no_rollback": no_rollback,
        "so_far": so_far,
        "driver": {
            "name": manifest.name,
            "version": manifest.version,
            "registers": manifest.registers,
            "sha256": Hex::of(&config.driver_sha256).to_string(),
            "file": config.driver_file,
        },
        "device": host.describe_device(),
        "isolation": nook.isolation(),
        "callers": crash_state.callers.iter().map(caller).collect::<Vec<_>>(),
        "counters": counters(nook),
        "policy": policy,
        "memory": memory(host.layout(), crash_state),
    })
}

fn caller(caller: &Caller) -> Value {
    let Caller { function, name, module_offset, in_driver } = caller;
    json!({ "function": function, "name": name, "module_offset": module_offset, "in_driver": in_driver })
}

/// Returns the core's counters and the class's, by their names.
fn counters<C: Class>(nook: &Nook<C>) -> Map<String, Value> {
    let counts = nook.counters().named().into_iter().chain(nook.class().counts());
    counts.map(|(name, count)| (name.to_owned(), count.into())).collect()
}

fn memory(layout: &Layout, crash_state: &CrashState) -> Value {
    let Layout { own_bytes, heap_bytes, host_page, rings, rings_end, window, window_bytes, dma_bytes } = layout;
    json!({
        "pages": crash_state.memory.len(),
        "own_bytes": own_bytes,
        "heap_bytes": heap_bytes,
        "host_page": host_page,
        "rings": rings,
        "rings_end": rings_end,
        "window": window,
        "window_bytes": window_bytes,
        "dma_bytes": dma_bytes,
    })
}

/// Writes the lines of `calls.jsonl`.
fn calls(crash_state: &CrashState, out: &mut impl Write) -> io::Result<()> {
    for (at, step) in crash_state.steps.iter().enumerate() {
        let TracedCall { call, args: values, result, told_ns } = *step;
        let (kind, name, args) = match call {
            Call::Entry(entry) => ("entry", entry.info().name, entry.info().args),
            Call::Hostcall(call) | Call::Refused(call) => ("hostcall", call.info().name, call.info().args),
        };
        let args: Map<String, Value> =
            args.iter().zip(values).map(|(arg, value)| (arg.name.to_owned(), value.into())).collect();
        let mut line = json!({ kind: name, "args": args });
        match call {
            Call::Entry(_) => line["at_ns"] = told_ns.into(),
            Call::Hostcall(_) => line["result"] = result.into(),
            Call::Refused(_) => line["refused"] = true.into(),
        }
        if let Some((_, text)) = crash_state.texts.iter().find(|(of, _)| *of == at) {
            line["logged"] = text.as_str().into();
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Writes the lines of `registers.jsonl`.
fn registers(crash_state: &CrashState, out: &mut impl Write) -> io::Result<()> {
    crash_state.registers.iter().try_for_each(|LastValue { place, value, written }| {
        let last = if *written { "written" } else { "read" };
        let line = json!({
            "bar": place.bar, "offset": place.offset, "width": place.width.bits(), "value": value, "last": last,
        });
        writeln!(out, "{line}")
    })
}

/// Writes a bundle, whole or not at all, and removes old ones.
fn write(
    config: &BundleConfig,
    driver: &str,
    report: &Value,
    crash_state: &CrashState,
    total_bytes: u64,
) -> io::Result<PathBuf> {
    // What a driver's memory holds is nobody else's business.
    DirBuilder::new().recursive(true).mode(0o700).create(&config.folder)?;
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let driver: String = driver.chars().map(plain).take(40).collect();
    // Two may come in one millisecond, of one nook or of two in this process.
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{number:06}-{driver}-{}", utc(SystemTime::now()).1, std::process::id());
    let path = config.folder.join(&name);
    let private = fs::Permissions::from_mode(0o700);
    let folder =
        tempfile::Builder::new().prefix(&format!(".{name}.")).permissions(private).tempdir_in(&config.folder)?;
    fill(folder.path(), config, report, crash_state, total_bytes)?;
    fs::rename(folder.path(), &path)?;
    // It has its name: nothing is left to be removed.
    let _ = folder.keep();
    remove_old(&config.folder, config.keep)?;
    Ok(path)
}

fn fill(
    folder: &Path,
    config: &BundleConfig,
    report: &Value,
    crash_state: &CrashState,
    total_bytes: u64,
) -> io::Result<()> {
    fs::write(folder.join("report.json"), serde_json::to_string_pretty(report)? + "\n")?;
    fs::write(folder.join("registers.regs.toml"), &config.registers)?;
    let mut out = BufWriter::new(File::create(folder.join("calls.jsonl"))?);
    calls(crash_state, &mut out)?;
    out.flush()?;
    let mut out = BufWriter::new(File::create(folder.join(LAST_VALUES))?);
    registers(crash_state, &mut out)?;
    out.flush()?;
    if let Some(recording) = &crash_state.recording {
        fs::write(folder.join(RECORDING), recording)?;
    }
    if !crash_state.memory.is_empty() {
        let file = File::create(folder.join("memory.bin"))?;
        file.set_len(total_bytes)?;
        for page in &crash_state.memory {
            file.write_all_at(&page.bytes, page.addr)?;
        }
    }
    Ok(())
}

/// Removes the oldest bundles until `keep` are left. What is not a bundle is left alone.
fn remove_old(folder: &Path, keep: usize) -> io::Result<()> {
    let is_bundle = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // By bytes: a name that is somebody else's may have any characters.
        matches!(name.as_bytes(), [date @ .., _] if date.get(8) == Some(&b'T') && date.get(18..20) == Some(b"Z-"))
            && path.join("report.json").exists()
    };
    let mut bundles: Vec<PathBuf> =
        fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_bundle).collect();
    // Their names begin with the time.
    bundles.sort();
    let too_many = bundles.len().saturating_sub(keep);
    bundles[..too_many].iter().try_for_each(|bundle| match fs::remove_dir_all(bundle) {
        // Another nook, or another process, has cleared it away meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    })
}

/// Formats a moment in UTC, for people (RFC 3339) and for names.
fn utc(time: SystemTime) -> (String, String) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second, millis) = (since.as_secs() / 86_400, since.as_secs() % 86_400, since.subsec_millis());
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (mut year, mut day) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (month, day) = (month + 1, day + 1);
    (
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"),
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}{millis:03}Z"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_shown_in_utc() {
        let at = |secs: u64| utc(UNIX_EPOCH + Duration::from_millis(secs * 1000 + 7));
        assert_eq!(at(0).0, "1970-01-01T00:00:00.007Z");
        // 2024 was a leap year: its 29 February, and its last second.
        assert_eq!(at(1_709_210_096).0, "2024-02-29T12:34:56.007Z");
        assert_eq!(at(1_735_689_599).1, "20241231T235959007Z");
    }

    #[test]
    fn what_is_no_bundle_is_left_alone_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["20241231T235959007Z-000001-odd-1", "20241231T235959008Z-000002-odd-1"];
        // In the last one, byte 18 is in the middle of a character.
        let others = ["notes", "20241231T235959007Z-", "20241231Tabcdefgh\u{fc}Z-notes"];
        for name in names.iter().chain(&others) {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("report.json"), "{}").unwrap();
        }
        remove_old(folder.path(), 1).unwrap();
        let left = |name: &&str| folder.path().join(name).exists();
        assert_eq!((names.map(|name| left(&name)), others.iter().all(left)), ([false, true], true));
    }
}
