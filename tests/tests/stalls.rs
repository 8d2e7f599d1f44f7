//! What stands still is noticed (the hostile drivers show that, and `nook-run campaign`), and what only rests is not:
//! an hour of traffic that comes and goes in all ways, and interrupts that are held back, on virtual time.

use e1000_model::{Behaviour, Model, ModelConfig};
use nook_bus::Clock;
use nook_net_api::Wire;
use nook_runtime::{Mmio, ModuleCache, Net, Nook, NookBuilder, WasmLauncher};
use nook_seed::Rng;
use nook_tests::{CableEnd, FrameQueues, cable, e1000_module, frame};

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

/// Returns a driver on a model, on virtual time, and the far end of its cable.
fn up(seed: u64, behaviour: Behaviour) -> (Nook<Net<FrameQueues>>, CableEnd) {
    let module = e1000_module();
    let launcher = WasmLauncher::new(module.clone(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    let (near, far) = cable();
    let model = Model::new(ModelConfig { seed, behaviour, ..ModelConfig::default() }, Box::new(near));
    let maps = [&e1000_regs::MAP];
    let builder = NookBuilder::of(&module, &maps).clock(Clock::new_virtual());
    let mut nook = builder.net(Box::new(model), Box::new(launcher), FrameQueues::default()).unwrap();
    nook.start().unwrap();
    (nook, far)
}

/// Lets this much time pass.
fn lasts(nook: &mut Nook<Net<FrameQueues>>, ns: u64) {
    let end_ns = nook.clock().now_ns() + ns;
    while nook.clock().now_ns() < end_ns {
        nook.turn(end_ns).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_stream_interrupts_now_and_then_and_a_frame_that_comes_alone_at_once() {
    let (mut nook, mut far) = up(1, Behaviour::calm());
    lasts(&mut nook, 100 * MS);
    let mut number = 0;
    // Frames of a stream, and lone ones, in turn.
    for _ in 0..3 {
        lasts(&mut nook, 10 * MS);
        let before = nook.counters().irqs;
        let stream_ns = 50 * MS;
        let end_ns = nook.clock().now_ns() + stream_ns;
        let first = number;
        while nook.clock().now_ns() < end_ns {
            far.send(&frame(number, 1500)).unwrap();
            number += 1;
            lasts(&mut nook, 20_000);
        }
        let irqs = nook.counters().irqs - before;
        // 10,000 in a second, and some before the stream was known for one.
        assert!(irqs < stream_ns / 100_000 + 150, "{irqs} interrupts for {} frames", number - first);
        assert!(u64::from(number - first) > 2 * irqs, "{irqs} interrupts for {} frames", number - first);
        // Alone it need not wait, not even right after a stream but for once.
        lasts(&mut nook, MS);
        for _ in 0..20 {
            nook.backend_mut().received.clear();
            let begin_ns = nook.clock().now_ns();
            far.send(&frame(number, 100)).unwrap();
            number += 1;
            while nook.backend().received.is_empty() {
                nook.turn(begin_ns + MS).unwrap();
            }
            let took_ns = nook.clock().now_ns() - begin_ns;
            assert!(took_ns < 20_000, "{took_ns} ns");
            lasts(&mut nook, 500_000);
        }
    }
}

#[test]
fn an_hour_of_traffic_that_comes_and_goes_is_no_fault() {
    let tempers = [(1, Behaviour::adversarial()), (2, Behaviour::adversarial()), (3, Behaviour::calm())];
    for (seed, behaviour) in tempers {
        let (mut nook, mut far) = up(seed, behaviour);
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
