//! The e1000 driver as a program of its own, for `--isolation process`. `cargo xtask drivers` links it statically to
//! `target/drivers/e1000.elf`; it is of no use but to nook, which gives it its memory and its channel.
#![forbid(unsafe_code)]
#![no_main]

nook_process_guest::driver_process!(class: net, e1000_wasm::E1000, e1000_wasm::MANIFEST);
