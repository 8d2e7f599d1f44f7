//! DPDK's drivers, as `cargo xtask drivers --with dpdk` makes them: how descriptors change hands in what was compiled,
//! settings, which they forget when they start, and frames that end them. That they do what our own driver does is
//! shown by the other tests, with `NOOK_TEST_DRIVER=dpdk-e1000`, `=dpdk-vmxnet3` or `=dpdk-igb`, which these want as
//! well.
//!
//! `NOOK_BLESS=1 cargo test --release --workspace --exclude xtask --test dpdk` rewrites the listing of that driver.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nook_abi::{Entry, Status};
use nook_bus::{BusAccess, Tracing};
use nook_recovery::{Policy, RecoveryOutcome};
use nook_runtime::{DriverModule, ModuleCache, NookError, RollbackMethod, Settings, Wasi, WasmLauncher};
use nook_tests::{Device, Isolation, Rig, Supervised, driver_file, e1000_module, frame, poisoned};
use wasmparser::{FunctionBody, KnownCustom, Name, Operator, Parser, Payload, TypeRef};

/// DPDK's functions that touch a ring, and what to look for in them.
struct Handoff {
    driver: &'static str,
    /// The one that receives first, and the one that sends next.
    functions: &'static [&'static str],
    /// What an instruction does to a descriptor, if it may be one that does.
    touches: fn(&Operator<'_>) -> Option<&'static str>,
    /// What must hold, whatever the order of the rest is.
    check: fn(&str, &[String]),
}

/// A doorbell is a hostcall, and DPDK's barrier before the transmit doorbell is a fence that is still there.
fn rings_behind_a_fence(lines: &[String]) {
    let doorbell = lines.iter().rposition(|line| line == "call mmio_write32").expect("a doorbell");
    assert_eq!(lines[doorbell - 1], "fence", "{lines:#?}");
}

const HANDOFFS: [Handoff; 3] = [
    Handoff {
        driver: "dpdk-e1000",
        functions: &["eth_em_recv_pkts", "eth_em_xmit_pkts", "eth_em_tx_descriptor_status", "em_rxq_intr_enable"],
        touches: |operator| match operator {
            // Bytes from the start of a descriptor of either ring to its status.
            Operator::I32Load8U { memarg } if memarg.offset == 12 => Some("look at a status"),
            _ => None,
        },
        check: |name, lines| {
            if name == "eth_em_xmit_pkts" {
                rings_behind_a_fence(lines);
            }
        },
    },
    Handoff {
        driver: "dpdk-igb",
        functions: &["eth_igb_recv_pkts", "eth_igb_xmit_pkts", "eth_igb_tx_descriptor_status"],
        touches: |operator| match operator {
            // Where the status is in the advanced layouts: of a receive descriptor, and of a transmit one.
            Operator::I32Load { memarg } if memarg.offset == 8 || memarg.offset == 12 => Some("look where a status is"),
            Operator::I32Load8U { memarg } if memarg.offset == 12 => Some("look where a status is"),
            _ => None,
        },
        check: |name, lines| {
            if name == "eth_igb_xmit_pkts" {
                rings_behind_a_fence(lines);
            }
        },
    },
    Handoff {
        driver: "dpdk-vmxnet3",
        functions: &["vmxnet3_recv_pkts", "vmxnet3_xmit_pkts", "vmxnet3_post_rx_bufs"],
        touches: |operator| match operator {
            // A completion's last word has the bit that says whose it is, a descriptor's third one; the address is
            // first.
            Operator::I32Load { memarg } if memarg.offset == 12 => Some("look whose it is"),
            Operator::I32Store { memarg } if memarg.offset == 8 => Some("say whose it is"),
            Operator::I64Store { memarg } if memarg.offset == 0 => Some("put an address"),
            _ => None,
        },
        // A receive descriptor is the device's as soon as it says so: with its address. DPDK's barrier for compilers
        // before a transmit descriptor changes hands is a fence.
        check: |name, lines| {
            let last = |what: &str| lines.iter().rposition(|line| line == what).unwrap_or_else(|| panic!("no {what}"));
            let given = last("say whose it is");
            if name == "vmxnet3_xmit_pkts" {
                assert_eq!(lines[given - 1], "fence", "{lines:#?}");
            } else {
                assert!(last("put an address") < given, "{lines:#?}");
            }
        },
    },
];

/// Returns those of the driver that the tests are run with.
fn handoff() -> &'static Handoff {
    let driver = e1000_module().manifest().name.clone();
    let handoff = HANDOFFS.iter().find(|handoff| handoff.driver == driver);
    handoff.unwrap_or_else(|| panic!("NOOK_TEST_DRIVER names {driver}, which is not DPDK's"))
}

struct Module<'a> {
    imports: Vec<&'a str>,
    bodies: Vec<FunctionBody<'a>>,
    names: BTreeMap<u32, &'a str>,
}

fn read(wasm: &[u8]) -> Module<'_> {
    let mut module = Module { imports: Vec::new(), bodies: Vec::new(), names: BTreeMap::new() };
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.unwrap();
                    assert!(matches!(import.ty, TypeRef::Func(_)));
                    module.imports.push(import.name);
                }
            }
            Payload::CodeSectionEntry(body) => module.bodies.push(body),
            Payload::CustomSection(section) => {
                let KnownCustom::Name(names) = section.as_known() else { continue };
                for part in names.into_iter().map(Result::unwrap) {
                    let Name::Function(functions) = part else { continue };
                    let named = functions.into_iter().map(Result::unwrap);
                    module.names.extend(named.map(|naming| (naming.index, naming.name)));
                }
            }
            _ => {}
        }
    }
    module
}

/// Returns what is done to descriptors, fences, and calls of a function, in the order of the code.
fn listing(module: &Module<'_>, name: &str, touches: fn(&Operator<'_>) -> Option<&'static str>) -> Vec<String> {
    let index = module.names.iter().find(|(_, found)| **found == name).map(|(index, _)| *index as usize);
    let index = index.unwrap_or_else(|| panic!("the module has no function `{name}`"));
    let operators = module.bodies[index - module.imports.len()].get_operators_reader().unwrap();
    let line = |operator| match operator {
        Operator::AtomicFence => Some("fence".to_owned()),
        Operator::CallIndirect { .. } => Some("call what the port's pool is made of".to_owned()),
        Operator::Call { function_index } => {
            let import = module.imports.get(function_index as usize);
            let name = import.or_else(|| module.names.get(&function_index));
            Some(format!("call {}", name.expect("functions have names")))
        }
        other => touches(&other).map(str::to_owned),
    };
    operators.into_iter().filter_map(|operator| line(operator.unwrap())).collect()
}

#[test]
fn descriptors_change_hands_behind_fences_and_hostcalls() {
    let handoff = handoff();
    let driver = handoff.driver;
    let wasm = fs::read(driver_file(driver)).unwrap();
    let module = read(&wasm);
    let mut text = String::new();
    for name in handoff.functions {
        let lines = listing(&module, name, handoff.touches);
        (handoff.check)(name, &lines);
        text += &format!("{name}:\n");
        lines.iter().for_each(|line| text += &format!("    {line}\n"));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{driver}-handoff.txt"));
    if std::env::var_os("NOOK_BLESS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&golden).unwrap_or_default(), "see the head of this test's file");
}

/// Sends the frame, as often as it takes, until it is received.
fn is_received(rig: &mut Rig, frame: &[u8]) {
    rig.until("a frame was received", |rig| {
        let _ = rig.far.send(frame);
        rig.nook.backend().received.iter().any(|received| received == frame)
    });
}

#[test]
fn settings_are_taken_and_kept_over_a_restart() {
    let to = |address: [u8; 6], number| [&address[..], &frame(number, 60)[6..]].concat();
    let (own, other) = ([2, 0x11, 0x22, 0x33, 0x44, 0x55], [2, 9, 9, 9, 0x77, 0x66]);
    for device in Device::one_of_each() {
        let mut rig = Rig::up(&device, Isolation::Sfi);
        let settings = Settings { mac: Some(own), mtu_bytes: Some(1400), ..Settings::default() };
        rig.nook.set(settings.clone()).unwrap();
        let too_long = rig.nook.set(Settings { mtu_bytes: Some(1501), ..settings.clone() });
        assert!(
            matches!(too_long, Err(NookError::Refused { entry: Entry::SetMtu, status: Status::Invalid })),
            "{too_long:?}"
        );
        for round in 0..2 {
            is_received(&mut rig, &to(own, 10 + round));
            assert!(rig.far.send(&to(other, 20 + round)).unwrap());
            is_received(&mut rig, &to(own, 30 + round));
            assert!(!rig.nook.backend().received.contains(&to(other, 20 + round)));
            rig.nook.restart().unwrap();
            rig.until("the link is up", |rig| rig.nook.interface().is_some_and(|interface| interface.link.up));
        }
        rig.nook.set(Settings { promiscuous: true, ..settings }).unwrap();
        is_received(&mut rig, &to(other, 40));
    }
}

/// The length of frames that end the driver with the planted bugs.
const POISON: usize = 666;

/// DPDK's driver, whose own functions trap at such frames, under supervision.
fn with_bugs() -> Supervised {
    let handoff = handoff();
    let (receives, sends) = (handoff.functions[0], handoff.functions[1]);
    let wasm = poisoned(&fs::read(driver_file(handoff.driver)).unwrap(), sends, receives, POISON as i32);
    let module = Arc::new(DriverModule::from_bytes(&wasm, Wasi::Refused).unwrap());
    let launcher = WasmLauncher::with_rollback(&module, &ModuleCache::none(), Arc::new(RollbackMethod::Log)).unwrap();
    let device = Device::one_of_each().next().expect("there is a card of the driver's");
    Supervised::new(Rig::up_with(&device, Box::new(launcher)), Policy::default())
}

#[test]
fn a_frame_at_which_dpdks_own_code_ends_while_it_sends_is_given_up_and_no_other() {
    let mut this = with_bugs();
    let lengths = (0..60).map(|n| if n == 20 || n == 33 { POISON } else { 100 + n });
    let frames: Vec<_> = lengths.map(|len| frame(len as u32, len)).collect();
    this.supervisor.nook_mut().backend_mut().to_send.extend(frames.iter().cloned());
    let wanted: Vec<_> = frames.into_iter().filter(|frame| frame.len() != POISON).collect();
    let mut arrived = Vec::new();
    this.until("the others arrived", |this| {
        arrived.extend(this.arrived());
        arrived.len() >= wanted.len()
    });
    assert!(arrived == wanted, "in order, each once, unchanged");
    assert_eq!((this.supervisor.nook().net_counters().tx_poison, this.supervisor.restarts()), (2, 0));
}

/// A received frame must pass DPDK's own function to be given up, as nobody else knows its ring: where that function is
/// what it ends, the call cannot be mended by leaving the frame out. Then the ring is what is made again.
#[test]
fn a_frame_at_which_dpdks_own_code_ends_while_it_receives_costs_the_ring_and_the_driver_goes_on() {
    let mut this = with_bugs();
    assert!(this.far.send(&frame(1, 100)).unwrap() && this.far.send(&frame(2, POISON)).unwrap());
    let began_again =
        |outcome| matches!(outcome, RecoveryOutcome::SnapshotRestored { .. } | RecoveryOutcome::Restarted { .. });
    this.until("the driver began again", |this| {
        this.supervisor.recoveries().iter().any(|recovery| began_again(recovery.outcome))
    });
    let after = frame(3, 200);
    this.until("a later frame is received", |this| {
        let _ = this.far.send(&after);
        this.supervisor.nook().backend().received.contains(&after)
    });
    assert_eq!(this.supervisor.nook().net_counters().rx_poison, 0, "it could not be given up");
    let received = &this.supervisor.nook().backend().received;
    assert!(received.iter().all(|frame| frame.len() != POISON), "and was not delivered");
}

#[test]
fn frames_that_are_too_long_are_dropped_and_take_no_buffer_with_them() {
    // More of them than there are receive buffers.
    const FRAMES: u32 = 600;
    for device in Device::one_of_each() {
        let mut rig = Rig::up(&device, Isolation::Sfi);
        for number in 0..FRAMES {
            assert!(rig.far.send(&frame(number, 3000)).unwrap());
            is_received(&mut rig, &frame(number, 60));
            rig.nook.backend_mut().received.retain(|received| received.len() != 60);
        }
        assert!(rig.nook.backend().received.is_empty(), "{device:?}");
        rig.nook.stop().unwrap();
    }
}

/// Returns a UDP packet of a flow, which is its source port, to this address.
fn packet(to: [u8; 6], flow: u16, number: u32) -> Vec<u8> {
    let mut ip = [0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15];
    let sum: u32 = ip.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    ip[10..12].copy_from_slice(&(!((sum >> 16) + sum & 0xffff) as u16).to_be_bytes());
    let mut packet = [&to[..], &[2, 0, 0, 0, 0, 1, 8, 0], &ip].concat();
    packet.extend([flow, 5000, 40, 0].map(u16::to_be_bytes).concat());
    packet.extend(number.to_be_bytes());
    packet.resize(74, flow as u8);
    packet
}

/// The receive queues that a driver uses.
const QUEUES: [(&str, u32); 1] = [("dpdk-igb-queues", 4)];

#[test]
fn flows_are_spread_over_the_queues_that_there_are_and_each_keeps_its_order() {
    const FLOWS: u16 = 32;
    const PACKETS: u32 = 40;
    let name = e1000_module().manifest().name.clone();
    let queues = QUEUES.iter().find(|(driver, _)| *driver == name).map_or(1, |(_, queues)| *queues);
    for device in Device::one_of_each() {
        let vectors = Arc::new(AtomicU32::new(0));
        let seen = vectors.clone();
        let sink = move |access| {
            if let BusAccess::Irq(fired) = access {
                seen.fetch_or(fired, Ordering::Relaxed);
            }
        };
        let rig = Rig::seen_by(&device, Isolation::SfiTxn.launcher(), |device| Box::new(Tracing::new(device, sink)));
        let mut rig = rig.comes_up(&device);
        let mac = rig.nook.interface().unwrap().mac;
        let sent: Vec<_> = (0..PACKETS).flat_map(|number| (0..FLOWS).map(move |flow| (flow, number))).collect();
        let mut next = 0;
        rig.until("all came", |rig| {
            // No more under way than one queue can hold.
            while next < sent.len() && next < rig.nook.backend().received.len() + 24 {
                assert!(rig.far.send(&packet(mac, sent[next].0, sent[next].1)).unwrap());
                next += 1;
            }
            rig.nook.backend().received.len() == sent.len()
        });
        let received = &rig.nook.backend().received;
        for flow in 0..FLOWS {
            let of: Vec<_> = received.iter().filter(|packet| packet[34..36] == flow.to_be_bytes()).collect();
            assert!(
                of.iter().enumerate().all(|(n, it)| **it == packet(mac, flow, n as u32)),
                "flow {flow} on {device:?}"
            );
            assert_eq!(of.len(), PACKETS as usize);
        }
        if queues == 1 {
            let in_order = sent.iter().zip(received).all(|(&(flow, number), it)| *it == packet(mac, flow, number));
            assert!(in_order, "one queue keeps the order of all: {device:?}");
        } else {
            // Vector 0 is the port's, and each queue has the next one.
            let wanted = (1 << queues) - 1;
            assert_eq!(vectors.load(Ordering::Relaxed) >> 1 & wanted, wanted, "each queue had packets: {device:?}");
        }
    }
}
