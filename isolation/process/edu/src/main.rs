//! The edu driver as a program of its own, for `--isolation process`. `cargo xtask drivers` links it statically to
//! `target/drivers/edu.elf`; it is of no use but to nook, which gives it its memory and its channel.
#![forbid(unsafe_code)]
#![no_main]

nook_process_guest::driver_process!(class: misc, edu_wasm::Edu, edu_wasm::MANIFEST);
