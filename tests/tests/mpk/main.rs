//! `--isolation mpk`: what a driver behind a protection key may do to its host (nothing), and what comes of its
//! mistakes. Where there are no keys that serve, that it is refused with the reason; the second guest of `cargo xtask
//! guest-test` has both.
#![expect(unsafe_code, reason = "what must stay as it is, is looked at as a driver would: by its address")]

mod lifecycle;
mod memory;
mod mistakes;
mod rig;
mod signals;
mod threads;
