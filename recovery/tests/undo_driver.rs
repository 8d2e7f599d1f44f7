//! The undo log pass on the real driver.

use std::path::Path;

use nook_recovery::undo::instrument;

/// `cargo xtask drivers` makes it.
fn driver() -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/drivers/e1000.wasm");
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask drivers`", file.display()))
}

#[test]
fn the_e1000_driver_can_be_undone_and_its_own_frames_are_known() {
    let driver = driver();
    let instrumented = instrument(&driver).unwrap();
    println!("{}", instrumented.effect);
    let effect = instrumented.effect;
    assert!(effect.transactions >= 2, "poll and irq");
    assert!(effect.own_frames_known, "drivers are linked with the stack first");
    assert!(effect.groups < effect.stores);
}
