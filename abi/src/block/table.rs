//! The block class's rows of the tables.

/// Expands `$with! { $state rows }` with every hostcall of the class; rows are as those of the core.
#[doc(hidden)]
#[macro_export]
macro_rules! block_hostcalls {
    ($with:ident $state:tt) => {
        $crate::$with! { $state
            { "Says what the disk is, once, in `probe`: the mailbox begins with a `Disk`, of which the driver knows \
`len_bytes`. A driver that was restarted has to find the same disk." }
            Class PROCESS (1, 0) BlockAttach fn block_attach(len_bytes: u32) -> i32;
        }
    };
}

/// Expands `$with! { $state rows }` with every entry of the class: there is none.
#[doc(hidden)]
#[macro_export]
macro_rules! block_entries {
    ($with:ident $state:tt) => {
        $crate::$with! { $state }
    };
}
