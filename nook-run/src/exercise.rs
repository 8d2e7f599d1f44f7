//! The parts of `--exercise`, of every class.

use clap::ValueEnum;

/// A part of an exercise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Exercise {
    /// 100 echo requests.
    Ping,
    /// A TCP stream each way, with its hash checked.
    Tcp,
    /// UDP request and response.
    Rr,
    /// Reads all over the disk.
    Read,
    /// Writes all over the disk, or its first 64 MiB.
    Write,
    /// Everything that was written is read and compared.
    Verify,
    /// Writes that are made durable one by one.
    Fsync,
    /// 64 KiB through the chip's loopback and back, compared.
    Loop,
}

impl Exercise {
    /// Returns for which drivers it is.
    pub fn class(self) -> nook_abi::Class {
        match self {
            Exercise::Ping | Exercise::Tcp | Exercise::Rr => nook_abi::Class::Net,
            Exercise::Read | Exercise::Write | Exercise::Verify | Exercise::Fsync => nook_abi::Class::Block,
            Exercise::Loop => nook_abi::Class::Serial,
        }
    }

    /// Returns its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
