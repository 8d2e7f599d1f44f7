//! Drivers that were built for WASI.

use e1000_model::{Model, ModelConfig};
use nook_abi::Status;
use nook_bus::DmaWindow;
use nook_runtime::{Budgets, DriverModule, Launcher, LoadError, Mmio, ModuleCache, Wasi, WasmLauncher};
use nook_tests::{cable, host};
use nook_wasi::EmptyWorld;

/// Returns a driver whose `probe` writes a line to standard output, and answers `NoDevice` if that went well.
fn prints(import: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            {import}
            (memory (export "memory") 1)
            (data (i32.const 0) "\10\00\00\00\06\00\00\00")
            (data (i32.const 16) "hello\n")
            (func (export "nook_probe") (param i32 i32) (result i32)
                (if (result i32) (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
                    (then (i32.const -6))
                    (else (i32.const -2))))
            (func (export "nook_remove"))
            (func (export "nook_open") (result i32) (i32.const 0))
            (func (export "nook_stop") (result i32) (i32.const 0))
            (func (export "nook_poll") (param i32 i32 i32) (result i32) (i32.const 0))
            (func (export "nook_irq") (param i32) (result i32) (i32.const 0))
            (@custom "nook.manifest" "abi = 1.0\nname = prints\nversion = 1\nlicense = Apache-2.0\nclass = net\npci = 8086:100e\nregisters = e1000\ndma_bytes = 4096\ndma_mask_bits = 64\n"))"#
    );
    wat::parse_str(text).unwrap()
}

const FD_WRITE: &str =
    r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#;

#[test]
fn a_module_that_was_built_for_wasi_is_refused_with_the_way_out() {
    let error = DriverModule::from_bytes(&prints(FD_WRITE), Wasi::Refused).unwrap_err();
    assert!(error.to_string().contains("wasi_snapshot_preview1.fd_write") && error.to_string().contains("--wasi"));
}

#[test]
fn what_the_empty_world_does_not_have_is_named() {
    let import = FD_WRITE.replace("\"fd_write\"", "\"path_open\"");
    let error = DriverModule::from_bytes(&prints(&import), Wasi::Given(&EmptyWorld)).unwrap_err();
    assert!(matches!(error, LoadError::Wasi { name, .. } if name == "path_open"));
}

#[test]
fn in_the_empty_world_a_driver_can_print() {
    let module = DriverModule::from_bytes(&prints(FD_WRITE), Wasi::Given(&EmptyWorld)).unwrap();
    let (near, _far) = cable();
    let device = Box::new(Model::new(ModelConfig::default(), Box::new(near)));
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(device, window, &module, Budgets::default());
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    let page = driver.host_page();
    assert_eq!(driver.probe(0, page), Ok(Status::NoDevice.code()));
}
