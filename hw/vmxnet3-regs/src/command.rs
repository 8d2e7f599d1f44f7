//! Commands for [`CMD`](crate::CMD) (*defs*, `Vmxnet3_Cmd`), and which of them are a driver's to give.

use nook_regs::{Bits, Guard, GuardRule, GuardState, Then};

/// Commands that change something begin here.
const SET: u32 = 0xcafe_0000;
/// Commands that ask for something begin here.
const GET: u32 = 0xf00d_0000;

/// Reads the shared area and begins to work. Answers 0 if it does.
pub const ACTIVATE_DEV: u32 = SET;
/// Ends its work.
pub const QUIESCE_DEV: u32 = SET + 1;
/// Forgets everything.
pub const RESET_DEV: u32 = SET + 2;
/// Reads the receive mode.
pub const UPDATE_RX_MODE: u32 = SET + 3;
/// Reads the list of multicast addresses.
pub const UPDATE_MAC_FILTERS: u32 = SET + 4;
/// Reads the table of VLANs.
pub const UPDATE_VLAN_FILTERS: u32 = SET + 5;
/// Reads the table that spreads frames over queues.
pub const UPDATE_RSSIDT: u32 = SET + 6;
/// Reads how interrupts are held back.
pub const UPDATE_IML: u32 = SET + 7;
/// Reads which offloads are wanted.
pub const UPDATE_FEATURE: u32 = SET + 9;
/// Learns of memory that it will use often.
pub const REGISTER_MEMREGS: u32 = SET + 15;
/// Reads which fields spread frames over queues.
pub const SET_RSS_FIELDS: u32 = SET + 16;
/// Writes the state of the queues into memory.
pub const GET_QUEUE_STATUS: u32 = GET;
/// Writes the counters into memory.
pub const GET_STATS: u32 = GET + 1;
/// Answers the link's state and speed.
pub const GET_LINK: u32 = GET + 2;
/// Answers the low half of the address that the card was made with.
pub const GET_PERM_MAC_LO: u32 = GET + 3;
/// Answers the high half.
pub const GET_PERM_MAC_HI: u32 = GET + 4;
/// Answers how it interrupts.
pub const GET_CONF_INTR: u32 = GET + 8;
/// Answers how long the entries of the transmit queues' data rings are.
pub const GET_TXDATA_DESC_SIZE: u32 = GET + 10;
/// Answers how many queues there may be.
pub const GET_MAX_QUEUES_CONF: u32 = GET + 15;

/// What a driver may order. Among what it may not: waking the machine, ending the emulation, loading code into the host
/// (`LOAD_PLUGIN`), and letting another device take over.
const ALLOWED: [u64; 19] = [
    ACTIVATE_DEV as u64,
    QUIESCE_DEV as u64,
    RESET_DEV as u64,
    UPDATE_RX_MODE as u64,
    UPDATE_MAC_FILTERS as u64,
    UPDATE_VLAN_FILTERS as u64,
    UPDATE_RSSIDT as u64,
    UPDATE_IML as u64,
    UPDATE_FEATURE as u64,
    REGISTER_MEMREGS as u64,
    SET_RSS_FIELDS as u64,
    GET_QUEUE_STATUS as u64,
    GET_STATS as u64,
    GET_LINK as u64,
    GET_PERM_MAC_LO as u64,
    GET_PERM_MAC_HI as u64,
    GET_CONF_INTR as u64,
    GET_TXDATA_DESC_SIZE as u64,
    GET_MAX_QUEUES_CONF as u64,
];

/// The guard of [`CMD`](crate::CMD): a command that is not on the list is refused. It has one state.
pub(crate) const GUARD: Guard = Guard {
    never: &[],
    states: &[GuardState {
        name: "any",
        count: 1,
        rules: &[
            GuardRule::when(Bits::new(0xffff_ffff, &ALLOWED), Then::Stay),
            GuardRule::otherwise(Then::Refuse("the command is not a driver's to give")),
        ],
    }],
    busy: 0,
};

#[cfg(test)]
mod tests {
    use nook_regs::GuardPosition;

    use super::*;

    #[test]
    fn what_is_not_on_the_list_is_refused() {
        // Power management, the end of the emulation, a plugin, a virtual function; numbers that are reserved; nothing.
        let refused = [8, 10, 11, 12, 13, 14].map(|number| u64::from(SET + number));
        let beginning = GuardPosition::default();
        for value in refused.into_iter().chain([0, 1, u64::from(GET + 11), 0xdead_beef]) {
            assert_eq!(GUARD.step(beginning, value), Err("the command is not a driver's to give"), "{value:#x}");
        }
        for command in ALLOWED {
            let after = GUARD.step(beginning, command).unwrap();
            assert!(GUARD.step(after, command).is_ok(), "{command:#x}");
        }
    }
}
