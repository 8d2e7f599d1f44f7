//! What the machine uses a network interface for: what would be cut off if its device were taken away.
#![expect(unsafe_code, reason = "getifaddrs answers with a list of C structures")]

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Interfaces with addresses, and interfaces with routes, of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetUse {
    /// Interface and address, as text.
    pub addresses: BTreeSet<(String, String)>,
    /// Interface and destination, as text.
    pub routes: BTreeSet<(String, String)>,
}

impl NetUse {
    /// Asks the kernel.
    pub fn read() -> io::Result<Self> {
        let mut routes = routes_v4(&fs::read_to_string("/proc/net/route")?);
        // A kernel without IPv6 has no such file.
        if Path::new("/proc/net/ipv6_route").exists() {
            routes.extend(routes_v6(&fs::read_to_string("/proc/net/ipv6_route")?));
        }
        Ok(NetUse { addresses: addresses()?, routes })
    }

    /// Reasons not to take `interface` away, in words; empty if there are none.
    pub(crate) fn reasons(&self, interface: &str) -> Vec<String> {
        let of = |set: &BTreeSet<(String, String)>| {
            set.iter().filter(|(name, _)| name == interface).map(|(_, what)| what.clone()).collect::<Vec<_>>()
        };
        let mut reasons = Vec::new();
        let (addresses, routes) = (of(&self.addresses), of(&self.routes));
        if !addresses.is_empty() {
            reasons.push(format!("has the address {}", addresses.join(", ")));
        }
        if !routes.is_empty() {
            reasons.push(format!("carries the route to {}", routes.join(", ")));
        }
        reasons
    }
}

/// Parses `/proc/net/route`: a heading, then interface, destination, ... with each address printed as the
/// number that its four bytes make in this machine's order.
fn routes_v4(table: &str) -> BTreeSet<(String, String)> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let address = |index: usize| {
                let number = u32::from_str_radix(fields.get(index)?, 16).ok()?;
                Some(Ipv4Addr::from(number.to_ne_bytes()))
            };
            let (destination, mask) = (address(1)?, address(7)?);
            Some(((*fields.first()?).to_owned(), format!("{destination}/{}", u32::from(mask).leading_ones())))
        })
        .collect()
}

/// Parses `/proc/net/ipv6_route`: destination, prefix length, ..., flags, interface. Every interface that is up has a
/// multicast and a link-local route, which say nothing about its use.
fn routes_v6(table: &str) -> BTreeSet<(String, String)> {
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let destination = Ipv6Addr::from(u128::from_str_radix(fields.first()?, 16).ok()?);
            let prefix = u8::from_str_radix(fields.get(1)?, 16).ok()?;
            let interface = fields.get(9)?;
            let kept = !destination.is_multicast() && !destination.is_unicast_link_local();
            kept.then(|| ((*interface).to_owned(), format!("{destination}/{prefix}")))
        })
        .filter(|(interface, _)| interface != "lo")
        .collect()
}

fn addresses() -> io::Result<BTreeSet<(String, String)>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: getifaddrs fills in the pointer that it is given, or answers -1.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = BTreeSet::new();
    let mut next = list;
    // SAFETY: `next` is null or an entry of the list, which lives until it is freed after this loop.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: the name is a NUL-terminated string of the same list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        if entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: not null, and every socket address begins with its family.
        match i32::from(unsafe { (*entry.ifa_addr).sa_family }) {
            libc::AF_INET => {
                // SAFETY: the family says that this is a sockaddr_in.
                let socket = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                found.insert((name, Ipv4Addr::from(socket.sin_addr.s_addr.to_ne_bytes()).to_string()));
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that this is a sockaddr_in6.
                let socket = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                let address = Ipv6Addr::from(socket.sin6_addr.s6_addr);
                // The kernel gives every interface that is up one of these; it says nothing about its use.
                if !address.is_unicast_link_local() {
                    found.insert((name, address.to_string()));
                }
            }
            _ => {}
        }
    }
    // SAFETY: `list` came from getifaddrs, is freed once, and nothing that points into it is left.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_routes_are_read_with_their_prefix() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth1\t0009000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let routes = routes_v4(table);
        assert!(routes.contains(&("eth0".into(), "0.0.0.0/0".into())), "{routes:?}");
        assert!(routes.contains(&("eth1".into(), "10.0.9.0/24".into())), "{routes:?}");
    }

    #[test]
    fn routes_that_every_ipv6_interface_has_do_not_count() {
        let line = |to: &str, prefix: &str, interface: &str| {
            format!("{to} {prefix} {z} 00 {z} 00000100 00000001 00000000 00000001 {interface}\n", z = "0".repeat(32))
        };
        let table = line("fe800000000000000000000000000000", "40", "eth0")
            + &line("ff000000000000000000000000000000", "08", "eth0")
            + &line("20010db8000000000000000000000000", "20", "eth0")
            + &line("00000000000000000000000000000001", "80", "lo");
        assert_eq!(routes_v6(&table), BTreeSet::from([("eth0".into(), "2001:db8::/32".into())]));
    }

    #[test]
    fn an_interface_in_use_gives_its_reasons() {
        let net = NetUse {
            addresses: BTreeSet::from([("eth0".into(), "10.0.2.15".into())]),
            routes: BTreeSet::from([("eth0".into(), "0.0.0.0/0".into())]),
        };
        assert_eq!(net.reasons("eth0"), ["has the address 10.0.2.15", "carries the route to 0.0.0.0/0"]);
        assert!(net.reasons("eth1").is_empty());
    }

    #[test]
    fn the_loopback_address_of_this_machine_is_found() {
        let net = NetUse::read().unwrap();
        assert!(net.addresses.contains(&("lo".into(), "127.0.0.1".into())), "{:?}", net.addresses);
    }
}
