//! What stands still is noticed (the hostile drivers show that, and `nook-run campaign`), and what only rests is not:
//! an hour of traffic that comes and goes in all ways, on virtual time.

use std::sync::Arc;

use e1000_model::{Behaviour, Model, ModelConfig};
use nook_bus::Clock;
use nook_net_api::Wire;
use nook_runtime::{Mmio, ModuleCache, NookBuilder, WasmLauncher};
use nook_seed::Rng;
use nook_tests::{FrameQueues, cable, e1000_module, frame};

const MS: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MS;
/// How long traffic is of one kind, at most.
const PHASE_NS: u64 = 3_000 * MS;
/// Between two frames of one way; the last is none at all.
const PACES_NS: [u64; 6] = [20_000, MS, 30 * MS, 130 * MS, 700 * MS, u64::MAX];
/// A phase has this many frames each way, at most.
const MOST: u32 = 400;

/// One way's frames.
struct Way {
    pace_ns: u64,
    next_ns: u64,
    left: u32,
}

impl Way {
    fn drawn(rng: &mut Rng, now_ns: u64) -> Self {
        Way { pace_ns: PACES_NS[rng.index(PACES_NS.len())], next_ns: now_ns, left: MOST }
    }

    /// Returns whether a frame is to be sent now.
    fn sends(&mut self, now_ns: u64) -> bool {
        let sends = self.left > 0 && now_ns >= self.next_ns;
        if sends {
            self.left -= 1;
            self.next_ns = now_ns.saturating_add(self.pace_ns);
        }
        sends
    }

    fn due_ns(&self) -> u64 {
        if self.left > 0 { self.next_ns } else { u64::MAX }
    }
}

#[test]
fn an_hour_of_traffic_that_comes_and_goes_is_no_fault() {
    let module = e1000_module();
    let launcher = Arc::new(WasmLauncher::new(module.clone(), &ModuleCache::none(), Mmio::Emulated).unwrap());
    let tempers = [(1, Behaviour::adversarial()), (2, Behaviour::adversarial()), (3, Behaviour::calm())];
    for (seed, behaviour) in tempers {
        let (near, mut far) = cable();
        let model = Model::new(ModelConfig { seed, behaviour, ..ModelConfig::default() }, Box::new(near));
        let maps = [&e1000_regs::MAP];
        let builder = NookBuilder::of(&module, &maps).clock(Clock::new_virtual());
        let mut nook = builder.net(Box::new(model), Box::new(launcher.clone()), FrameQueues::default()).unwrap();
        nook.start().unwrap();
        let (mut rng, mut number) = (Rng::new(seed), 0);
        let (begin_ns, mut buffer) = (nook.clock().now_ns(), [0; 2048]);
        while nook.clock().now_ns() < begin_ns + HOUR / tempers.len() as u64 {
            let now_ns = nook.clock().now_ns();
            let end_ns = now_ns + rng.below(PHASE_NS);
            let (mut there, mut back) = (Way::drawn(&mut rng, now_ns), Way::drawn(&mut rng, now_ns));
            // Now and then nobody reads at the cable's other end.
            let reads = !rng.one_in(8);
            while nook.clock().now_ns() < end_ns {
                let now_ns = nook.clock().now_ns();
                let bytes = frame(number, 60 + rng.index(1454));
                number += 1;
                if there.sends(now_ns) {
                    nook.backend_mut().to_send.push_back(bytes.clone());
                }
                if back.sends(now_ns) {
                    far.send(&bytes).unwrap();
                }
                while reads && far.recv(&mut buffer).unwrap().is_some() {}
                nook.backend_mut().received.clear();
                let until_ns = end_ns.min(there.due_ns()).min(back.due_ns()).max(now_ns + 1);
                nook.turn(until_ns).unwrap_or_else(|error| panic!("seed {seed}, at {} ms: {error}", now_ns / MS));
            }
        }
        let counters = nook.net_counters();
        assert!(counters.rx_packets > 10_000 && counters.tx_done > 10_000, "{counters:?}");
    }
}
