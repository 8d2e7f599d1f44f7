//! The serial class's rows of the tables.

/// Expands `$with! { $state rows }` with every hostcall of the class; rows are as those of the core.
#[doc(hidden)]
#[macro_export]
macro_rules! serial_hostcalls {
    ($with:ident $state:tt) => {
        $crate::$with! { $state
            { "Says what the port is, once, in `probe`: the most bytes that its chip holds each way, 1 to 65536, and \
the highest rate, in baud." }
            Class PROCESS (1, 0) SerialAttach fn serial_attach(fifo_bytes: u32, most_baud: u32) -> i32;
            { "Takes the next byte that is to be sent, in `poll`, and the driver gives it to the chip at once; \
0x100 if there is none." }
            Class ANY (1, 0) SerialNext fn serial_next() -> u32;
            { "Hands over what was received, in `poll`, in order and at most as often as its `budget` says: the byte \
in bits 0 to 7, and bits of `received`." }
            Class ANY (1, 0) SerialReceived fn serial_received(value: u32) -> ();
            { "Reports the lines from the other side, as they are: bits of `modem`." }
            Class ANY (1, 0) SerialModem fn serial_modem(lines: u32) -> ();
        }
    };
}

/// Expands `$with! { $state rows }` with every entry of the class; rows are as those of the core.
#[doc(hidden)]
#[macro_export]
macro_rules! serial_entries {
    ($with:ident $state:tt) => {
        $crate::$with! { $state
            { "Sets how bytes look on the line: bits each second, and data bits in bits 0 to 7 of `format`, a `Parity` \
in 8 to 15, stop bits in 16 to 23. What the chip was given before has left it. `Unsupported` if the chip cannot be set \
so; then nothing has changed." }
            Process required setting (1, 0) SetLine fn set_line(baud: u32, format: u32) -> i32;
            { "Sets the lines towards the other side, and what else `control` names." }
            Process required setting (1, 0) SetControl fn set_control(lines: u32) -> i32;
        }
    };
}
