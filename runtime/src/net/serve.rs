//! The hostcalls of the class.

use nook_abi::net::{LinkState, filter_direction, filter_verdict, offload_rule};
use nook_abi::{Entry, Fault, Hostcall, MAILBOX_BYTES, Status};

use super::{Interface, Port};
use crate::Host;
use crate::serve::bad;

/// Serves them; see [`Services`](crate::Services).
pub(crate) struct Hostcalls;

impl Hostcalls {
    pub(crate) fn net_attach(host: &mut Host, mac: u64, max_mtu: u32) -> Result<i32, Fault> {
        let [a, b, c, d, e, f, rest @ ..] = mac.to_le_bytes();
        if rest != [0, 0] {
            return Err(bad(Hostcall::NetAttach, "mac", mac, "bits above 47 are set"));
        }
        if !(68..=65535).contains(&max_mtu) {
            // 68 is the least that IPv4 works with (RFC 791, section 3.2).
            return Err(bad(Hostcall::NetAttach, "max_mtu", max_mtu.into(), "not between 68 and 65535"));
        }
        if host.call.budget.entry() != Entry::Probe {
            return Err(bad(Hostcall::NetAttach, "mac", mac, "the interface is attached in `probe`"));
        }
        let port = Port::of(host, Hostcall::NetAttach)?;
        if port.interface.is_some() {
            return Err(bad(Hostcall::NetAttach, "mac", mac, "the interface is attached already"));
        }
        let mac = [a, b, c, d, e, f];
        if mac == [0; 6] || mac[0] & 1 != 0 {
            // What is stored in the device can be wrong: that is not the driver's misuse.
            return Ok(Status::Corrupt.code());
        }
        port.interface = Some(Interface { mac, max_mtu_bytes: max_mtu, link: LinkState::default(), offloads: 0 });
        Ok(0)
    }

    pub(crate) fn net_offloads(host: &mut Host, offloads: u32) -> Result<(), Fault> {
        let broken = |rule| bad(Hostcall::NetOffloads, "offloads", offloads.into(), rule);
        if let Some(rule) = offload_rule(offloads) {
            return Err(broken(rule));
        }
        if host.call.budget.entry() != Entry::Probe {
            return Err(broken("offloads are said in `probe`"));
        }
        let port = Port::of(host, Hostcall::NetOffloads)?;
        let Some(interface) = &mut port.interface else {
            return Err(broken("no interface is attached"));
        };
        if std::mem::replace(&mut port.told_offloads, true) {
            return Err(broken("they were said already"));
        }
        interface.offloads = offloads;
        Ok(())
    }

    pub(crate) fn net_link(host: &mut Host, up: u32, speed_mbps: u32, full_duplex: u32) -> Result<(), Fault> {
        for (argument, value) in [("up", up), ("full_duplex", full_duplex)] {
            if value > 1 {
                return Err(bad(Hostcall::NetLink, argument, value.into(), "not 0 or 1"));
            }
        }
        let port = Port::of(host, Hostcall::NetLink)?;
        port.set_link(LinkState { up: up == 1, speed_mbps, full_duplex: full_duplex == 1 });
        Ok(())
    }

    pub(crate) fn net_filter(host: &mut Host, direction: u32, offset: u32, len_bytes: u32) -> Result<u32, Fault> {
        if direction > filter_direction::SENDING {
            return Err(bad(Hostcall::NetFilter, "direction", direction.into(), "not 0 or 1"));
        }
        let (addr, len_bytes) = (u64::from(offset), u64::from(len_bytes));
        if addr + len_bytes > host.window().len_bytes() {
            return Err(Fault::OutOfBounds { call: Hostcall::NetFilter, argument: "offset", addr, len_bytes });
        }
        // A filter is linked in place of this.
        Ok(filter_verdict::PASS)
    }

    pub(crate) fn net_counters(host: &mut Host, len_bytes: u32) -> Result<(), Fault> {
        let refused = |rule| bad(Hostcall::NetCounters, "len_bytes", len_bytes.into(), rule);
        if host.call.budget.entry() != Entry::Probe {
            return Err(refused("counters are named in `probe`"));
        }
        if len_bytes as usize > MAILBOX_BYTES {
            return Err(refused("longer than the mailbox"));
        }
        let list = host.mailed(len_bytes as usize);
        let list = std::str::from_utf8(&list).map_err(|_| refused("the mailbox holds no ASCII"))?;
        Port::of(host, Hostcall::NetCounters)?.counters.name(list).map_err(refused)
    }

    pub(crate) fn net_counts(host: &mut Host, count: u32) -> Result<(), Fault> {
        let refused = |rule| bad(Hostcall::NetCounts, "count", count.into(), rule);
        if host.call.budget.entry() != Entry::Stats {
            return Err(refused("counts are reported in `stats`"));
        }
        let words = host.mailed((count as usize).saturating_mul(size_of::<u64>()));
        let values: Vec<u64> = words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Port::of(host, Hostcall::NetCounts)?.counters.report(&values).map_err(refused)
    }
}
