//! `nook-run selftest` of a disk: what is read in one way has to be what is read in another one, and what is written
//! has to be read. It writes only to a disk whose serial number was given.

mod blocks;

use anyhow::{Result, bail};
use nook_block_api::Op;
use nook_runtime::{Block, BlockCounters, DriverModule, Nook, NookBuilder, NookError};
use nook_seed::Rng;
use serde::Serialize;

use super::report::{DiskReport, NoRates};
use crate::cli::SelftestArgs;
use crate::output;
use crate::report::{CountersReport, ModuleReport, irq_name, write_json};
use crate::run::RunOutcome;
use crate::selftest::{Check, DeviceReport, MachineReport, Ready, table};
use crate::signals::Signals;

use blocks::Blocks;

/// Bytes at each place at most.
const PLACE_BYTES: u32 = 65536;
/// How long all requests of a check may take: longer than the host lets a driver be stuck with one, twice.
const PATIENCE_NS: u64 = 60_000_000_000;
/// The longest wait of one turn.
const TURN_NS: u64 = 5_000_000;

/// The report of a disk's self-test. It names the machine's kernel and the device, and nothing else of either.
#[derive(Debug, Serialize)]
pub struct DiskSelftestReport {
    /// Version of nook.
    pub nook: &'static str,
    /// Everything was as it should be.
    pub passed: bool,
    /// Which driver.
    pub driver: ModuleReport,
    /// Which device.
    pub device: DeviceReport,
    /// Of the machine.
    pub machine: MachineReport,
    /// What the driver says of the disk, if it came that far.
    pub disk: Option<DiskReport>,
    /// Each check, in order; the test ends at the first one without which the others make no sense.
    pub checks: Vec<Check>,
    /// Why nothing was written, if that is so.
    pub not_written: Option<String>,
    /// What was counted on the way through the boundary.
    pub counters: CountersReport<BlockCounters, NoRates>,
    /// DMA outside the window that was seen and blocked.
    pub dma_faults: u64,
    /// From start to stop, in nanoseconds.
    pub duration_ns: u64,
}

/// Runs the test, prints a table, and writes the report.
pub(crate) fn selftest(args: &SelftestArgs, ready: Ready) -> Result<RunOutcome> {
    let Ready { signals, module, map, launcher, window, device, identity, from } = ready;
    let maps = [map];
    let mut nook = NookBuilder::of(&module, &maps).in_window(window).block(device, launcher, Blocks::default())?;
    nook.watch(signals.fd());
    let rng = Rng::new(args.seed);
    let mut test = Selftest { nook, signals, rng, checks: Vec::new(), disk: None, not_written: None, interrupts: None };
    let start_ns = test.nook.clock().now_ns();
    let ran = test.parts(args.destroy_data.as_deref());
    let stopped = test.nook.stop().map(|()| "the device is quiet".into()).map_err(text);
    if let Err(Some(refusal)) = ran {
        bail!(refusal);
    }
    let _ = test.check("the driver stops", stopped);
    let duration_ns = test.nook.clock().now_ns() - start_ns;
    let device = DeviceReport::new(test.nook.host().describe_device(), from, identity, test.interrupts);
    let report = test.report(&module, device, duration_ns);
    let left_out = report.not_written.as_deref().map(|why| ("writes", why));
    let shown = table(&report.device, &report.machine, &report.checks, left_out, duration_ns);
    let written = args.json.as_deref().map_or(Ok(()), |path| write_json(&report, path));
    written.and(output::print(&shown))?;
    Ok(if report.passed { RunOutcome::Done } else { RunOutcome::ExerciseFailed })
}

/// What one part of the test found, or why it failed.
type Found = std::result::Result<String, String>;
/// Why the rest makes no sense: it was reported already, or is an error of its user's.
type Over = Option<String>;

/// The test under way.
struct Selftest {
    nook: Nook<Block<Blocks>>,
    signals: Signals,
    rng: Rng,
    checks: Vec<Check>,
    disk: Option<DiskReport>,
    not_written: Option<String>,
    interrupts: Option<&'static str>,
}

/// A part of the disk: its first block, and how many.
type Place = (u64, u32);

impl Selftest {
    fn parts(&mut self, destroy: Option<&str>) -> std::result::Result<(), Over> {
        let started = self.start();
        self.check("the driver starts", started)?;
        let serial = self.nook.backend().geometry.serial.clone();
        let writes = match destroy {
            Some(named) if named != serial => {
                return Err(Some(format!(
                    "--destroy-data {named}: the disk's serial number is `{serial}`; nothing was written to it"
                )));
            }
            Some(_) if self.nook.backend().geometry.read_only => {
                self.not_written = Some("left out: the disk takes none".into());
                false
            }
            Some(_) => true,
            None => {
                self.not_written =
                    Some(format!("left out; --destroy-data {serial} allows them, and loses what is there"));
                false
            }
        };
        let places = self.places();
        let first = self.read_apart(&places);
        let content = self.check_with("blocks are read", first)?;
        let again = self.read_whole(&places, &content, "as block by block");
        self.check("longer reads agree", again)?;
        if writes {
            let written = self.write(&places);
            let content = self.check_with("writes are read", written)?;
            let restarted = self.restart(&places, &content);
            self.check("after a restart, too", restarted)?;
            let zeroed = self.zero(&places);
            self.check("zeroes are zero", zeroed)?;
        } else {
            let restarted = self.restart(&places, &content);
            self.check("after a restart, too", restarted)?;
        }
        let counters = *self.nook.counters();
        let found = format!("{}, {}", counters.irqs, self.interrupts.unwrap_or("never turned on"));
        let own = counters.irqs > counters.irqs_not_mine;
        let _ = self.check("interrupts", if own { Ok(found) } else { Err(found) });
        let faults = self.nook.host().dma_faults();
        let found = format!("{faults} outside the window");
        let _ = self.check("DMA", if faults == 0 { Ok(found) } else { Err(found) });
        Ok(())
    }

    fn check(&mut self, name: &'static str, found: Found) -> std::result::Result<(), Over> {
        self.check_with(name, found.map(|found| (found, ())))
    }

    /// Notes what a part found, and returns what it made besides.
    fn check_with<T>(
        &mut self,
        name: &'static str,
        found: std::result::Result<(String, T), String>,
    ) -> std::result::Result<T, Over> {
        let (passed, found, made) = match found {
            Ok((found, made)) => (true, found, Ok(made)),
            Err(why) => (false, why, Err(None)),
        };
        self.checks.push(Check { name, passed, found });
        made
    }

    fn start(&mut self) -> Found {
        self.nook.start().map_err(text)?;
        self.interrupts = self.nook.host().irq_kind().map(irq_name);
        let disk = self.nook.disk().ok_or("it attached no disk")?;
        self.disk = Some(disk.into());
        let cache = if self.nook.backend().geometry.volatile_cache { "a volatile cache" } else { "no volatile cache" };
        let (blocks, bytes, serial) = (disk.blocks, disk.block_bytes, disk.serial_text());
        let mib = (blocks * u64::from(bytes)) >> 20;
        Ok(format!("{blocks} blocks of {bytes} bytes, {mib} MiB, {cache}; serial number `{serial}`"))
    }

    /// Chooses places that do not overlap: the first block, one from each power of two on, and the last blocks. A bit
    /// of a block's number that is lost makes one of them another one.
    fn places(&mut self) -> Vec<Place> {
        let geometry = self.nook.backend().geometry.clone();
        let most = u64::from(geometry.max_blocks.min(PLACE_BYTES / geometry.block_bytes).max(1));
        let last = geometry.blocks - 1;
        let mut places = vec![(0, 1)];
        for first in (0..u64::BITS).map(|bit| 1 << bit).take_while(|&first| first < last) {
            places.push((first, 1 + self.rng.below(most.min(first).min(last - first)) as u32));
        }
        if last > 0 {
            places.push((last, 1));
        }
        places
    }

    /// Waits until everything is answered.
    fn wait(&mut self) -> std::result::Result<(), String> {
        let end_ns = self.nook.clock().now_ns() + PATIENCE_NS;
        while self.nook.backend().open() > 0 {
            if let Some(signal) = self.signals.came() {
                return Err(format!("ended by {signal}"));
            }
            let now_ns = self.nook.clock().now_ns();
            if now_ns > end_ns {
                let open = self.nook.backend().open();
                return Err(format!("{open} requests were not answered within {} s", PATIENCE_NS / 1_000_000_000));
            }
            self.nook.turn(now_ns + TURN_NS).map_err(text)?;
        }
        match self.nook.backend_mut().failed() {
            Some(request) => {
                Err(format!("{:?} of {} blocks at {}: an I/O error", request.op, request.blocks, request.first))
            }
            None => Ok(()),
        }
    }

    /// Reads every place block by block.
    fn read_apart(&mut self, places: &[Place]) -> std::result::Result<(String, Vec<Vec<u8>>), String> {
        let mut content = Vec::new();
        let mut read = 0;
        for &(first, blocks) in places {
            let blocks_of = first..first + u64::from(blocks);
            let backend = self.nook.backend_mut();
            let ids: Vec<u64> = blocks_of.map(|block| backend.ask(Op::Read, block, 1, false, Vec::new())).collect();
            self.wait()?;
            read += ids.len();
            content.push(ids.into_iter().flat_map(|id| self.nook.backend_mut().take(id)).collect());
        }
        Ok((format!("{read} blocks at {} places, the first and the last among them", places.len()), content))
    }

    /// Reads every place at once, all of them together, and compares.
    fn read_whole(&mut self, places: &[Place], content: &[Vec<u8>], like: &str) -> Found {
        let backend = self.nook.backend_mut();
        let ask = |&(first, blocks): &Place| backend.ask(Op::Read, first, blocks, false, Vec::new());
        let ids: Vec<u64> = places.iter().map(ask).collect();
        self.wait()?;
        let block_bytes = self.nook.backend().geometry.block_bytes as usize;
        let mut bytes = 0;
        for ((id, expected), (first, _)) in ids.into_iter().zip(content).zip(places) {
            let found = self.nook.backend_mut().take(id);
            bytes += found.len();
            if found != *expected {
                let differs = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0) / block_bytes;
                return Err(format!("block {} is not what was expected", first + differs as u64));
            }
        }
        Ok(format!("{} requests together, {} KiB, {like}", places.len(), bytes >> 10))
    }

    /// Writes every place, each of its blocks with other content, and reads them.
    fn write(&mut self, places: &[Place]) -> std::result::Result<(String, Vec<Vec<u8>>), String> {
        let block_bytes = self.nook.backend().geometry.block_bytes as usize;
        let mut content: Vec<Vec<u8>> = Vec::new();
        for &(_, blocks) in places {
            let words = blocks as usize * block_bytes / size_of::<u64>();
            content.push((0..words).flat_map(|_| self.rng.word().to_le_bytes()).collect());
        }
        for (at, (&(first, blocks), data)) in places.iter().zip(&content).enumerate() {
            self.nook.backend_mut().ask(Op::Write, first, blocks, at % 4 == 3, data.clone());
        }
        self.wait()?;
        self.nook.backend_mut().ask(Op::Flush, 0, 0, false, Vec::new());
        self.wait()?;
        let (_, apart) = self.read_apart(places)?;
        if let Some(at) = apart.iter().zip(&content).position(|(a, b)| a != b) {
            return Err(format!("what was written at block {} is not there", places[at].0));
        }
        self.read_whole(places, &content, "as they were written").map(|found| (found, content))
    }

    fn restart(&mut self, places: &[Place], content: &[Vec<u8>]) -> Found {
        self.nook.restart().map_err(text)?;
        self.read_whole(places, content, "as before it")
    }

    fn zero(&mut self, places: &[Place]) -> Found {
        if !self.nook.backend().geometry.write_zeroes {
            return Ok("the disk has no command for them".into());
        }
        for &(first, blocks) in places {
            self.nook.backend_mut().ask(Op::WriteZeroes, first, blocks, false, Vec::new());
        }
        self.wait()?;
        let block_bytes = self.nook.backend().geometry.block_bytes as usize;
        let zeros: Vec<Vec<u8>> = places.iter().map(|&(_, blocks)| vec![0; blocks as usize * block_bytes]).collect();
        self.read_whole(places, &zeros, "all zero")
    }

    fn report(&mut self, module: &DriverModule, device: DeviceReport, duration_ns: u64) -> DiskSelftestReport {
        DiskSelftestReport {
            nook: env!("CARGO_PKG_VERSION"),
            passed: self.checks.iter().all(|check| check.passed),
            driver: ModuleReport::from(module),
            device,
            machine: MachineReport::here(),
            disk: self.disk.take(),
            checks: std::mem::take(&mut self.checks),
            not_written: self.not_written.take(),
            counters: CountersReport::new(self.nook.counters(), *self.nook.block_counters(), NoRates {}),
            dma_faults: self.nook.host().dma_faults(),
            duration_ns,
        }
    }
}

fn text(error: NookError) -> String {
    error.to_string()
}
