//! The EEPROM: where the card's address is (sections 5.6 and 13.4.4).

use e1000_regs::eeprom::ReadLayout;
use e1000_regs::{EERD, eeprom};
use nook_sdk::{Kernel, MacAddress, Nook, Regs, Status, error};

/// How long one word may take. The bits come out one by one, at about 1 MHz; the rest is patience with a busy machine.
const WORD_NS: u64 = 200_000_000;
/// How often to look.
const LOOK_NS: u64 = 20_000;

/// Reads one word.
fn read<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, layout: ReadLayout, word: u32) -> Result<u16, Status> {
    regs.write(EERD, layout.command(word));
    let mut eerd = 0;
    nook.poll_until(WORD_NS, LOOK_NS, || {
        eerd = regs.read(EERD);
        eerd & layout.done != 0
    })?;
    Ok(EERD::DATA.get(eerd) as u16)
}

/// Returns the card's address, if the content is what the manufacturer wrote: `Corrupt` if the checksum is wrong
/// (section 5.6.35) or the address is not one that a card can have.
pub(crate) fn address<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, layout: ReadLayout) -> Result<MacAddress, Status> {
    let mut words = [0; eeprom::WORDS as usize];
    for (at, word) in words.iter_mut().enumerate() {
        *word = read(nook, regs, layout, at as u32)?;
    }
    let sum = words.iter().fold(0u16, |sum, &word| sum.wrapping_add(word));
    if sum != eeprom::SUM {
        error!(nook, "EEPROM: the words add up to {sum:#06x} instead of {:#06x}", eeprom::SUM);
        return Err(Status::Corrupt);
    }
    let [first, second, third, ..] = words;
    let mac = eeprom::address([first, second, third]);
    if !is_station(mac) {
        error!(nook, "EEPROM: {mac:02x?} is not the address of a card");
        return Err(Status::Corrupt);
    }
    Ok(mac)
}

/// Returns whether an address can be that of one station: neither a group's nor all zero.
pub(crate) fn is_station(mac: MacAddress) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}
