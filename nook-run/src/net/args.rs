//! The network's options.

use std::path::PathBuf;

/// Where the embedded model's cable goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireArg {
    /// An in-process host at 10.0.2.2.
    Peer,
    /// A TAP interface.
    Tap(String),
    /// Nowhere: no link.
    None,
}

fn wire(text: &str) -> Result<WireArg, String> {
    match text.split_once(':') {
        None if text == "peer" => Ok(WireArg::Peer),
        None if text == "none" => Ok(WireArg::None),
        Some(("tap", name)) if !name.is_empty() => Ok(WireArg::Tap(name.to_owned())),
        _ => Err("it can be `peer`, `tap:NAME` or `none`".into()),
    }
}

/// Of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A rule for the filter. target/drivers/filter.wasm drops what its rules name, in both directions: udp:53, tcp:80
    /// (either port), vlan:7, ethertype:0x86dd. Can be given more than once.
    #[arg(long, value_name = "RULE")]
    pub filter_rule: Vec<String>,

    /// Connects the driver's interface to this TAP interface of the kernel, instead of an in-process host.
    #[arg(long, value_name = "NAME")]
    pub tap: Option<String>,

    /// Where the embedded model's cable goes: `peer` (an in-process host at 10.0.2.2), `tap:NAME` or `none`.
    #[arg(long, value_name = "WHERE", default_value = "peer", value_parser = wire)]
    pub wire: WireArg,

    /// Writes every frame that passes the interface to this file, for Wireshark or tcpdump. With a name that ends in
    /// .pcapng it says of each which way it went, and which the interface did not take.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,

    /// Receives every frame on the wire, not only those for the interface.
    #[arg(long)]
    pub promiscuous: bool,

    /// How many queues the driver receives through, at most: 1 or 2 with the e1000 driver and an 82574L, over which the
    /// card spreads its flows. One is enough for one driver, which is one thread.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub rx_queues: u32,

    /// Prints at the end of the run what was counted: by the host, and by the driver and its device, by name.
    #[arg(long)]
    pub counters: bool,
}

impl Args {
    /// Returns the first option of the network that was given.
    pub fn given(&self) -> Option<&'static str> {
        let Args { filter_rule, tap, wire, pcap, promiscuous, rx_queues, counters } = self;
        let all = [
            (!filter_rule.is_empty(), "--filter-rule"),
            (tap.is_some(), "--tap"),
            (*wire != WireArg::Peer, "--wire"),
            (pcap.is_some(), "--pcap"),
            (*promiscuous, "--promiscuous"),
            (*rx_queues != 1, "--rx-queues"),
            (*counters, "--counters"),
        ];
        all.into_iter().find_map(|(given, option)| given.then_some(option))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cables_other_end_is_read() {
        assert_eq!(wire("tap:nook1"), Ok(WireArg::Tap("nook1".into())));
        assert!(wire("tap:").is_err() && wire("bridge:br0").is_err());
    }
}
