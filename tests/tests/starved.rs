//! A driver that gives back all its receive buffers at once gets them again, though nothing else calls it.

use e1000_model::{Behaviour, Model, ModelConfig};
use nook_abi::ClassKeys;
use nook_abi::net::NetKeys;
use nook_native::Level;
use nook_net_api::Wire;
use nook_runtime::{Layout, Nook, NookBuilder, now_ns};
use nook_tests::{FrameQueues, cable, e1000_module, frame, native};

const BUFFERS: u32 = 4;

#[test]
fn buffers_that_were_all_given_back_are_provided_again() {
    let mut manifest = e1000_module().manifest().clone();
    let keys = NetKeys { rx_buffers: BUFFERS, ..NetKeys::of(&manifest).unwrap() };
    manifest.keys = ClassKeys::Net(keys);
    let layout = Layout::new(0, &manifest);
    let (near, mut far) = cable();
    let config = ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() };
    let host = NookBuilder::new(&manifest, &layout, &[&e1000_regs::MAP])
        .host(Box::new(Model::new(config, Box::new(near))))
        .unwrap();
    let launcher = native("e1000", e1000_module().manifest(), Level::Wrapped);
    let mut nook = Nook::net(host, Box::new(launcher), FrameQueues::default());
    nook.start().unwrap();
    let end = now_ns() + 60_000_000_000;
    let mut sent = 0;
    while nook.backend().received.len() < 100 {
        assert!(now_ns() < end, "{} of {sent} frames, {:?}", nook.backend().received.len(), nook.counters());
        // A burst that takes every buffer that the device has.
        if nook.backend().links.last() == Some(&true) && sent == nook.backend().received.len() as u32 {
            for _ in 0..BUFFERS {
                far.send(&frame(sent, 60)).unwrap();
                sent += 1;
            }
        }
        nook.turn(now_ns() + 1_000_000).unwrap();
    }
}
