//! `nook-run postmortem`: what a crash bundle says, for people.

mod source;

pub(crate) use source::{Source, demangled, function_names, lines_in_file};

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nook_bus::{field_names, register_name};
use nook_recovery::{BUNDLE_FORMAT, LAST_VALUES, RECORDING};
use nook_regs::{RegisterInfo, RegisterMap};
use serde_json::Value;

/// Calls that are printed; the bundle has more.
const CALLS: usize = 64;
/// The largest file of a bundle that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Returns the text that `postmortem` prints. `driver` is the driver's file, if it is not where it was.
///
/// # Errors
/// If the folder is not a crash bundle, or of another version.
pub fn text(folder: &Path, driver: Option<&Path>) -> Result<String> {
    let report = report(folder)?;
    let mut out = String::new();
    let map = map(folder);
    head(&mut out, &report, &map)?;
    stack(&mut out, &report, driver)?;
    let calls = read(&folder.join("calls.jsonl")).unwrap_or_default();
    last_calls(&mut out, &report, &calls, map.as_ref().ok().copied())?;
    memory(&mut out, &report)?;
    if folder.join(LAST_VALUES).exists() {
        let folder = folder.display();
        writeln!(out, "registers  {LAST_VALUES}: `nook-run registers {folder}` prints what was last read and written")?;
    }
    if folder.join(RECORDING).exists() {
        writeln!(
            out,
            "recording  {RECORDING}: `nook-run replay {}` runs it again, without the device",
            folder.display()
        )?;
    }
    Ok(out)
}

/// Reads what a bundle says of itself.
pub(crate) fn report(folder: &Path) -> Result<Value> {
    let report = read(&folder.join("report.json")).with_context(|| {
        format!(
            "{} is not a crash bundle, or was removed since: the newest are kept (`[bundles]` in docs/policy.md)",
            folder.display()
        )
    })?;
    let report: Value = serde_json::from_str(&report).context("the bundle's report.json is damaged")?;
    if report["format"] != BUNDLE_FORMAT {
        bail!(
            "the bundle has format {}, and this nook-run reads format {BUNDLE_FORMAT}: read it with the version that wrote it",
            report["format"]
        );
    }
    Ok(report)
}

/// Returns where the driver's file was that a bundle is about.
///
/// # Errors
/// If the folder is not a crash bundle, or does not say.
pub(crate) fn driver_file(folder: &Path) -> Result<PathBuf> {
    let report = report(folder)?;
    report["driver"]["file"].as_str().map(PathBuf::from).context("the bundle does not name the driver's file")
}

/// Reads a text of a bundle.
pub(crate) fn read(path: &Path) -> Result<String> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        bail!("{} is not a file of a bundle", path.display());
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn head(out: &mut String, report: &Value, map: &Result<&'static RegisterMap>) -> Result<()> {
    let driver = &report["driver"];
    writeln!(out, "what       {}", word(&report["fault"]["text"]))?;
    writeln!(out, "when       {}", word(&report["time"]))?;
    writeln!(
        out,
        "driver     {} {}, isolation {}",
        word(&driver["name"]),
        word(&driver["version"]),
        word(&report["isolation"])
    )?;
    writeln!(out, "file       {}, SHA-256 {}", word(&driver["file"]), word(&driver["sha256"]))?;
    writeln!(out, "device     {}", word(&report["device"]))?;
    let so_far = &report["so_far"];
    let (faults, restarts) = (&so_far["faults"], &so_far["restarts"]);
    let went_on = if report["rolled_back"] == true { "; the call was rolled back, and the driver went on" } else { "" };
    writeln!(out, "history    fault {faults}, after {restarts} restart(s){went_on}")?;
    if let Some(why) = report["no_rollback"]["text"].as_str() {
        writeln!(out, "rollback   not possible: {why}")?;
    }
    let fault = &report["fault"];
    if fault["kind"] == "RegisterForbidden"
        && let (Ok(map), Some(offset)) = (map, fault["value"].as_u64())
    {
        writeln!(out, "register   {}", register(map, fault["bar"].as_u64(), offset).0)?;
    }
    if let Err(why) = map {
        writeln!(out, "registers  without names: {why:#}")?;
    }
    Ok(())
}

fn stack(out: &mut String, report: &Value, driver: Option<&Path>) -> Result<()> {
    let callers = report["callers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if callers.is_empty() {
        writeln!(out, "\ncall stack: none; the driver's own code was not running, or not in the sandbox")?;
        return Ok(());
    }
    writeln!(out, "\ncall stack, innermost first:")?;
    let file = driver.map(Path::to_owned).unwrap_or_else(|| PathBuf::from(word(&report["driver"]["file"])));
    let source = Source::load(&file, word(&report["driver"]["sha256"]));
    for caller in callers {
        let number = &caller["function"];
        let name = caller["name"].as_str().map_or_else(|| format!("function {number}"), demangled);
        let in_driver = caller["in_driver"] == true;
        writeln!(out, "  {name}{}", if in_driver { "" } else { " (in the filter)" })?;
        if let (true, Ok(source), Some(offset)) = (in_driver, &source, caller["module_offset"].as_u64()) {
            source.lines(offset).iter().try_for_each(|line| writeln!(out, "      {line}"))?;
        }
    }
    if let Err(why) = source {
        writeln!(out, "  (no files and lines: {why:#}; --driver FILE names it)")?;
    }
    Ok(())
}

fn last_calls(out: &mut String, report: &Value, calls: &str, map: Option<&'static RegisterMap>) -> Result<()> {
    let calls: Vec<Value> = calls.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if calls.is_empty() {
        let level = word(&report["isolation"]);
        writeln!(out, "\nlast calls: none were seen; a driver's are at sfi and sfi+txn, and this one ran at {level}")?;
        return Ok(());
    }
    writeln!(out, "\nlast calls, oldest first ({} more in calls.jsonl):", calls.len().saturating_sub(CALLS))?;
    for call in &calls[calls.len().saturating_sub(CALLS)..] {
        writeln!(out, "{}{}", line(map, call), before(call, &report["at_ns"]))?;
    }
    Ok(())
}

/// Says how long before the fault an entry was called, by the time in the host page.
fn before(call: &Value, fault_ns: &Value) -> String {
    let (Some(at_ns), Some(fault_ns)) = (call["at_ns"].as_u64(), fault_ns.as_u64()) else { return String::new() };
    format!("  ({:.3} ms before)", fault_ns.saturating_sub(at_ns) as f64 / 1e6)
}

/// Describes one call, with the registers by their names.
fn line(map: Option<&'static RegisterMap>, call: &Value) -> String {
    let args = &call["args"];
    // In the tables' order: a JSON object has none.
    let entry = nook_abi::ENTRIES.iter().find(|row| call["entry"] == row.name).map(|row| row.args);
    let hostcall = nook_abi::HOSTCALLS.iter().find(|row| call["hostcall"] == row.name).map(|row| row.args);
    let names = entry.or(hostcall).unwrap_or_default().iter().map(|arg| arg.name);
    let listed = names.map(|name| format!("{name} {}", hex(&args[name]))).collect::<Vec<_>>().join(", ");
    if let Some(entry) = call["entry"].as_str() {
        return format!("  {entry}({listed})");
    }
    let name = word(&call["hostcall"]);
    let refused = if call["refused"] == true { "  REFUSED" } else { "" };
    if let Some(text) = call["logged"].as_str() {
        // A bundle may come from somebody else: what a terminal might obey is not printed.
        let text: String = text.chars().map(|c| if nook_abi::is_printable(c) { c } else { '\u{fffd}' }).collect();
        return format!("    {name}(level {}): {text}{refused}", hex(&args["level"]));
    }
    let (Some(map), Some(offset), true) = (map, args["offset"].as_u64(), name.starts_with("mmio_")) else {
        let result = call["result"].as_u64().filter(|&result| result != 0);
        return format!(
            "    {name}({listed}){}{refused}",
            result.map_or(String::new(), |result| format!(" = {result:#x}"))
        );
    };
    let (register, info) = register(map, args["bar"].as_u64(), offset);
    let (arrow, value) = match args["value"].as_u64() {
        Some(value) => ("<-", value),
        None => ("->", call["result"].as_u64().unwrap_or_default()),
    };
    if !refused.is_empty() {
        return format!("    {name} {register}{refused}");
    }
    let fields = info.map(|info| field_names(info, value)).filter(|fields| !fields.is_empty());
    format!("    {register} {arrow} {value:#x}{}", fields.map_or(String::new(), |fields| format!("  [{fields}]")))
}

fn hex(value: &Value) -> String {
    value.as_u64().map_or("?".into(), |value| if value < 10 { value.to_string() } else { format!("{value:#x}") })
}

/// Returns the register map that the driver was checked against.
pub(crate) fn map(folder: &Path) -> Result<&'static RegisterMap> {
    let text = read(&folder.join("registers.regs.toml"))?;
    let file = nook_regs_file::read(&text).context("the bundle's registers.regs.toml is damaged")?;
    Ok(file.map)
}

/// Returns what a register is called, and what is known of it.
fn register(map: &'static RegisterMap, bar: Option<u64>, offset: u64) -> (String, Option<&'static RegisterInfo>) {
    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
    // A driver may have named a BAR that no device has.
    let bar = match bar.map(u8::try_from) {
        Some(Ok(bar)) => bar,
        None => 0,
        Some(Err(_)) => return (format!("BAR {} {offset:#x}", bar.unwrap_or_default()), None),
    };
    (register_name(map, bar, offset), map.find(bar, offset).map(|(info, _)| info))
}

fn memory(out: &mut String, report: &Value) -> Result<()> {
    let memory = &report["memory"];
    let at = |name: &str| memory[name].as_u64().unwrap_or_default();
    if at("pages") == 0 {
        writeln!(out, "\nmemory: none was kept")?;
        return Ok(());
    }
    writeln!(out, "\nmemory: {} pages in memory.bin, whose offsets are the driver's addresses:", at("pages"))?;
    let (own, heap) = (at("own_bytes"), at("heap_bytes"));
    let rows = [
        (0, own, "data and stack"),
        (own, heap, "heap"),
        (at("host_page"), at("window") - at("host_page").min(at("window")), "host page and queues"),
        (at("window"), at("window_bytes"), "DMA window"),
    ];
    for (start, len, what) in rows.into_iter().filter(|(_, len, _)| *len > 0) {
        writeln!(out, "  {start:#010x} {len:#10x}  {what}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn register_accesses_are_shown_with_names_and_fields() {
        let map = Some(&e1000_regs::MAP);
        let read = json!({"hostcall": "mmio_read32", "args": {"bar": 0, "offset": 0xc0}, "result": 0x84});
        assert_eq!(line(map, &read), "    ICR -> 0x84  [LSC RXT0]");
        let write = json!({"hostcall": "mmio_write32", "args": {"bar": 0, "offset": 0, "value": 0x0400_0200}});
        assert_eq!(line(map, &write), "    CTRL <- 0x4000200  [SPEED=0x2 RST]");
        let refused = json!({"hostcall": "mmio_write32", "args": {"bar": 0, "offset": 4, "value": 1}, "refused": true});
        assert_eq!(line(map, &refused), "    mmio_write32 BAR 0 0x4  REFUSED");
    }

    #[test]
    fn what_a_driver_logged_is_shown_without_what_a_terminal_would_obey() {
        let args = json!({"level": 1, "text": 0x1000, "len_bytes": 9});
        let log = json!({"hostcall": "log", "args": args, "result": 0, "logged": "panic\u{1b}[2J"});
        assert_eq!(line(None, &log), "    log(level 1): panic\u{fffd}[2J");
    }

    #[test]
    fn entries_are_shown_with_when_they_came() {
        let poll = json!({"entry": "poll", "args": {}, "at_ns": 5_000_000});
        assert_eq!(before(&poll, &json!(6_234_000)), "  (1.234 ms before)");
        assert_eq!(before(&json!({"hostcall": "clock_ns", "args": {}}), &json!(6_234_000)), "");
    }

    #[test]
    fn other_calls_are_shown_with_their_arguments() {
        let poll = json!({"entry": "poll", "args": {"queue": 0, "budget": 256, "flags": 0}});
        assert_eq!(line(None, &poll), "  poll(queue 0, budget 0x100, flags 0)");
        assert_eq!(line(None, &json!({})), "    ?()");
    }
}
