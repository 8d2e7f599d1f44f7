//! Why there is no device.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why QEMU could not be started as a device.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// Not one of [`models`](crate::models).
    #[error("QEMU model {asked:?} is not one that nook knows; it knows {known}")]
    UnknownModel {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
    /// The program is not there.
    #[error(
        "{program:?} is not installed; on Debian it comes with: apt-get install --no-install-recommends qemu-system-x86"
    )]
    NotInstalled {
        /// What was looked for.
        program: PathBuf,
    },
    /// The window cannot be given to QEMU.
    #[error(
        "a DMA window of {len_bytes:#x} bytes cannot be QEMU's: it becomes a PCI BAR, whose size is a power of two; ask for {wanted:#x}"
    )]
    WindowSize {
        /// Of the window that was passed.
        len_bytes: u64,
        /// The next size that can be.
        wanted: u64,
    },
    /// It ended before the device answered: a version that does not know the model or an option, most often.
    #[error("{program:?} ended while starting ({ending}); nook needs QEMU 7.2 or newer")]
    Ended {
        /// What was started.
        program: PathBuf,
        /// How it ended, and the last lines that it wrote to standard error.
        ending: String,
    },
    /// It is running and says nothing.
    #[error("{program:?} did not answer within {timeout:?} of being started; its last words: {words:?}")]
    Silent {
        /// What was started.
        program: PathBuf,
        /// How long was waited.
        timeout: Duration,
        /// The last lines that it wrote to standard error.
        words: String,
    },
    /// It answers, but not as QEMU's qtest server or as the device that was asked for.
    #[error("{program:?} is not what was expected: {what}")]
    Unexpected {
        /// What was started.
        program: PathBuf,
        /// What was seen.
        what: String,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Os {
        /// What was tried, on what.
        what: String,
        /// Its answer.
        #[source]
        source: io::Error,
    },
}

impl QemuError {
    pub(crate) fn os(what: impl Into<String>, source: io::Error) -> Self {
        QemuError::Os { what: what.into(), source }
    }
}
