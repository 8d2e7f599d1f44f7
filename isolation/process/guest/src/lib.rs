//! The driver's side of `--isolation process`: a driver, compiled natively, in a program that is nothing else.
//!
//! [`driver_process!`] makes that program of a driver for the SDK. It finds its memory and its DMA window behind two
//! descriptors, maps them, and from then on sleeps on a futex until it is called: the protocol is in [`channel`], which
//! the host's side, `nook-process`, uses too. It opens nothing, and its sandbox, which was put up before it began,
//! would end it if it tried.
//!
//! Nothing here is trusted by anybody: the host checks what comes out of the channel. Programs of drivers call it.
#![deny(unsafe_code)]

pub mod channel;
mod kernel;
mod run;

pub use kernel::ChannelKernel;
pub use run::run;

/// What [`driver_process!`] needs and nobody else does.
#[doc(hidden)]
pub mod support {
    pub use nook_sdk::export_support::join;
    pub use nook_sdk::{block, misc, net, serial};
}

/// Makes a program of a driver: `driver_process!(class: net, path::to::Driver, MANIFEST)`, where
/// `Driver<K>` implements the trait of that class for every kernel. The crate says `#![no_main]`: what Rust's own
/// start-up asks the system for, the sandbox does not allow.
#[macro_export]
macro_rules! driver_process {
    (class: $class:ident, $($driver:ident)::+, $manifest:expr) => {
        #[used]
        #[unsafe(link_section = ".nook.manifest")]
        static NOOK_MANIFEST: [u8; { $manifest.len() }] = $crate::support::join($manifest, "");

        /// Runs the program. Called by the C library's start-up code.
        #[unsafe(no_mangle)]
        extern "C" fn main() -> i32 {
            $crate::run::<$crate::support::$class::Running<$crate::ChannelKernel, $($driver)::+<$crate::ChannelKernel>>>(
                &NOOK_MANIFEST,
            )
        }
    };
}
