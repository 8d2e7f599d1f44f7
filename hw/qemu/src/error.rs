//! Why there is no device.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use crate::QemuProgram;

/// Why QEMU could not be started as a device.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// The program is not there.
    #[error(
        "{program:?} is not installed; on Debian it comes with: apt-get install --no-install-recommends qemu-system-x86"
    )]
    NotInstalled {
        /// What was looked for.
        program: PathBuf,
    },
    /// A folder that should hold a QEMU does not.
    #[error("{folder:?} holds no bin/qemu-system-x86_64, nor does usr or usr/local in it: name the program itself")]
    NoProgram {
        /// The folder.
        folder: PathBuf,
    },
    /// The program can be started, and is something else.
    #[error("{program:?} is not QEMU: {what}; name a qemu-system-x86_64 of version 7.2 or newer")]
    NotQemu {
        /// What was started.
        program: PathBuf,
        /// What it did.
        what: String,
    },
    /// This QEMU has no device of that name.
    #[error("{program:?} has no device `{device}`{} (it says: {words})", suggestion(near))]
    NoSuchDevice {
        /// What was asked.
        program: PathBuf,
        /// What was asked for.
        device: String,
        /// Devices of it with names that are like that, the nearest first.
        near: Vec<String>,
        /// The last lines that it wrote to standard error.
        words: String,
    },
    /// The device is for another bus.
    #[error("QEMU's `{device}` is not a PCI device, and nook drives no others")]
    NotPci {
        /// Its name.
        device: String,
    },
    /// An option connects the device to another object of QEMU's.
    #[error(
        "`{option}` of `{device}` is not given here: it connects the device to an object that only nook could make"
    )]
    Connection {
        /// The device.
        device: String,
        /// The option.
        option: String,
    },
    /// There is a file, and nothing to be done with it.
    #[error("QEMU's `{device}` has no drive: leave `file=` out")]
    NoDrive {
        /// The device.
        device: String,
    },
    /// There is a socket, and nothing to be connected to it.
    #[error("QEMU's `{device}` has no serial line: leave `socket=` out")]
    NoLine {
        /// The device.
        device: String,
    },
    /// There is something to be read, and nothing that reads it.
    #[error("QEMU's `{device}` is no source of random bytes: leave `random=` out")]
    NotRandom {
        /// The device.
        device: String,
    },
    /// The file cannot be a drive.
    #[error("the file {path:?} cannot be a drive: {why}")]
    DriveFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// QEMU does not like an option, or misses one.
    #[error("QEMU refuses `{device}`: {words}{hint}; `qemu-system-x86_64 -device {name},help` lists its options")]
    Refused {
        /// The device with its options.
        device: String,
        /// Its name.
        name: String,
        /// What QEMU says.
        words: String,
        /// What may help, with the comma before it.
        hint: &'static str,
    },
    /// It is there, and nook cannot drive it.
    #[error("QEMU's `{device}` cannot be driven: {why}")]
    Unusable {
        /// Its name.
        device: String,
        /// Why not.
        why: String,
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
    /// It ended before the device answered: a version that is too old, most often.
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

    /// Returns the program could not be started.
    pub(crate) fn starting(program: &QemuProgram, source: io::Error) -> Self {
        let path = program.path();
        match source.kind() {
            ErrorKind::NotFound => QemuError::NotInstalled { program: path.into() },
            _ => QemuError::os(format!("starting {path:?}"), source),
        }
    }
}

fn suggestion(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; there is `{}`", near.join("`, `")) }
}
