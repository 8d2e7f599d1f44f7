//! What the benchmarks share: a device that costs next to nothing, so that the driver and the boundary are what is
//! measured, and an interface that neither makes nor looks at payload.
//!
//! The device is no model: it answers an e1000's doorbells at once and has no other behaviour. The benchmarks in
//! `benches/` are its only users.

mod instant;

use std::io;

use nook_abi::NetMeta;
use nook_bus::{DmaWindow, VolatileSlice};
use nook_runtime::{Budgets, Driver, Host, HostConfig, Nook, Uplink};
use nook_tests::{Isolation, e1000_module};

pub use instant::Instant;

/// A host on an [`Instant`] device that completes at most `receives` frames between two polls.
///
/// # Panics
/// If the driver was not built.
pub fn host(receives: u32) -> Host {
    let module = e1000_module();
    let config = HostConfig {
        device: Box::new(Instant::new(receives)),
        window: DmaWindow::new(module.layout().window_bytes).expect("memory for the window"),
        maps: &[&e1000_regs::MAP],
        manifest: module.manifest(),
        layout: module.layout(),
        budgets: Budgets::default(),
    };
    Host::new(config).expect("driver and device belong together")
}

/// The e1000 driver, probed and not opened.
///
/// # Panics
/// If it does not come up.
pub fn driver(isolation: Isolation) -> Box<dyn Driver> {
    let launched = isolation.launcher().launch(host(0));
    let mut driver = launched.unwrap_or_else(|error| panic!("{}", error.why));
    let page = driver.host_page();
    assert_eq!(driver.probe(0, page), Ok(0));
    driver
}

/// An interface that has `frames` of 60 bytes to send in each round, and drops what it gets.
pub struct Endless {
    frames: u32,
    left: u32,
}

impl Endless {
    /// A new round of frames.
    pub fn refill(&mut self) {
        self.left = self.frames;
    }
}

impl Uplink for Endless {
    #[inline]
    fn up(&mut self, _: VolatileSlice<'_>, _: &NetMeta) -> io::Result<bool> {
        Ok(true)
    }

    #[inline]
    fn down(&mut self, _: VolatileSlice<'_>) -> io::Result<Option<(usize, NetMeta)>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        Ok(Some((60, NetMeta::default())))
    }

    fn link(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn set_mac(&mut self, _: [u8; 6]) -> io::Result<()> {
        Ok(())
    }
}

/// A nook whose every turn polls once and moves `batch` frames each way.
///
/// # Panics
/// If the driver does not come up.
pub fn nook(isolation: Isolation, batch: u32) -> Nook<Endless> {
    let mut nook = Nook::new(host(batch), isolation.launcher(), Endless { frames: batch, left: 0 });
    nook.start().expect("the driver comes up");
    for _ in 0..1000 {
        round(&mut nook);
    }
    let before = *nook.counters();
    round(&mut nook);
    let after = nook.counters();
    assert_eq!(after.polls - before.polls, 1);
    assert_eq!(after.tx_packets - before.tx_packets, u64::from(batch));
    assert_eq!(after.rx_packets - before.rx_packets, u64::from(batch));
    nook
}

/// One batch each way.
///
/// # Panics
/// If the driver faults.
pub fn round(nook: &mut Nook<Endless>) {
    nook.uplink_mut().refill();
    nook.turn(0).expect("the driver does not fault");
}
