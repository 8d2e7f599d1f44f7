//! Bad news that ends a call of a network driver.

use core::fmt;

use super::Queue;
use crate::class::{Part, Tell};

/// Who has a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The host: the driver must not touch it.
    Host,
    /// The driver, given through this queue.
    Driver(Queue),
}

/// What only a network driver can be guilty of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetFault {
    /// A packet was returned that the driver does not have.
    PacketNotOwned {
        /// Through this ring.
        queue: Queue,
        /// The packet's id.
        id: u32,
        /// Who has it.
        owner: Owner,
    },
    /// A returned entry breaks a rule.
    PacketMalformed {
        /// Through this ring.
        queue: Queue,
        /// The packet's id.
        id: u32,
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The rule.
        rule: &'static str,
    },
    /// A frame was given to be sent and never returned, while the link was up.
    TransmitStuck {
        /// How many frames wait for so long.
        packets: u32,
        /// For how long a frame may be kept, in nanoseconds.
        limit_ns: u64,
    },
    /// The device counts frames, and none comes out of the driver as received.
    ReceiveStuck {
        /// Frames that it has counted meanwhile.
        packets: u64,
        /// For how long, in nanoseconds.
        limit_ns: u64,
    },
    /// The driver takes none of the buffers to receive into, and has next to none.
    BuffersNotTaken {
        /// How many wait for it.
        waiting: u32,
        /// For how long, in nanoseconds.
        limit_ns: u64,
    },
    /// Frames come back as not sent, and none as sent, while nothing holds the device up.
    TransmitFails {
        /// For how long, in nanoseconds.
        limit_ns: u64,
    },
    /// What must be set in a register for the device to work, by the register map, is clear, though the driver has
    /// opened it.
    SwitchedOff {
        /// The register.
        register: &'static str,
        /// The first field that is not as it must be; empty if the map has no name for it.
        field: &'static str,
        /// The bits that are clear.
        bits: u64,
        /// For how long, in nanoseconds.
        limit_ns: u64,
    },
    /// The device has a link, by its register, and the driver reports none; or the other way round.
    LinkDisagrees {
        /// The register.
        register: &'static str,
        /// By the device.
        device_up: bool,
        /// For how long, in nanoseconds.
        limit_ns: u64,
    },
    /// The device's counters, which the driver reports, and what it delivered do not agree.
    CountersDisagree {
        /// The counter's name.
        counter: &'static str,
        /// Frames that the device counted.
        device: u64,
        /// Frames that the driver returned.
        driver: u64,
        /// The rule.
        rule: &'static str,
    },
}

impl NetFault {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            NetFault::PacketNotOwned { .. } => "PacketNotOwned",
            NetFault::PacketMalformed { .. } => "PacketMalformed",
            NetFault::TransmitStuck { .. } => "TransmitStuck",
            NetFault::ReceiveStuck { .. } => "ReceiveStuck",
            NetFault::BuffersNotTaken { .. } => "BuffersNotTaken",
            NetFault::TransmitFails { .. } => "TransmitFails",
            NetFault::SwitchedOff { .. } => "SwitchedOff",
            NetFault::LinkDisagrees { .. } => "LinkDisagrees",
            NetFault::CountersDisagree { .. } => "CountersDisagree",
        }
    }

    pub(crate) fn parts(&self, tell: Tell<'_>) {
        match self {
            NetFault::PacketNotOwned { queue, id, owner } => {
                tell("queue", Part::Text(queue));
                tell("packet", Part::Number((*id).into()));
                tell("owner", Part::Text(owner));
            }
            NetFault::PacketMalformed { queue, id, field, value, rule } => {
                tell("queue", Part::Text(queue));
                tell("packet", Part::Number((*id).into()));
                tell("argument", Part::Text(field));
                tell("value", Part::Number(*value));
                tell("rule", Part::Text(rule));
            }
            NetFault::TransmitStuck { packets, limit_ns } => {
                tell("packets", Part::Number((*packets).into()));
                tell("limit_ns", Part::Number(*limit_ns));
            }
            NetFault::ReceiveStuck { packets, limit_ns } => {
                tell("packets", Part::Number(*packets));
                tell("limit_ns", Part::Number(*limit_ns));
            }
            NetFault::BuffersNotTaken { waiting, limit_ns } => {
                tell("packets", Part::Number((*waiting).into()));
                tell("limit_ns", Part::Number(*limit_ns));
            }
            NetFault::TransmitFails { limit_ns } => tell("limit_ns", Part::Number(*limit_ns)),
            NetFault::SwitchedOff { register, field, bits, limit_ns } => {
                tell("register", Part::Text(register));
                tell("field", Part::Text(field));
                tell("bits", Part::Number(*bits));
                tell("limit_ns", Part::Number(*limit_ns));
            }
            NetFault::LinkDisagrees { register, device_up, limit_ns } => {
                tell("register", Part::Text(register));
                tell("device_up", Part::Number((*device_up).into()));
                tell("limit_ns", Part::Number(*limit_ns));
            }
            NetFault::CountersDisagree { counter, device, driver, rule } => {
                tell("counter", Part::Text(counter));
                tell("device", Part::Number(*device));
                tell("driver", Part::Number(*driver));
                tell("rule", Part::Text(rule));
            }
        }
    }
}

impl fmt::Display for NetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            NetFault::PacketNotOwned { queue, id, owner } => write!(f, "{queue}: packet {id}: {owner}"),
            NetFault::PacketMalformed { queue, id, field, value, rule } => {
                write!(f, "{queue}: packet {id}: {field} = {value:#x}: {rule}")
            }
            NetFault::TransmitStuck { packets, limit_ns } => {
                write!(f, "transmit: {packets} frames were not returned within {} ms", limit_ns / 1_000_000)
            }
            NetFault::ReceiveStuck { packets, limit_ns } => write!(
                f,
                "receive: the device counted {packets} frames, and none came out of the driver within {} ms",
                limit_ns / 1_000_000
            ),
            NetFault::BuffersNotTaken { waiting, limit_ns } => write!(
                f,
                "rx_provide: {waiting} buffers wait, the driver has next to none and took none within {} ms",
                limit_ns / 1_000_000
            ),
            NetFault::TransmitFails { limit_ns } => {
                write!(f, "transmit: for {} ms frames came back as not sent, and none as sent", limit_ns / 1_000_000)
            }
            NetFault::SwitchedOff { register, field, bits, limit_ns } => {
                let (dot, ms) = (if field.is_empty() { "" } else { "." }, limit_ns / 1_000_000);
                write!(
                    f,
                    "{register}{dot}{field} (bits {bits:#x}): clear for {ms} ms, and the device does not work without it"
                )
            }
            NetFault::LinkDisagrees { register, device_up, limit_ns } => {
                let [device, driver] = if device_up { ["up", "down"] } else { ["down", "up"] };
                let ms = limit_ns / 1_000_000;
                write!(
                    f,
                    "{register}: for {ms} ms the device's link was {device}, and the driver reported it as {driver}"
                )
            }
            NetFault::CountersDisagree { counter, device, driver, rule } => {
                write!(f, "{counter}: the device counted {device}, the driver returned {driver}: {rule}")
            }
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Host => f.write_str("belongs to the host"),
            Owner::Driver(queue) => write!(f, "was given to the driver through {queue}"),
        }
    }
}
