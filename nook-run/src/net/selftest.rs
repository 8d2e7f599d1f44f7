//! `nook-run selftest`: tries a driver and its device without a peer. Frames turn round inside the device, and each
//! is checked when it comes back.

mod frames;
mod report;

use anyhow::Result;
use nook_abi::Hex;
use nook_abi::net::NetStats;
use nook_bus::{DmaWindow, PciDevice};
use nook_regs::RegisterMap;
use nook_runtime::{DriverModule, Launcher, Net, Nook, NookBuilder, NookError};

use super::report::NetCountersReport;
use crate::cli::SelftestArgs;
use crate::output;
use crate::report::{ModuleReport, irq_name, write_json};
use crate::run::RunOutcome;
use crate::selftest::{Check, DeviceReport, MachineReport, Ready};
use crate::signals::Signals;

use frames::Frames;
use report::{FramesReport, SelftestReport};

/// How many frames are sent, if nothing is said.
const PACKETS: u32 = 10_000;
/// How long the first frame may take to come round: QEMU's receivers rest for a second, a PHY for less.
const FIRST_FRAME_NS: u64 = 10_000_000_000;
/// How long any other may take.
const FRAME_NS: u64 = 5_000_000_000;
/// After so long without anything, nothing more comes.
const QUIET_NS: u64 = 20_000_000;
/// How long the device's counters may take to agree.
const COUNTERS_NS: u64 = 500_000_000;
/// The longest wait of one turn.
const TURN_NS: u64 = 5_000_000;

/// Runs the test, prints a table, and writes the report.
pub(crate) fn selftest(args: &SelftestArgs, ready: Ready) -> Result<RunOutcome> {
    let Ready { signals, module, map, launcher, window, device, identity, from } = ready;
    let packets = args.packets.unwrap_or(PACKETS);
    let mut test = Selftest::new(device, window, &module, map, launcher, args.seed, signals)?;
    let (checks, duration_ns) = test.run(packets);
    let device = DeviceReport::new(test.nook.host().describe_device(), from, identity, test.interrupts);
    let report = test.report(args, &module, device, checks, duration_ns);
    let written = args.json.as_deref().map_or(Ok(()), |path| write_json(&report, path));
    written.and(output::print(&report.table()))?;
    Ok(if report.passed { RunOutcome::Done } else { RunOutcome::ExerciseFailed })
}

/// What one part of the test found, or why it failed.
type Found = std::result::Result<String, String>;

/// The test under way.
struct Selftest {
    nook: Nook<Net<Frames>>,
    signals: Signals,
    checks: Vec<Check>,
    /// How interrupts come, while they do.
    interrupts: Option<&'static str>,
    /// Frames that the device counted, and those that passed the interface: sent, received.
    counted: [u64; 2],
    moved: [u64; 2],
    /// What the device found wrong with frames.
    errors: u64,
}

impl Selftest {
    fn new(
        device: Box<dyn PciDevice>,
        window: DmaWindow,
        module: &DriverModule,
        map: &'static RegisterMap,
        launcher: Box<dyn Launcher>,
        seed: u64,
        signals: Signals,
    ) -> Result<Self> {
        let maps = [map];
        let builder = NookBuilder::of(module, &maps).in_window(window);
        let mut nook = builder.net(device, launcher, Frames::new(seed))?;
        nook.watch(signals.fd());
        Ok(Selftest { nook, signals, checks: Vec::new(), interrupts: None, counted: [0; 2], moved: [0; 2], errors: 0 })
    }

    /// Makes every check that makes sense, and leaves the device quiet. How long it took is in nanoseconds.
    fn run(&mut self, packets: u32) -> (Vec<Check>, u64) {
        let start_ns = self.now_ns();
        let reached = self.parts(packets);
        if reached.is_ok() {
            self.verdicts(packets);
        }
        let stopped = match reached {
            // A PHY stays as it was left.
            Ok(()) => self.nook.set_loopback(false).and_then(|()| self.nook.stop()),
            Err(()) => self.nook.shut(),
        };
        let _ = self.check("the driver stops", stopped.map(|()| "the device is quiet".into()).map_err(text));
        (std::mem::take(&mut self.checks), self.now_ns() - start_ns)
    }

    /// Runs the checks up to the end of the traffic. An error was reported already, and makes the rest pointless.
    fn parts(&mut self, packets: u32) -> std::result::Result<(), ()> {
        let started = self.start();
        self.check("the driver starts", started)?;
        let first = self.loop_back();
        self.check("frames come round", first)?;
        let half = self.pass(packets / 2);
        self.check("first half", half)?;
        let restarted = self.restart();
        self.check("the driver restarts", restarted)?;
        let rest = self.pass(packets);
        self.check("second half", rest)
    }

    fn check(&mut self, name: &'static str, found: Found) -> std::result::Result<(), ()> {
        let passed = found.is_ok();
        let found = found.unwrap_or_else(|why| why);
        self.checks.push(Check { name, passed, found });
        if passed { Ok(()) } else { Err(()) }
    }

    /// Starts the driver, which finds registers that answer, an EEPROM whose checksum is right, and whatever else it
    /// checks.
    fn start(&mut self) -> Found {
        let mut settings = self.nook.settings().clone();
        settings.all_multicast = false;
        self.nook.set(settings).map_err(text)?;
        self.nook.start().map_err(text)?;
        let interface = self.nook.interface().ok_or("it attached no interface")?;
        let mac = Hex::colons(&interface.mac);
        Ok(format!("registers, EEPROM and PHY answer; its address is {mac}"))
    }

    fn loop_back(&mut self) -> Found {
        self.nook.set_loopback(true).map_err(|error| match error {
            NookError::Lacks { .. } => "the driver has no loopback (its entry `set_loopback`)".into(),
            error => text(error),
        })?;
        self.knock()
    }

    fn restart(&mut self) -> Found {
        self.nook.restart().map_err(text)?;
        self.knock()
    }

    /// Sends frames until one comes round, and lets the others.
    fn knock(&mut self) -> Found {
        let (start_ns, before) = (self.now_ns(), self.nook.backend().knocks_back());
        while self.nook.backend().knocks_back() == before {
            if self.now_ns() - start_ns > FIRST_FRAME_NS {
                return Err(format!("none within {} s", FIRST_FRAME_NS / 1_000_000_000));
            }
            self.nook.backend_mut().knock();
            self.quiet()?;
        }
        self.interrupts = self.nook.host().irq_kind().map(irq_name);
        let link = self.nook.interface().map(|interface| interface.link).unwrap_or_default();
        self.quiet()?;
        Ok(format!("after {} ms, at {} Mbit/s", (self.now_ns() - start_ns) / 1_000_000, link.speed_mbps))
    }

    /// Turns until nothing has come for a while.
    fn quiet(&mut self) -> std::result::Result<(), String> {
        let came = |test: &Selftest| test.nook.net_counters().packets();
        let (mut since, mut before) = (self.now_ns(), came(self));
        while self.now_ns() - since < QUIET_NS {
            self.turn()?;
            let now = came(self);
            if now != before {
                (since, before) = (self.now_ns(), now);
            }
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.nook.clock().now_ns()
    }

    fn turn(&mut self) -> std::result::Result<(), String> {
        if let Some(signal) = self.signals.came() {
            return Err(format!("ended by {signal}"));
        }
        let until_ns = self.now_ns() + TURN_NS;
        self.nook.turn(until_ns).map(|_| ()).map_err(text)
    }

    /// Sends what is left of the first `until` frames and compares the device's counters with what was moved.
    fn pass(&mut self, until: u32) -> Found {
        let (counted, moved) = (self.stats()?, self.moved());
        let (first, start_ns) = (self.nook.backend().expected(), self.now_ns());
        self.nook.backend_mut().send_until(until);
        let (mut due, mut progress) = (first, self.now_ns());
        while !self.nook.backend().all_back() {
            self.turn()?;
            let now = self.now_ns();
            let expected = self.nook.backend().expected();
            if expected != due {
                (due, progress) = (expected, now);
            } else if now - progress > FRAME_NS {
                let trouble = self.nook.backend().tally().trouble.clone().unwrap_or_default();
                return Err(format!(
                    "frame {expected} did not come round within {} s; {trouble}",
                    FRAME_NS / 1_000_000_000
                ));
            }
        }
        let took_ms = (self.now_ns() - start_ns) / 1_000_000;
        // The last frame's buffer may not be back yet, and a counter may lag behind.
        let end = self.now_ns() + COUNTERS_NS;
        loop {
            self.quiet()?;
            let (now, moved_now) = (self.stats()?, self.moved());
            // What a driver says may be anything.
            let since = |now: u64, before: u64| now.saturating_sub(before);
            let device = [since(now.tx_packets, counted.tx_packets), since(now.rx_packets, counted.rx_packets)];
            let host = [0, 1].map(|way| moved_now[way] - moved[way]);
            if device == host || self.now_ns() >= end {
                for way in [0, 1] {
                    self.counted[way] = self.counted[way].saturating_add(device[way]);
                    self.moved[way] += host[way];
                }
                self.errors = self.errors.saturating_add(since(errors(&now), errors(&counted)));
                return Ok(format!("{} frames came round in {took_ms} ms", until - first));
            }
        }
    }

    fn stats(&mut self) -> std::result::Result<NetStats, String> {
        self.nook.stats().map_err(text)
    }

    /// Returns frames sent and received, as the host counts them.
    fn moved(&self) -> [u64; 2] {
        let counters = self.nook.net_counters();
        [counters.tx_packets, counters.rx_packets]
    }

    /// Makes the checks that are about all of the traffic.
    fn verdicts(&mut self, packets: u32) {
        let tally = self.nook.backend().tally().clone();
        let [sent, received] = self.nook.backend().hashes();
        let whole = tally.received == packets && tally.sent == packets && tally.trouble.is_none() && sent == received;
        let found = match &tally.trouble {
            None => format!("{} of {packets}, SHA-256 {}…", tally.received, &received[..16]),
            Some(trouble) => format!(
                "{} of {packets} are right; {} lost, {} repeated, {} changed; first: {trouble}",
                tally.received, tally.lost, tally.repeated, tally.damaged
            ),
        };
        let _ = self.check("order and content", if whole { Ok(found) } else { Err(found) });

        let counters = *self.nook.counters();
        let found = format!("{}, {}", counters.irqs, self.interrupts.unwrap_or("never turned on"));
        let own = counters.irqs > counters.irqs_not_mine;
        let _ = self.check("interrupts", if own { Ok(found) } else { Err(found) });

        let ([tx, rx], [sent, received]) = (self.counted, self.moved);
        let found =
            format!("the device counted {tx} of {sent} sent, {rx} of {received} received, {} errors", self.errors);
        let agree = self.counted == self.moved && self.errors == 0;
        let _ = self.check("the device's counters", if agree { Ok(found) } else { Err(found) });

        let faults = self.nook.host().dma_faults();
        let found = format!("{faults} outside the window");
        let _ = self.check("DMA", if faults == 0 { Ok(found) } else { Err(found) });
    }

    fn report(
        &self,
        args: &SelftestArgs,
        module: &DriverModule,
        device: DeviceReport,
        checks: Vec<Check>,
        duration_ns: u64,
    ) -> SelftestReport {
        let tally = self.nook.backend().tally();
        let [sha256_sent, sha256_received] = self.nook.backend().hashes();
        SelftestReport {
            nook: env!("CARGO_PKG_VERSION"),
            passed: checks.iter().all(|check| check.passed),
            driver: ModuleReport::from(module),
            device,
            machine: MachineReport::here(),
            frames: FramesReport {
                wanted: args.packets.unwrap_or(PACKETS),
                sent: tally.sent,
                received: tally.received,
                lost: tally.lost,
                repeated: tally.repeated,
                damaged: tally.damaged,
                trouble: tally.trouble.clone(),
                sha256_sent,
                sha256_received,
                seed: args.seed,
            },
            checks,
            counters: NetCountersReport::of(self.nook.counters(), self.nook.net_counters()),
            dma_faults: self.nook.host().dma_faults(),
            duration_ns,
        }
    }
}

/// Returns everything that a device and its driver count as gone wrong.
fn errors(stats: &NetStats) -> u64 {
    let all = [stats.rx_errors, stats.rx_missed, stats.tx_errors, stats.tx_timeouts];
    all.into_iter().fold(0, u64::saturating_add)
}

fn text(error: NookError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use e1000_model::{Behaviour, Model, ModelConfig};
    use std::path::Path;

    use nook_native::{Level, NativeLauncher};
    use nook_net::Unplugged;
    use nook_runtime::{DriverModule, Wasi};

    use super::*;

    /// Returns the checks that fail on a model of this behaviour.
    fn failures(behaviour: Behaviour) -> Vec<(&'static str, String)> {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/drivers/e1000.wasm");
        let module = DriverModule::load(&driver, Wasi::Refused).expect("`cargo xtask drivers` made it");
        let window = DmaWindow::new(module.layout().window_bytes).unwrap();
        let model = Model::new(ModelConfig { behaviour, ..ModelConfig::default() }, Box::new(Unplugged));
        let launcher = NativeLauncher::new(&driver.with_extension("so"), module.manifest(), Level::Wrapped).unwrap();
        let signals = Signals::take().unwrap();
        let map = &e1000_regs::MAP;
        let mut test = Selftest::new(Box::new(model), window, &module, map, Box::new(launcher), 1, signals).unwrap();
        let (checks, _) = test.run(2000);
        checks.into_iter().filter(|check| !check.passed).map(|check| (check.name, check.found)).collect()
    }

    #[test]
    fn a_device_that_is_in_order_passes() {
        assert_eq!(failures(Behaviour::adversarial()), []);
    }

    #[test]
    fn a_device_that_loses_frames_does_not_pass() {
        let lossy = Behaviour { receive_errors_ppm: 20_000, ..Behaviour::calm() };
        let failed = failures(lossy);
        assert!(
            failed.iter().any(|(name, found)| *name == "order and content" && found.contains("lost")),
            "{failed:?}"
        );
        assert!(failed.iter().any(|(name, _)| *name == "the device's counters"), "{failed:?}");
    }
}
