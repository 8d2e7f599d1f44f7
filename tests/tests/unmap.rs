//! A device that does not let go of the window when it is first asked.

use nook_bus::DmaWindow;
use nook_runtime::{Budgets, Host, HostConfig, Launcher, Mmio, ModuleCache, WasmLauncher};
use nook_tests::{Bare, e1000_module};

#[test]
fn a_window_that_could_not_be_taken_away_is_taken_away_before_the_next_instance() {
    let module = e1000_module();
    let (device, handle) = Bare::new();
    handle.cling();
    let host = Host::new(HostConfig {
        device: Box::new(device),
        window: DmaWindow::new(module.layout().window_bytes).unwrap(),
        maps: &[&e1000_regs::MAP],
        manifest: module.manifest(),
        layout: module.layout(),
        budgets: Budgets::default(),
    })
    .unwrap();
    let launcher = WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    let first = handle.mapped();
    assert!(driver.host_mut().end_instance().is_err());
    let driver = launcher.launch(driver.into_host()).unwrap_or_else(|error| panic!("{}", error.why));
    let now = handle.mapped();
    assert_eq!(now.len(), 1, "{now:x?}");
    assert_ne!(now, first, "the next instance has another place");
    drop(driver);
}
