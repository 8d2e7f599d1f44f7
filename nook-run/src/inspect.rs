//! `nook-run inspect`: what a driver's file holds.

mod explain;
mod forgotten;
mod waits;

use std::cmp::Reverse;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use nook_abi::block::BlockKeys;
use nook_abi::net::NetKeys;
use nook_abi::{Class, Hex};
use nook_recovery::PolicyFile;
use nook_regs::RegisterMap;
use nook_runtime::{DriverModule, Launcher, Layout, ModuleCache, RollbackMethod, pool_of, target_description};

use self::explain::Calls;
pub(crate) use self::forgotten::forgotten;
use self::waits::Wait;
use crate::cli::{InspectArgs, MmioArg};
use crate::drivers::{self, LaunchOptions};
use crate::maps;
use crate::postmortem::{demangled, function_names, lines_in_file};

/// Functions that are named of those with records of the undo log.
const MOST_RECORDS: usize = 8;

/// Returns what is printed of a file, and why this host would not run it, if that is so: what a run without options
/// asks before the first instruction is asked here.
///
/// # Errors
/// If there is nothing to be printed, because the file is not a driver.
pub fn text(args: &InspectArgs) -> Result<(String, Result<()>)> {
    let module = Arc::new(drivers::load(&args.driver, drivers::WASI)?);
    let mut text = String::new();
    let map = maps::choose(&args.driver, module.manifest(), &args.registers);
    describe(&mut text, &module, map.as_ref().ok().copied())?;
    text += &warnings(&args.driver)?;
    let refused = match map.and_then(|_| launcher(args, &module)) {
        Ok(launcher) => {
            let wasi = if module.imports_wasi() { ", with --wasi: it was built for WASI" } else { "" };
            writeln!(text, "this host       runs it at {}{wasi}", launcher.isolation())?;
            Ok(())
        }
        Err(why) => {
            writeln!(text, "this host       refuses it")?;
            Err(why.context(format!("this host would not run {}", args.driver.display())))
        }
    };
    Ok((text, refused))
}

/// Says what seems to be wrong with the driver in this file, though this host would run it: nothing, or a line for each
/// thing, perhaps followed by places in its source.
///
/// # Errors
/// If the file is not a driver.
pub fn warnings(path: &Path) -> Result<String> {
    let mut out = String::new();
    for what in forgotten(&drivers::load(path, drivers::WASI)?)? {
        writeln!(out, "warning         {what}")?;
    }
    let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let names = function_names(&file);
    let mut places: Vec<(String, Vec<String>)> = Vec::new();
    for Wait { function, offset } in waits::waits(&file)? {
        let name = names.get(&function).map_or_else(|| format!("function {function}"), |name| demangled(name));
        let place = (name, lines_in_file(&file, offset).unwrap_or_default());
        // A loop that was unrolled stands there several times.
        if !places.contains(&place) {
            places.push(place);
        }
    }
    for (name, lines) in places {
        writeln!(
            out,
            "warning         {name} waits for memory to change and reads it by plain loads, without a hostcall, an atomic \
             access or a fence in the loop: it may never see what the device writes; docs/writing-a-driver.md, \"What \
             `inspect` warns of\""
        )?;
        lines.iter().try_for_each(|line| writeln!(out, "                  {line}"))?;
    }
    Ok(out)
}

/// Makes all that a run needs besides a device. The module is compiled, and nothing of it is kept or run.
fn launcher(args: &InspectArgs, module: &Arc<DriverModule>) -> Result<Box<dyn Launcher>> {
    let how = LaunchOptions { isolation: None, mmio: MmioArg::Emulated, process: None, method: RollbackMethod::Log };
    let cache = ModuleCache::none().compiled_by(drivers::compiler(&PolicyFile::default(), None)?);
    drivers::launcher(&args.driver, module, how, None, &cache)
}

fn describe(out: &mut String, module: &DriverModule, map: Option<&RegisterMap>) -> Result<()> {
    let calls = Calls::of(module)?;
    let m = module.manifest();
    let ids = m.pci.split_ascii_whitespace();
    writeln!(out, "driver          {} {} ({})", m.name, m.version, m.license)?;
    writeln!(out, "abi             {}.{}", m.abi.0, m.abi.1)?;
    writeln!(out, "class           {}, PCI {}", m.class(), ids.collect::<Vec<_>>().join(" "))?;
    writeln!(out, "registers       map `{}`", m.registers)?;
    writeln!(out, "interrupts      {} vector(s)", m.irq_vectors)?;
    if m.queues > 1 {
        writeln!(out, "queues          {}, if the operator wants more than one", m.queues)?;
    }
    writeln!(out, "DMA             {} address bits, {} bytes for rings", m.dma_mask_bits, m.dma_bytes)?;
    if let Some(NetKeys { rx_buffers, tx_buffers, buffer_bytes, .. }) = NetKeys::of(m) {
        let before = pool_of(module.manifest()).headroom_bytes;
        writeln!(
            out,
            "packet buffers  {rx_buffers} receive, {tx_buffers} transmit, {buffer_bytes} bytes each, {before} bytes before \
             each frame"
        )?;
    }
    if let Some(BlockKeys { requests, transfer_bytes }) = BlockKeys::of(m) {
        writeln!(out, "requests        {requests} at a time, up to {transfer_bytes} bytes each")?;
    }
    let hash = Hex::of(&module.sha256()).to_string();
    writeln!(out, "file            {} bytes, SHA-256 {hash}", module.file_bytes())?;
    writeln!(out, "compiled for    {}", target_description())?;
    memory(out, m.class(), module.layout())?;
    if let Some(map) = map {
        calls.describe_touched(out, map)?;
    }
    calls.describe_imports(out, module.imports())?;
    let hints = module.hints();
    writeln!(out, "hints           {}", hints.len())?;
    for row in nook_abi::HINTS.iter().filter(|row| hints.contains(&row.name)) {
        writeln!(out, "  {:<16}{}", row.name, row.doc)?;
    }
    writeln!(out, "entries         {}", module.entries().len())?;
    for name in module.entries() {
        if let Some(row) = nook_abi::ENTRIES.iter().find(|row| row.name == *name) {
            writeln!(out, "  {:<16}{} context", row.name, row.context)?;
        }
    }
    calls.describe_rollback(out, map)?;
    undo(out, module)
}

/// Writes what the undo log, by which calls can be rolled back, adds to the module.
fn undo(out: &mut String, module: &DriverModule) -> Result<()> {
    match RollbackMethod::Log.instrument(module) {
        Ok(instrumented) => {
            writeln!(out, "undo log        for --isolation sfi+txn")?;
            for line in instrumented.effect.to_string().lines() {
                writeln!(out, "  {line}")?;
            }
            most_records(out, module, instrumented.records_by_function)?;
        }
        Err(why) => writeln!(out, "undo log        none, so no --isolation sfi+txn: {why}")?,
    }
    Ok(())
}

/// Writes which functions append the most records: where the log costs most, or would, if they ran often.
fn most_records(out: &mut String, module: &DriverModule, mut functions: Vec<(u32, usize)>) -> Result<()> {
    functions.sort_by_key(|&(function, records)| (Reverse(records), function));
    let names = function_names(module.laid_out());
    if !functions.is_empty() {
        writeln!(out, "  most records in")?;
    }
    for (function, records) in functions.iter().take(MOST_RECORDS) {
        let name = names.get(function).map_or_else(|| format!("function {function}"), |name| demangled(name));
        writeln!(out, "    {records:>4}  {name}")?;
    }
    Ok(())
}

fn memory(out: &mut String, class: Class, layout: &Layout) -> Result<()> {
    writeln!(out, "memory          {} KiB", layout.total_pages() * 64)?;
    let rows = [
        (0, layout.own_bytes, "data and stack"),
        (layout.own_bytes, layout.heap_bytes, "heap"),
        (layout.host_page, layout.window - layout.host_page, "host page and queues"),
        (layout.window, layout.dma_bytes.into(), "DMA window: rings"),
        (
            layout.window + u64::from(layout.dma_bytes),
            layout.window_bytes - u64::from(layout.dma_bytes),
            if class == Class::Block { "DMA window: data of requests" } else { "DMA window: packet buffers" },
        ),
    ];
    for (start, len, what) in rows.into_iter().filter(|(_, len, _)| *len > 0) {
        writeln!(out, "  {start:#010x} {:>7} KiB  {what}", len.div_ceil(1024))?;
    }
    Ok(())
}
