//! The misc class's rows of the tables.

/// Expands `$with! { $state rows }` with every hostcall of the class; rows are as those of the core.
#[doc(hidden)]
#[macro_export]
macro_rules! misc_hostcalls {
    ($with:ident $state:tt) => {
        $crate::$with! { $state
            { "Says what the device can do, once, in `probe`: the mailbox holds `len_bytes` of UTF-8, an operation a \
line, as `name`, `name INPUT` or `name INPUT OUTPUT`. The latter two are an example: bytes in hexadecimal, `-` if \
there are none. The host calls an operation by the number of its line, from 0; there are at most 64." }
            Class PROCESS (1, 0) MiscAttach fn misc_attach(len_bytes: u32) -> i32;
            { "Completes an operation that is open: `status` is 0, and the mailbox holds `len_bytes` of output, or \
it is a negative `Status`, and `len_bytes` is 0." }
            Class ANY (1, 0) MiscComplete fn misc_complete(ticket: u32, status: i32, len_bytes: u32) -> ();
        }
    };
}

/// Expands `$with! { $state rows }` with every entry of the class; rows are as those of the core.
#[doc(hidden)]
#[macro_export]
macro_rules! misc_entries {
    ($with:ident $state:tt) => {
        $crate::$with! { $state
            { "Begins an operation: the mailbox holds `len_bytes` of input. 0 accepts it: it is open, under \
`ticket`, until `misc_complete` tells what came of it, in this call or a later one. A negative `Status` refuses it: \
then it was never open. At most 8 are open at a time; a driver that can do fewer answers `Busy`, and is asked again." }
            Atomic required transaction (1, 0) Invoke fn invoke(ticket: u32, operation: u32, len_bytes: u32) -> i32;
        }
    };
}
