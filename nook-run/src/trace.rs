//! What a driver did, as it happens: `-vv` writes what crosses the bus to the log, `--trace` that and each call to a
//! file, which `nook-run trace` prints.

mod args;
mod diff;
mod event;
mod file;
mod recorder;
mod show;

pub use args::{Format, Kind, RunTrace, TraceArgs};
pub use show::{hostcall, print};

use anyhow::{Result, bail};
use nook_bus::{BusAccess, Clock, PciDevice, TraceSink, Tracing};
use nook_regs::RegisterMap;
use nook_runtime::{DriverModule, Host};

use self::file::Head;
use self::recorder::Recorder;

/// Writes what crosses the bus to the log.
pub struct RegisterLog {
    map: &'static RegisterMap,
}

impl RegisterLog {
    /// Creates a log with the names of `map`.
    pub fn new(map: &'static RegisterMap) -> Self {
        RegisterLog { map }
    }
}

impl TraceSink for RegisterLog {
    fn access(&mut self, access: BusAccess) {
        tracing::trace!(target: "registers", "{}", access.describe(self.map));
    }
}

impl RunTrace {
    /// Refuses a trace of a driver whose calls nobody sees.
    pub(crate) fn check(&self, isolation: &str) -> Result<()> {
        if self.trace.is_some() && !["sfi", "sfi+txn", "process"].contains(&isolation) {
            bail!(
                "--trace: what a driver calls is not seen at {isolation}, where it and the host call each other directly: \
                 use --isolation sfi, sfi+txn or process"
            );
        }
        Ok(())
    }

    /// Begins the trace that was asked for, and has the device watched.
    pub(crate) fn begin(
        &self,
        device: Box<dyn PciDevice>,
        clock: &Clock,
    ) -> Result<(Box<dyn PciDevice>, Option<Recorder>)> {
        let Some(path) = &self.trace else { return Ok((device, None)) };
        let recorder = Recorder::create(path, clock.clone())?;
        Ok((Box::new(Tracing::new(device, recorder.clone())), Some(recorder)))
    }
}

/// Says in a trace what it is of, and has the driver's calls watched.
pub(crate) fn watch(
    recorder: Option<Recorder>,
    host: &mut Host,
    isolation: &str,
    module: &DriverModule,
    map: &'static RegisterMap,
) -> Result<()> {
    let Some(recorder) = recorder else { return Ok(()) };
    let manifest = module.manifest();
    recorder.head(&Head {
        abi: nook_abi::ABI_VERSION,
        driver: format!("{} {}", manifest.name, manifest.version),
        device: host.describe_device(),
        isolation: isolation.to_owned(),
        registers: nook_regs_file::write(map),
    })?;
    host.watch_calls(Box::new(recorder));
    Ok(())
}
