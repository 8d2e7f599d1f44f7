//! From a driver's module, as the loader made it, to what is compiled.

use nook_instrument::deadline::with_deadline_checks;
use nook_instrument::{Counting, check, with_recording};

use crate::cache::Finished;
use crate::origin::Origin;
use crate::{CodeGen, DriverModule, EngineError, Prepared, Rollback};

/// Prepares a module, and checks what came of it.
pub(crate) fn finish(
    how: &CodeGen,
    module: &DriverModule,
    way: Option<&dyn Rollback>,
) -> Result<Finished, EngineError> {
    let refused = |error: &dyn std::fmt::Display| EngineError::Compile(format!("{error:#}"));
    let prepared = way.map(|way| way.prepare(module).map_err(EngineError::NoRollback)).transpose()?;
    let wrappers_from = prepared.as_ref().map_or(u32::MAX, |prepared| prepared.wrappers_from);
    let (wasm, prepared) = prepared.map(|Prepared { wasm, offsets, .. }| (wasm, offsets)).unzip();
    let mut wasm = wasm.unwrap_or_else(|| module.wasm().to_vec());
    let keeps_time = way.is_some_and(Rollback::keeps_time);
    let mut timed = None;
    if how.deadline_checks && !keeps_time {
        let made = with_deadline_checks(&wasm).map_err(|error| refused(&error))?;
        (wasm, timed) = (made.wasm, Some(made.offsets));
    }
    let mut counting = None;
    if module.counts() {
        let made = Counting::of(&wasm, wrappers_from).map_err(|error| refused(&error))?;
        wasm.clone_from(&made.wasm);
        counting = Some(made);
    }
    if keeps_time || how.deadline_checks {
        // Nothing stands behind what the module does by itself, so it is checked as it is compiled.
        check::deadlines(&wasm).map_err(EngineError::NoDeadlineCheck)?;
    }
    if let Some(way) = way {
        way.check(module, &wasm).map_err(EngineError::NotLogged)?;
    }
    let mut recording = None;
    if module.records() {
        // What it adds is not checked: it is for those who look for a mistake, and leads to the host only.
        let made = with_recording(&wasm, module.layout().host_page as u32).map_err(|error| refused(&error))?;
        (wasm, recording) = (made.wasm, Some(made.offsets));
    }
    Ok(Finished { wasm, origin: Origin::new(module.offsets(), prepared, timed, counting.as_ref(), recording) })
}
