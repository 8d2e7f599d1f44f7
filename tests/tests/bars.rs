//! A register map of several BARs: each access is checked where it is. What the driver does stands in the map of the
//! vmxnet3; the device is registers and nothing else, so that what is seen is the host's doing.

use e1000_model::{Model, ModelConfig};
use nook_abi::Fault;
use nook_regs::{Bar, RegisterMap};
use nook_runtime::{Mmio, ModuleCache, Nook, NookBuilder, NookError, WasmLauncher, now_ns};
use nook_tests::{BareDevice, FrameQueues, cable, wat_driver};
use vmxnet3_regs::{CMD, DSAL, IMR, TXPROD, command};

/// The vmxnet3's registers, for any device.
static MAP: RegisterMap = RegisterMap::checked("vmxnet3", vmxnet3_regs::MAP.bars(), vmxnet3_regs::MAP.registers());

/// Returns how a driver ends whose `poll` makes these calls of the host.
fn ends(calls: &str) -> Option<Fault> {
    // What the harmless driver turns on there is in another device's map.
    let open = "(call $net_link (i32.const 1) (i32.const 1000) (i32.const 1)) (drop (call $irq_enable (i32.const 0)))
        (call $dma_on)";
    let module = wat_driver(&[("open", open), ("poll", &format!("{calls} (i32.const 0)"))], "");
    let mut manifest = module.manifest().clone();
    manifest.registers = MAP.name().into();
    let host = NookBuilder::new(&manifest, module.layout(), &[&MAP]).host(Box::new(BareDevice::new().0)).unwrap();
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut nook = Nook::net(host, Box::new(launcher), FrameQueues::default());
    match nook.start().and_then(|()| nook.turn(now_ns())) {
        Ok(_) => None,
        Err(NookError::Fault { fault, .. }) => Some(fault),
        Err(other) => panic!("{other}"),
    }
}

fn writes(bar: u32, offset: u32, value: u32) -> String {
    format!("(call $mmio_write32 (i32.const {bar}) (i32.const {offset}) (i32.const {value}))")
}

fn reads(bar: u32, offset: u32) -> String {
    format!("(drop (call $mmio_read32 (i32.const {bar}) (i32.const {offset})))")
}

#[test]
fn what_the_map_has_in_each_bar_is_allowed_there() {
    let asks_for_the_link = writes(1, CMD.offset(), command::GET_LINK) + &reads(1, CMD.offset());
    assert_eq!(ends(&(asks_for_the_link + &writes(0, IMR.get(1).offset(), 1))), None);
    assert_eq!(ends(&writes(0, TXPROD.get(0).offset(), 0)), None);
}

#[test]
fn what_the_map_has_in_one_bar_is_forbidden_in_another() {
    for (calls, wrong) in [
        (writes(1, TXPROD.get(0).offset(), 0), 1),
        (reads(0, CMD.offset() + 4), 0),
        (writes(2, IMR.get(0).offset(), 0), 2),
    ] {
        let fault = ends(&calls);
        assert!(matches!(fault, Some(Fault::RegisterForbidden { bar, .. }) if bar == wrong), "{calls}: {fault:?}");
    }
}

#[test]
fn a_value_is_looked_at_by_the_register_of_that_bar() {
    let order = command::ACTIVATE_DEV + 11;
    for calls in [writes(1, CMD.offset(), order), writes(1, DSAL.offset(), 0x1000)] {
        let fault = ends(&calls);
        assert!(matches!(fault, Some(Fault::BadArgument { argument: "value", .. })), "{calls}: {fault:?}");
    }
    // The same offsets in the other BAR, where those registers are not; and an address that is taken away.
    assert_eq!(ends(&writes(0, CMD.offset(), order)), None);
    assert_eq!(ends(&writes(1, DSAL.offset(), 0)), None);
}

#[test]
fn a_map_of_another_device_is_refused() {
    let module = wat_driver(&[], "");
    let mut manifest = module.manifest().clone();
    manifest.registers = vmxnet3_regs::MAP.name().into();
    let host = NookBuilder::new(&manifest, module.layout(), &[&vmxnet3_regs::MAP]).host(Box::new(BareDevice::new().0));
    let says = host.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(says.starts_with("the register map `vmxnet3` is for 15ad:07b0, and this is "), "{says}");
    assert!(says.ends_with(" (8086:100e): use a map that names this device"), "{says}");
}

#[test]
fn a_map_that_takes_ports_for_memory_is_refused() {
    static IO: RegisterMap = RegisterMap::checked("e1000", &[Bar::memory(2, 8)], &[]);
    let module = wat_driver(&[], "");
    let model = Model::new(ModelConfig::default(), Box::new(cable().0));
    let host = NookBuilder::of(&module, &[&IO]).host(Box::new(model));
    let says = host.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(says.starts_with("the register map `e1000` describes BAR 2, which "), "{says}");
    assert!(says.contains(" has in I/O space: its BARs are 0 in memory space (0x20000 bytes), "), "{says}");
}
