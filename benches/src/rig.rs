//! Drivers on a device that costs next to nothing, and the timer around their calls.

use std::cell::RefCell;
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nook_abi::{Addr, Entry, Fault};
use nook_bus::DmaWindow;
use nook_net_api::{Incoming, NetBackend, Outgoing, Room};
use nook_runtime::{Budgets, Driver, DriverModule, Ended, Host, LaunchError, Launcher, Net, Nook, RolledBack, Turn};

use crate::levels::{Level, Program, Shared};
use crate::sample::Subject;
use crate::{ImmediateDevice, ticks};

/// A minute.
const MINUTE_NS: u64 = 60_000_000_000;

/// The device counts nothing, so there is nothing to compare with, however long a run is; and somebody else may have
/// the core for long while a driver of another process has the word.
pub(crate) const BUDGETS: Budgets = Budgets {
    interrupt_cpu_ns: MINUTE_NS,
    atomic_cpu_ns: MINUTE_NS,
    process_cpu_ns: MINUTE_NS,
    short_wall_ns: MINUTE_NS,
    process_wall_ns: MINUTE_NS,
    process_total_ns: MINUTE_NS,
    transmit_ns: MINUTE_NS,
    stall_ns: 24 * 60 * MINUTE_NS,
    quiet_ns: MINUTE_NS,
    counters_ns: 24 * 60 * MINUTE_NS,
    instruction_ns: 10,
    net_cpu_ns: MINUTE_NS,
};

/// Returns a host of `module` on this device.
///
/// # Panics
/// If there is no memory for its window.
pub fn host(module: &DriverModule, device: ImmediateDevice) -> Host {
    let window = DmaWindow::new(module.layout().window_bytes).expect("memory for the window");
    nook_tests::host(Box::new(device), window, module, BUDGETS)
}

/// Returns a driver, probed and not opened.
///
/// # Panics
/// If it does not come up.
pub fn driver(level: &Level, program: Program) -> Box<dyn Driver> {
    driver_of(&level.launcher(program), program)
}

/// Returns the same, of a launcher that is there already.
///
/// # Panics
/// If it does not come up.
pub fn driver_of(launcher: &Shared, program: Program) -> Box<dyn Driver> {
    let launched = launcher.launch(host(&program.module(), ImmediateDevice::new(0)));
    let mut driver = launched.unwrap_or_else(|error| panic!("{}", error.why));
    let page = driver.host_page();
    assert_eq!(driver.probe(0, page), Ok(0));
    driver
}

/// An interface that has this many frames of 60 bytes to send in each round, and drops what it gets.
pub struct Endless {
    frames: u32,
    left: u32,
}

impl Endless {
    /// With `frames` in each round.
    pub fn new(frames: u32) -> Self {
        Endless { frames, left: 0 }
    }

    /// A new round of frames.
    pub fn refill(&mut self) {
        self.left = self.frames;
    }
}

impl NetBackend for Endless {
    #[inline]
    fn deliver(&mut self, _: Incoming<'_>) -> io::Result<bool> {
        Ok(true)
    }

    #[inline]
    fn fetch(&mut self, _: &Room<'_>) -> io::Result<Option<Outgoing>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        Ok(Some(Outgoing { len_bytes: 60, side: None }))
    }

    fn link(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn set_mac(&mut self, _: [u8; 6]) -> io::Result<()> {
        Ok(())
    }
}

/// Returns a nook whose every turn polls once and moves `batch` frames each way, after an interrupt if `interrupts`.
/// What its driver's calls of `poll` and `irq` take is added to the counter.
///
/// # Panics
/// If the driver does not come up.
pub fn nook(launcher: &Shared, batch: u32, interrupts: bool) -> (Nook<Net<Endless>>, Arc<AtomicU64>) {
    watched(launcher, batch, interrupts, Measure::Time)
}

/// Returns the same for drivers whose `roll_back` undoes nothing and tells what the last call did: it is asked after
/// each poll, and what it tells is added up.
pub(crate) fn peeking(launcher: &Shared, batch: u32) -> (Nook<Net<Endless>>, Arc<AtomicU64>) {
    watched(launcher, batch, false, Measure::Rollback)
}

/// Returns a launcher of the same drivers, and where what their calls of `poll` and `irq` take is added up, in ticks;
/// or what `roll_back` tells, see [`peeking`].
pub(crate) fn watching(launcher: &Shared, measure: Measure) -> (Watched, Arc<AtomicU64>) {
    let sum = Arc::new(AtomicU64::new(0));
    (Watched { inner: launcher.clone(), measure, sum: sum.clone() }, sum)
}

fn watched(launcher: &Shared, batch: u32, interrupts: bool, measure: Measure) -> (Nook<Net<Endless>>, Arc<AtomicU64>) {
    let (launcher, sum) = watching(launcher, measure);
    let module = Program::E1000.module();
    let device = if interrupts { ImmediateDevice::interrupting(batch) } else { ImmediateDevice::new(batch) };
    let mut nook = Nook::net(host(&module, device), Box::new(launcher), Endless::new(batch));
    nook.start().expect("the driver comes up");
    for _ in 0..100 {
        round(&mut nook);
    }
    let (before, moved_before) = (*nook.counters(), *nook.net_counters());
    round(&mut nook);
    let (after, moved) = (nook.counters(), nook.net_counters());
    assert_eq!(after.polls - before.polls, 1);
    assert_eq!(after.irqs - before.irqs, u64::from(interrupts));
    assert_eq!(moved.tx_packets - moved_before.tx_packets, u64::from(batch));
    assert_eq!(moved.rx_packets - moved_before.rx_packets, u64::from(batch));
    (nook, sum)
}

/// Returns a subject whose runs are rounds of this many nooks; see [`nook`].
pub(crate) fn rounds<'a>(launcher: &Shared, instances: usize, batch: u32, interrupts: bool) -> Subject<'a> {
    Subject::new((0..instances).map(|_| {
        let (mut nook, spent) = nook(launcher, batch, interrupts);
        move |times| {
            let before = spent.load(Ordering::Relaxed);
            (0..times).for_each(|_| round(&mut nook));
            spent.load(Ordering::Relaxed) - before
        }
    }))
}

/// Instances of the touching driver, for [`jobs`].
pub(crate) type Touching = Vec<RefCell<Box<dyn Driver>>>;

/// As many instances as are measured.
pub(crate) fn touching(level: &Level) -> Touching {
    let launcher = level.launcher(Program::Touch);
    (0..level.instances(1)).map(|_| RefCell::new(driver_of(&launcher, Program::Touch))).collect()
}

/// Returns a subject whose runs are calls that do this job.
pub(crate) fn jobs(drivers: &Touching, what: u32, amount: u32) -> Subject<'_> {
    Subject::new(drivers.iter().map(|driver| {
        move |times| {
            let mut driver = driver.borrow_mut();
            for _ in 0..times {
                driver.poll(black_box(what), amount, 0).expect("it does not fault");
                driver.commit().expect("the device obeys");
            }
            0
        }
    }))
}

/// One batch each way.
///
/// # Panics
/// If the driver faults.
pub fn round(nook: &mut Nook<Net<Endless>>) {
    nook.backend_mut().refill();
    // A driver whose call took long, because somebody else had the core meanwhile, rests for a turn.
    while nook.turn(u64::MAX).expect("the driver does not fault") != Turn::Worked {}
}

/// What is added up of each call of `poll` and `irq`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    /// How long it and its commit take: in a turn of the loop the host works too.
    Time,
    /// What `roll_back` tells.
    Rollback,
}

/// Makes drivers that are watched.
pub(crate) struct Watched {
    inner: Shared,
    measure: Measure,
    sum: Arc<AtomicU64>,
}

impl Launcher for Watched {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        let inner = self.inner.launch(host)?;
        Ok(Box::new(WatchedDriver { inner, measure: self.measure, sum: self.sum.clone() }))
    }

    fn isolation(&self) -> &'static str {
        self.inner.isolation()
    }
}

struct WatchedDriver {
    inner: Box<dyn Driver>,
    measure: Measure,
    sum: Arc<AtomicU64>,
}

impl WatchedDriver {
    #[inline]
    fn measure<R>(&mut self, call: impl FnOnce(&mut dyn Driver) -> R, counts: bool) -> R {
        let begin = ticks::now();
        let result = call(&mut *self.inner);
        let spent = match self.measure {
            Measure::Time => ticks::now() - begin,
            Measure::Rollback if counts => self.inner.roll_back().map_or(0, |told| told.entries),
            Measure::Rollback => 0,
        };
        // Nobody else writes it, so no exchange is needed.
        self.sum.store(self.sum.load(Ordering::Relaxed) + spent, Ordering::Relaxed);
        result
    }
}

macro_rules! define_watched_driver {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl Driver for WatchedDriver {
            $(
                #[inline]
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault> {
                    match Entry::$variant {
                        Entry::Poll | Entry::Irq => self.measure(|driver| driver.$name($($arg),*), true),
                        _ => self.inner.$name($($arg),*),
                    }
                }
            )*

            #[inline]
            fn commit(&mut self) -> Result<(), Fault> {
                self.measure(|driver| driver.commit(), false)
            }

            fn roll_back(&mut self) -> Option<RolledBack> {
                self.inner.roll_back()
            }

            fn host(&self) -> &Host {
                self.inner.host()
            }

            fn host_mut(&mut self) -> &mut Host {
                self.inner.host_mut()
            }

            fn host_page(&self) -> Addr {
                self.inner.host_page()
            }

            fn end(self: Box<Self>) -> Ended {
                self.inner.end()
            }
        }
    };
}

nook_abi::entries!(define_watched_driver);
