//! What a device may be left in by one instance, and must not be in when the next one begins.

use e1000_regs::EECD;
use nook_bus::DmaWindow;
use nook_runtime::{Budgets, Ended, Launcher, Mmio, ModuleCache, WasmLauncher};
use nook_tests::{BareDevice, e1000_module, host};

#[test]
fn a_window_that_could_not_be_taken_away_is_taken_away_before_the_next_instance() {
    let module = e1000_module();
    let (device, handle) = BareDevice::new();
    handle.cling();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(Box::new(device), window, &module, Budgets::default());
    let launcher = WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated).unwrap();
    let driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    let first = handle.mapped();
    let Ended { host, quiet } = driver.end();
    assert!(quiet.is_err());
    let driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    let now = handle.mapped();
    assert_eq!(now.len(), 1, "{now:x?}");
    assert_ne!(now, first, "the next instance has another place");
    drop(driver);
}

/// A driver that reads the EEPROM by its pins may be ended between two bits, by a fault or with its whole process.
#[test]
fn an_eeprom_that_was_left_selected_is_let_go_before_the_next_instance() {
    let module = e1000_module();
    let (device, handle) = BareDevice::new();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let mut host = host(Box::new(device), window, &module, Budgets::default());
    let launcher = WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated).unwrap();
    let others = EECD::EE_PRES | EECD::EE_GNT | EECD::FWE.put(1);
    for left in [0, EECD::EE_REQ | EECD::CS, EECD::EE_REQ | EECD::CS | EECD::SK | EECD::DI] {
        handle.set_register(EECD.offset().into(), left | others);
        let driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
        assert_eq!(handle.register(EECD.offset().into()), others, "left as {left:#x}");
        let ended = driver.end();
        ended.quiet.unwrap();
        host = ended.host;
    }
}
