//! Hostcalls without which others of the driver come to nothing.

use anyhow::Result;
use nook_abi::{Entry, Hostcall, Topic};
use nook_runtime::DriverModule;

/// Says what a driver's code never asks for though it relies on it, with what to do. Its code is looked at only if
/// something may be missing.
///
/// # Errors
/// None that was not one of loading the module.
pub(crate) fn forgotten(module: &DriverModule) -> Result<Vec<&'static str>> {
    let imports = |call: Hostcall| module.imports().iter().any(|name| name == call.info().name);
    if imports(Hostcall::DmaEnable) && imports(Hostcall::IrqEnable) {
        return Ok(Vec::new());
    }
    let calls = module.calls_by_entry()?;
    let has = |wanted: Hostcall| calls.iter().any(|(_, calls)| calls.contains(&wanted));
    let mut found = Vec::new();
    if has(Hostcall::DmaAlloc) && !has(Hostcall::DmaEnable) {
        found.push(
            "the driver allocates DMA memory and never calls `dma_enable`, so its device neither reads nor writes any of it: \
             call it in `open`, once the device has its addresses",
        );
    }
    let touches = |call: &Hostcall| call.info().topic == Topic::Register;
    let irq = calls.iter().find(|(entry, _)| *entry == Entry::Irq);
    if irq.is_some_and(|(_, calls)| calls.iter().any(touches)) && !has(Hostcall::IrqEnable) {
        found.push(
            "the driver has an `irq` that looks at its device and never calls `irq_enable`, so `irq` is never called: call it \
             in `open`",
        );
    }
    Ok(found)
}
