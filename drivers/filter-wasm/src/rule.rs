//! What a rule says, and which frames it names.

use nook_sdk::Frame;

/// Bytes of an Ethernet header without tags, and of each VLAN tag (IEEE 802.3, 802.1Q).
const ETHERNET: usize = 14;
const TAG: usize = 4;
/// The types of a frame that has a tag: customer's and service provider's (IEEE 802.1Q).
const TAGGED: [u16; 2] = [0x8100, 0x88a8];
const VLAN_ID: u16 = 0xfff;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Protocol numbers (IANA, Assigned Internet Protocol Numbers).
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Offset of a fragment, in units of 8 bytes (RFC 791, section 3.1).
const FRAGMENT: u16 = 0x1fff;
const IPV6_HEADER: usize = 40;

/// Frames that are not to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Those with this EtherType, behind their tags.
    Ethertype(u16),
    /// Those with this outermost VLAN id.
    Vlan(u16),
    /// Those of this IP protocol from or to this port.
    Port(u8, u16),
}

impl Rule {
    /// Parses a rule; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Rule> {
        let (kind, value) = text.split_once(':')?;
        let number = match value.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16).ok()?,
            None => value.parse().ok()?,
        };
        match kind {
            "ethertype" => Some(Rule::Ethertype(number)),
            "vlan" if number < VLAN_ID => Some(Rule::Vlan(number)),
            "udp" => Some(Rule::Port(UDP, number)),
            "tcp" => Some(Rule::Port(TCP, number)),
            _ => None,
        }
    }

    /// Returns whether the frame is one of them. One that is cut short is none.
    pub fn names(&self, frame: &Frame<'_>) -> bool {
        self.find(frame).unwrap_or(false)
    }

    fn find(&self, frame: &Frame<'_>) -> Option<bool> {
        let (mut ethertype, mut payload) = (frame.be16(ETHERNET - 2)?, ETHERNET);
        let tagged = TAGGED.contains(&ethertype);
        if let Rule::Vlan(id) = *self {
            return Some(tagged && frame.be16(ETHERNET)? & VLAN_ID == id);
        }
        while TAGGED.contains(&ethertype) {
            ethertype = frame.be16(payload + 2)?;
            payload += TAG;
        }
        match *self {
            Rule::Ethertype(wanted) => Some(ethertype == wanted),
            Rule::Port(protocol, port) => {
                let at = ports(frame, ethertype, payload, protocol)?;
                Some(frame.be16(at)? == port || frame.be16(at + 2)? == port)
            }
            Rule::Vlan(_) => None,
        }
    }
}

/// Returns where the ports are, if it is a packet of this protocol that has them.
fn ports(frame: &Frame<'_>, ethertype: u16, at: usize, protocol: u8) -> Option<usize> {
    match ethertype {
        IPV4 => {
            let header = usize::from(frame.byte(at)? & 0xf) * 4;
            let first = frame.be16(at + 6)? & FRAGMENT == 0;
            (first && frame.byte(at + 9)? == protocol).then_some(at + header)
        }
        IPV6 => (frame.byte(at + 6)? == protocol).then_some(at + IPV6_HEADER),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a frame with `tags` before its type, then `payload`.
    fn frame(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        tags.iter().for_each(|tag| frame.extend([0x81, 0, (tag >> 8) as u8, *tag as u8]));
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Returns an IPv4 header with `options` words of options, then two ports.
    fn ipv4(protocol: u8, options: u8, fragment: u16, from: u16, to: u16) -> Vec<u8> {
        let mut packet = vec![0x45 + options, 0, 0, 28, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol]);
        packet.resize(20 + usize::from(options) * 4, 0);
        packet.extend([from.to_be_bytes(), to.to_be_bytes()].concat());
        packet
    }

    fn drops(rule: &str, frame: &[u8]) -> bool {
        Rule::parse(rule).unwrap().names(&Frame::new(frame))
    }

    #[test]
    fn ports_of_either_end_are_found_behind_tags_and_options() {
        for (tags, options) in [(&[][..], 0), (&[7], 3), (&[7, 8], 10)] {
            let dns = frame(tags, IPV4, &ipv4(UDP, options, 0, 53, 4000));
            assert!(drops("udp:53", &dns) && drops("udp:4000", &dns), "{tags:?}");
            assert!(!drops("udp:54", &dns) && !drops("tcp:53", &dns), "{tags:?}");
        }
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, TCP, 64];
        packet.resize(40, 0);
        packet.extend([0, 80, 0x10, 0]);
        assert!(drops("tcp:80", &frame(&[], IPV6, &packet)) && !drops("tcp:81", &frame(&[], IPV6, &packet)));
    }

    #[test]
    fn later_fragments_have_no_ports() {
        assert!(drops("udp:53", &frame(&[], IPV4, &ipv4(UDP, 0, 0x2000, 53, 1))));
        assert!(!drops("udp:53", &frame(&[], IPV4, &ipv4(UDP, 0, 0x2001, 53, 1))));
    }

    #[test]
    fn types_and_outermost_vlans_are_found() {
        let ipv6 = frame(&[0x2007, 9], IPV6, &[]);
        assert!(drops("ethertype:0x86dd", &ipv6) && drops("ethertype:34525", &ipv6) && drops("vlan:7", &ipv6));
        assert!(!drops("ethertype:0x800", &ipv6) && !drops("vlan:9", &ipv6));
        assert!(!drops("vlan:7", &frame(&[], IPV6, &[0, 7])));
    }

    #[test]
    fn a_frame_that_is_cut_short_anywhere_is_not_named() {
        let whole = frame(&[7], IPV4, &ipv4(UDP, 2, 0, 1, 53));
        for len in 0..whole.len() {
            assert!(!drops("udp:53", &whole[..len]), "{len}");
        }
        assert!(!drops("vlan:7", &whole[..15]) && !drops("ethertype:0x800", &whole[..13]));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "udp", "udp:", "udp:70000", "udp:-1", "vlan:4095", "ethertype:0xx", "icmp:1", "udp:53 "] {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }
}
