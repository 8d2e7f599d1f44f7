//! Two nooks in one process, each of which tries to get at the other: with addresses, handles, packets and the device.

use std::fs::{self, File};
use std::mem::offset_of;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, PoisonError};

use e1000_model::{Model, ModelConfig};
use nook_abi::Fault::{BadArgument, StaleHandle, Trap};
use nook_abi::net::{NetFault, Owner, Queue};
use nook_abi::{ClassFault, Entry, Fault, HostPage, Hostcall, TrapKind};
use nook_bus::DmaWindow;
use nook_runtime::{Nook, NookError, Settings};
use nook_tests::{FrameQueues, Rig, cable, frame, host, wat_driver};
use vm_memory::Bytes;

use crate::case::{BUDGETS, Level};
use crate::neighbour::until;
use crate::stage::launcher;
use crate::tests::NEIGHBOUR;

/// Offsets in the texts below.
const _: () = assert!(
    offset_of!(HostPage, window_addr) == 8
        && offset_of!(HostPage, window_len_bytes) == 16
        && offset_of!(HostPage, window_iova) == 24
);

/// Where in its window a driver finds its orders, and leaves its answers.
const TOLD: usize = 0;
const HANDLE: usize = 32;
const IOVA: usize = 40;

/// `$window` is the window's address, `$told` what was put at its start; `$tells` leaves a handle and the window's IOVA
/// there; `$sees(pattern)` looks through the whole memory.
const HELPERS: &str = r#"
    (func $window (result i32) (i32.wrap_i64 (i64.load offset=8 (global.get $page))))
    (func $told (result i64) (i64.load (call $window)))
    (func $tells (param $handle i32)
        (i32.store offset=32 (call $window) (local.get $handle))
        (i64.store offset=40 (call $window) (i64.load offset=24 (global.get $page))))
    (func $fill (param $byte i32)
        (memory.fill (i32.const 1024) (local.get $byte) (i32.const 65536))
        (memory.fill (call $window) (local.get $byte) (i32.wrap_i64 (i64.load offset=16 (global.get $page)))))
    (func $sees (param $pattern i64) (result i32) (local $at i32) (local $end i32)
        (local.set $end (i32.shl (memory.size) (i32.const 16)))
        (loop $next
            (if (i64.eq (i64.load (local.get $at)) (local.get $pattern)) (then (return (i32.const 1))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
        (i32.const 0))
    (global $tail (mut i32) (i32.const 0))
"#;

/// Returns a nook with the harmless driver, of which these entries are changed. It was not started.
fn nook(level: Level, entries: &[(&str, &str)]) -> Rig {
    let module = Arc::new(wat_driver(entries, HELPERS));
    let (near, far) = cable();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(Box::new(Model::new(ModelConfig::default(), Box::new(near))), window, &module, BUDGETS);
    let launcher = Box::new(launcher(module, level).unwrap());
    Rig { nook: Nook::net(host, launcher, FrameQueues::default()), far: Box::new(far) }
}

/// Runs a test at each level, while no case is played: what a process holds is counted before and after each.
fn at_each_level(test: impl Fn(Level)) {
    let _alone = NEIGHBOUR.lock().unwrap_or_else(PoisonError::into_inner);
    Level::ALL.into_iter().for_each(test);
}

fn window(rig: &Rig) -> Vec<u8> {
    let window = rig.nook.host().window();
    let mut bytes = vec![0; window.len_bytes() as usize];
    window.slice().copy_to(&mut bytes[..]);
    bytes
}

fn tell(rig: &Rig, value: u64) {
    rig.nook.host().window().slice().write_obj(value, TOLD).unwrap();
}

fn told(rig: &Rig, at: usize) -> u64 {
    rig.nook.host().window().slice().read_obj(at).unwrap()
}

/// Lets it work until it faults.
fn fault_of(rig: &mut Rig) -> Fault {
    loop {
        if let Err(NookError::Fault { fault, .. }) = rig.turn() {
            return fault;
        }
    }
}

fn is_in_order(rig: &mut Rig) {
    (0..20).for_each(|_| rig.turn().unwrap());
}

/// Fills all that it has with one pattern, and traps if it finds the other.
macro_rules! filler {
    ($own:literal, $others:literal) => {
        &[
            ("open", concat!("(call $fill (i32.const ", $own, ")) (i32.const 0)")),
            ("set_rx_mode", concat!("(if (call $sees (i64.const ", $others, ")) (then unreachable)) (i32.const 0)")),
        ]
    };
}

#[test]
fn what_one_driver_writes_all_over_its_memory_and_window_is_nowhere_in_the_others() {
    at_each_level(|level| {
        let mut one = nook(level, filler!("0xa5", "0x5a5a5a5a5a5a5a5a"));
        let mut other = nook(level, filler!("0x5a", "0xa5a5a5a5a5a5a5a5"));
        one.nook.start().unwrap();
        other.nook.start().unwrap();
        for rig in [&mut one, &mut other] {
            is_in_order(rig);
            rig.nook.set(Settings { promiscuous: true, ..Settings::default() }).unwrap();
        }
        assert!(window(&one).iter().all(|&byte| byte == 0xa5) && window(&other).iter().all(|&byte| byte == 0x5a));
        // One that looks for its own pattern finds it.
        let mut found = nook(level, filler!("0xa5", "0xa5a5a5a5a5a5a5a5"));
        found.nook.start().unwrap();
        assert!(found.nook.set(Settings { promiscuous: true, ..Settings::default() }).is_err());
    });
}

/// Returns where a running driver's memory begins in this process, and where its window is in it.
fn places(rig: &Rig) -> (u64, u64) {
    let window = rig.nook.host().window();
    let inode = File::from(window.fd().try_clone_to_owned().unwrap()).metadata().unwrap().ino().to_string();
    let hosts = window.slice().ptr_guard().as_ptr() as u64;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let begins = maps.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (begin, _) = words.next()?.split_once('-')?;
        (words.nth(3)? == inode).then(|| u64::from_str_radix(begin, 16).unwrap())
    });
    let mut drivers = begins.filter(|&begin| begin != hosts);
    let in_memory = drivers.next().expect("the driver has its window");
    assert_eq!(drivers.next(), None, "the window is mapped by the host and in one memory");
    (in_memory - rig.nook.host().layout().window, in_memory)
}

#[test]
fn no_address_that_a_driver_can_say_leads_to_the_others_memory() {
    const LEAST: u64 = 0xffff_ffff;
    const LOADS: &[(&str, &str)] =
        &[("poll", "(i32.load8_u offset=0xffffffff (i32.wrap_i64 (i64.sub (call $told) (i64.const 0xffffffff))))")];
    const STORES: &[(&str, &str)] = &[(
        "poll",
        "(i64.store offset=0xffffffff (i32.wrap_i64 (i64.sub (call $told) (i64.const 0xffffffff)))
            (i64.const -1)) (i32.const 0)",
    )];
    at_each_level(|level| {
        for entries in [LOADS, STORES] {
            let mut rigs = [nook(level, entries), nook(level, entries)];
            for rig in &mut rigs {
                rig.nook.start().unwrap();
            }
            // Addresses are not negative, so it is the lower one that comes near the other. Where the kernel has put
            // them farther apart than an address reaches, the farthest is tried.
            rigs.sort_by_key(|rig| places(rig).0);
            let [lower, upper] = &mut rigs;
            let distance = places(upper).1 - places(lower).0;
            assert!(distance > LEAST, "memories of 4 GiB overlap: {distance:#x}");
            tell(lower, distance.min(2 * LEAST));
            let before = window(upper);
            let expected = Trap { entry: Entry::Poll, kind: TrapKind::MemoryOutOfBounds };
            assert_eq!(fault_of(lower), expected, "{level} {distance:#x}");
            assert!(window(upper) == before);
        }
    });
}

#[test]
fn a_handle_of_one_driver_is_stale_in_the_other() {
    at_each_level(|level| {
        let mut one = nook(
            level,
            &[(
                "open",
                "(call $tells (i32.wrap_i64 (i64.shr_u (call $dma_alloc (i32.const 64) (i32.const 16)) (i64.const 32))))
                 (i32.const 0)",
            )],
        );
        one.nook.start().unwrap();
        let handle = told(&one, HANDLE) as u32;
        let mut other = nook(level, &[("open", "(call $dma_free (i32.wrap_i64 (call $told))) (i32.const 0)")]);
        tell(&other, handle.into());
        let error = other.nook.start().unwrap_err();
        let NookError::Fault { fault, .. } = error else { panic!("{error}") };
        assert_eq!(fault, StaleHandle { call: Hostcall::DmaFree, handle });
        assert_eq!((one.nook.host().dma_regions(), other.nook.host().dma_regions()), (1, 0));
        is_in_order(&mut one);
    });
}

#[test]
fn a_packet_of_one_driver_is_not_the_others() {
    at_each_level(|level| {
        // It takes a frame, shows what it was given, and returns it on request.
        let mut one = nook(
            level,
            &[(
                "poll",
                "(local $entry i32) (local.set $entry (call $take (i32.const 2)))
                 (if (local.get $entry) (then (memory.copy (call $window) (local.get $entry) (i32.const 16))))
                 (if (i64.ne (i64.load offset=40 (call $window)) (i64.const 0)) (then
                     (i64.store offset=40 (call $window) (i64.const 0)) (call $put (i32.const 3) (call $window))))
                 (i32.const 0)",
            )],
        );
        one.nook.start().unwrap();
        one.nook.backend_mut().to_send.push_back(frame(0, 60));
        is_in_order(&mut one);
        let mut other = nook(level, &[("poll", "(call $put (i32.const 3) (call $window)) (i32.const 0)")]);
        other.nook.start().unwrap();
        other.nook.host().window().slice().copy_from(&window(&one)[..32]);
        let fault = fault_of(&mut other);
        let expected = matches!(
            fault,
            Fault::Class(ClassFault::Net(NetFault::PacketNotOwned { queue: Queue::TxReturn, owner: Owner::Host, .. }))
        );
        assert!(expected, "{level}: {fault}");
        // Its owner has it still.
        assert_eq!(one.nook.net_counters().tx_done, 0);
        one.nook.host().window().slice().write_obj(1u64, IOVA).unwrap();
        until(&mut one, "the frame was returned", |rig| rig.nook.net_counters().tx_done == 1).unwrap();
    });
}

/// Fills its window, and tells where the device sees it.
const TELLS: &[(&str, &str)] = &[("open", "(call $fill (i32.const 0xa5)) (call $tells (i32.const 0)) (i32.const 0)")];

#[test]
fn a_device_is_not_given_rings_in_the_others_window() {
    at_each_level(|level| {
        let mut one = nook(level, TELLS);
        one.nook.start().unwrap();
        let mut other = nook(
            level,
            &[
                ("open", "(call $tells (i32.const 0)) (i32.const 0)"),
                (
                    "poll",
                    "(call $mmio_write32 (i32.const 0) (i32.const 0x2800) (i32.wrap_i64 (call $told))) (i32.const 0)",
                ),
            ],
        );
        start_elsewhere(&mut other, &one);
        let value = told(&one, IOVA) & 0xffff_ffff;
        let rule = "the device would use an address outside the driver's window";
        tell(&other, value);
        assert_eq!(fault_of(&mut other), BadArgument { call: Hostcall::MmioWrite32, argument: "value", value, rule });
    });
}

/// Each window is at the same place for its own device, until one is restarted.
fn start_elsewhere(rig: &mut Rig, one: &Rig) {
    rig.nook.start().unwrap();
    rig.nook.restart().unwrap();
    let (here, there) = (told(rig, IOVA), told(one, IOVA));
    assert!(here.abs_diff(there) >= rig.nook.host().window().len_bytes(), "{here:#x} {there:#x}");
}

#[test]
fn a_device_reaches_the_others_window_neither_to_send_nor_to_receive() {
    /// A receive and a transmit ring at 4 KiB and 8 KiB of the window. Each timer points one more descriptor of both at
    /// the address that was given. Offsets and bits: `e1000_regs`.
    const POINTS: &[(&str, &str)] = &[
        (
            "open",
            "(local $low i32) (local $high i32)
             (call $tells (i32.const 0)) (drop (call $dma_on)) (call $timer_set (i64.const 1))
             (local.set $low (i32.load offset=24 (global.get $page)))
             (local.set $high (i32.load offset=28 (global.get $page)))
             (call $mmio_write32 (i32.const 0) (i32.const 0) (i32.const 0x41))
             (call $mmio_write32 (i32.const 0) (i32.const 0x2800) (i32.add (local.get $low) (i32.const 4096)))
             (call $mmio_write32 (i32.const 0) (i32.const 0x2804) (local.get $high))
             (call $mmio_write32 (i32.const 0) (i32.const 0x2808) (i32.const 4096))
             (call $mmio_write32 (i32.const 0) (i32.const 0x3800) (i32.add (local.get $low) (i32.const 8192)))
             (call $mmio_write32 (i32.const 0) (i32.const 0x3804) (local.get $high))
             (call $mmio_write32 (i32.const 0) (i32.const 0x3808) (i32.const 4096))
             (call $mmio_write32 (i32.const 0) (i32.const 0x100) (i32.const 0x801a))
             (call $mmio_write32 (i32.const 0) (i32.const 0x400) (i32.const 2))
             (i32.const 0)",
        ),
        (
            "timer",
            "(local $at i32)
             (call $timer_set (i64.add (call $clock_ns) (i64.const 1000000)))
             (if (i64.eqz (call $told)) (then (return)))
             (local.set $at (i32.add (call $window) (i32.shl (i32.and (global.get $tail) (i32.const 255)) (i32.const 4))))
             (i64.store offset=4096 (local.get $at) (call $told)) (i64.store offset=4104 (local.get $at) (i64.const 0))
             (i64.store offset=8192 (local.get $at) (call $told))
             (i64.store offset=8200 (local.get $at) (i64.const 0x0b00003c))
             (global.set $tail (i32.and (i32.add (global.get $tail) (i32.const 1)) (i32.const 255)))
             (call $mmio_write32 (i32.const 0) (i32.const 0x2818) (global.get $tail))
             (call $mmio_write32 (i32.const 0) (i32.const 0x3818) (global.get $tail))",
        ),
    ];
    /// Where in a window the device is led to.
    const AT: u64 = 65536;
    at_each_level(|level| {
        let mut one = nook(level, TELLS);
        one.nook.start().unwrap();
        let mut other = nook(level, POINTS);
        start_elsewhere(&mut other, &one);
        // What is its own it sends, and receives into.
        let far = frame(7, 60);
        other.nook.host().window().slice().write_slice(&[0x77; 60], AT as usize).unwrap();
        tell(&other, told(&other, IOVA) + AT);
        let mut sent = Vec::new();
        until(&mut other, "its own is sent", |rig| {
            sent.extend(rig.arrived());
            !sent.is_empty()
        })
        .unwrap();
        assert!(sent[0] == [0x77; 60], "{:x?}", sent[0]);
        until(&mut other, "its own is written", |rig| {
            assert!(rig.far.send(&far).unwrap());
            window(rig)[AT as usize..][..60] == far
        })
        .unwrap();
        assert_eq!(other.nook.host().dma_faults(), 0);
        // What is the other's it does not.
        let before = window(&one);
        assert_eq!(before[AT as usize], 0xa5);
        tell(&other, told(&one, IOVA) + AT);
        until(&mut other, "the device was blocked", |rig| {
            assert!(rig.far.send(&far).unwrap());
            sent.extend(rig.arrived());
            rig.nook.host().dma_faults() > 20
        })
        .unwrap();
        assert!(sent.iter().all(|frame| !frame.contains(&0xa5)), "the other's memory was sent");
        assert!(window(&one) == before, "the other's memory was written");
        is_in_order(&mut one);
    });
}
