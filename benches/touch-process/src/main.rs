//! The touching driver as a program of its own, for the benchmarks of `--isolation process`.
#![forbid(unsafe_code)]
#![no_main]

nook_process_guest::driver_process!(class: net, touch_driver::Touch, touch_driver::MANIFEST);
