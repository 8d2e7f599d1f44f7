//! What an interface is set to, with drivers that do not have every setting.

use e1000_model::{Model, ModelConfig};
use nook_abi::net::{MOST_MULTICAST, rx_mode};
use nook_abi::{Entry, Status};
use nook_bus::DmaWindow;
use nook_runtime::{Budgets, Mmio, ModuleCache, Net, Nook, NookError, Settings, WasmLauncher};
use nook_tests::{FrameQueues, cable, host, wat_driver};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Says by the link's speed which address was set last.
const TELLS_MAC: (&str, &str) = (
    "set_mac",
    "(call $net_link (i32.const 1) (i32.wrap_i64 (i64.and (local.get $mac) (i64.const 0xffff))) (i32.const 1)) (i32.const 0)",
);

/// Returns a driver that does not have these entries, and says by its link's speed what was set of loopback.
fn nook(lacks: &[&str]) -> Nook<Net<FrameQueues>> {
    let unsupported = format!("(i32.const {})", Status::Unsupported.code());
    let loopback =
        "(call $net_link (i32.const 1) (i32.add (i32.const 100) (local.get $mode)) (i32.const 1)) (i32.const 0)";
    let lacking = lacks.iter().map(|&entry| (entry, unsupported.as_str()));
    let bodies: Vec<_> = lacking.chain([("set_loopback", loopback), ("open", "(i32.const 0)")]).collect();
    nook_of(&bodies)
}

fn nook_of(bodies: &[(&str, &str)]) -> Nook<Net<FrameQueues>> {
    let module = wat_driver(bodies, "");
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let (near, _far) = cable();
    let host = host(Box::new(Model::new(ModelConfig::default(), Box::new(near))), window, &module, Budgets::default());
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    Nook::net(host, Box::new(launcher), FrameQueues::default())
}

fn wanted() -> Settings {
    Settings { mac: Some(MAC), mtu_bytes: Some(1000), promiscuous: true, loopback: true, ..Settings::default() }
}

fn speed(nook: &Nook<Net<FrameQueues>>) -> u32 {
    nook.interface().unwrap().link.speed_mbps
}

#[test]
fn settings_that_a_driver_does_not_have_are_named_and_the_others_hold() {
    let mut nook = nook(&["set_mac", "set_rx_mode"]);
    nook.start().unwrap();
    let own = nook.interface().unwrap().mac;
    let error = nook.set(wanted()).unwrap_err();
    assert!(matches!(&error, NookError::Lacks { entries } if entries == &[Entry::SetMac, Entry::SetRxMode]), "{error}");
    assert_eq!(error.to_string(), "the driver does not have set_mac, set_rx_mode");
    assert_eq!(speed(&nook), 101);
    assert_eq!(*nook.settings(), Settings { mac: None, promiscuous: false, ..wanted() });
    assert_eq!(nook.backend().mac, Some(own), "the other side got an address that the driver does not have");
}

#[test]
fn a_driver_that_lacks_some_of_the_settings_starts_with_the_others() {
    let mut nook = nook(&["set_mac", "set_mtu", "set_rx_mode"]);
    nook.set(wanted()).unwrap();
    nook.start().unwrap();
    assert_eq!(speed(&nook), 101);
}

#[test]
fn a_driver_whose_receive_mode_cannot_be_set_is_asked_for_nothing_by_the_usual_settings() {
    let mut nook = nook(&["set_rx_mode"]);
    nook.start().unwrap();
    nook.set(Settings { mtu_bytes: Some(1000), ..Settings::default() }).unwrap();
}

#[test]
fn a_driver_gets_its_own_address_again_when_another_is_given_up_or_a_later_setting_is_refused() {
    let refuses = format!("(i32.const {})", Status::Invalid.code());
    let mut nook = nook_of(&[TELLS_MAC, ("set_mtu", &refuses), ("open", "(i32.const 0)")]);
    nook.start().unwrap();
    let own = nook.interface().unwrap().mac;
    let low = |mac: [u8; 6]| u32::from(u16::from_le_bytes([mac[0], mac[1]]));
    nook.set(Settings { mac: Some(MAC), ..Settings::default() }).unwrap();
    assert_eq!((speed(&nook), nook.backend().mac), (low(MAC), Some(MAC)));
    nook.set(Settings::default()).unwrap();
    assert_eq!((speed(&nook), nook.backend().mac), (low(own), Some(own)));
    nook.set(Settings { mac: Some(MAC), mtu_bytes: Some(1000), ..Settings::default() }).unwrap_err();
    assert_eq!((speed(&nook), nook.backend().mac), (low(own), Some(own)));
}

#[test]
fn more_groups_than_a_driver_gets_become_all_of_them() {
    // The mode in the last digit of the link's speed, and the count in those before it.
    let tells = "(call $net_link (i32.const 1)
                     (i32.add (i32.mul (local.get $multicast_count) (i32.const 10)) (local.get $mode)) (i32.const 1))
                 (i32.const 0)";
    let mut nook = nook_of(&[("set_rx_mode", tells), ("open", "(i32.const 0)")]);
    nook.start().unwrap();
    for (groups, told) in [(MOST_MULTICAST, 2560), (MOST_MULTICAST + 1, rx_mode::ALL_MULTICAST)] {
        let multicast = vec![[1, 0, 0x5e, 0, 0, 1]; groups];
        nook.set(Settings { all_multicast: false, multicast, ..Settings::default() }).unwrap();
        assert_eq!(speed(&nook), told, "{groups} groups");
    }
}
