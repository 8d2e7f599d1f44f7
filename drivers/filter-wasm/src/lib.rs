//! A small packet filter that stands beside a network driver in its nook and drops, in both directions, what the
//! operator names.
//!
//! Each rule names frames: `ethertype:0x86dd`, `vlan:7`, `udp:53` or `tcp:80` (source or destination port, over IPv4 or
//! IPv6). It keeps no state and looks into no fragment but the first; behind IPv6 extension headers it does not look.
//! It is an example of two modules in one nook, not a firewall.
#![cfg_attr(target_arch = "wasm32", no_std)] // A native cdylib would have to bring its own panic handler.
#![forbid(unsafe_code)]

mod rule;

use nook_sdk::{Direction, Filter, Frame, Status, Verdict};

use crate::rule::Rule;

/// The most rules.
const RULES: usize = 32;

/// The filter.
pub struct Drops {
    rules: [Option<Rule>; RULES],
}

impl Filter for Drops {
    fn begin<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, Status> {
        let mut rules = [None; RULES];
        let mut places = rules.iter_mut();
        for text in texts {
            let place = places.next().ok_or(Status::Invalid)?;
            *place = Some(Rule::parse(text).ok_or(Status::Invalid)?);
        }
        Ok(Drops { rules })
    }

    fn frame(&mut self, _: Direction, frame: &Frame<'_>) -> Verdict {
        let mut rules = self.rules.iter().map_while(Option::as_ref);
        if rules.any(|rule| rule.names(frame)) { Verdict::Drop } else { Verdict::Pass }
    }
}

nook_sdk::nook_filter! { Drops, name: "filter" }
