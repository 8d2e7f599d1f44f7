//! A native driver cannot be ended in the middle of a call. What it does meanwhile is bounded all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nook_bus::DmaWindow;
use nook_native::Level as Checks;
use nook_runtime::{Budgets, Nook};
use nook_tests::{BareDevice, FrameQueues, e1000_module, host, native};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts messages of the host that say that something is wrong.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicU32>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.target() != "driver"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

const STARTS: u64 = 3;

#[test]
fn a_driver_that_goes_on_with_a_device_that_is_gone_does_not_flood_the_log() {
    let module = e1000_module();
    let (device, handle) = BareDevice::new();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(Box::new(device), window, &module, Budgets::default());
    let launcher = native("e1000", module.manifest(), Checks::Native);
    let mut nook = Nook::net(host, Box::new(launcher), FrameQueues::default());
    handle.vanish();
    let errors = Errors::default();
    tracing::subscriber::with_default(errors.clone(), || {
        for _ in 0..STARTS {
            assert!(nook.start().is_err());
        }
    });
    let asked = nook.counters().reg_reads + nook.counters().reg_writes;
    let told = u64::from(errors.0.load(Ordering::Relaxed));
    assert!(asked > STARTS * 8 && told > 0 && told <= STARTS * 8, "{asked} accesses, {told} messages");
}
