//! The counters that a driver names: what [`net_counters`](crate::Hostcall::NetCounters) finds in the mailbox.

use crate::MAILBOX_BYTES;

/// The most counters that a driver names.
pub const MOST_COUNTERS: usize = 128;
/// The most bytes of a counter's name: with a zero behind it, it fits where Linux's `ethtool` has names.
pub const COUNTER_NAME_BYTES: usize = 31;

// Their values fit into the mailbox.
const _: () = assert!(MOST_COUNTERS * size_of::<u64>() <= MAILBOX_BYTES);

/// Returns the rule that a list of names breaks.
pub const fn counter_rule(names: &[&str]) -> Option<&'static str> {
    if names.is_empty() || names.len() > MOST_COUNTERS {
        return Some("there are 1 to 128 counters");
    }
    let mut bytes = 0;
    let mut at = 0;
    while at < names.len() {
        if !is_name(names[at].as_bytes()) {
            return Some("a name is a lower-case letter, and up to 30 of these, digits and _");
        }
        let mut before = 0;
        while before < at {
            if is_same(names[before].as_bytes(), names[at].as_bytes()) {
                return Some("two counters have the same name");
            }
            before += 1;
        }
        bytes += names[at].len() + 1;
        at += 1;
    }
    if bytes > MAILBOX_BYTES { Some("longer than the mailbox") } else { None }
}

const fn is_name(name: &[u8]) -> bool {
    if name.is_empty() || name.len() > COUNTER_NAME_BYTES || !name[0].is_ascii_lowercase() {
        return false;
    }
    let mut at = 1;
    while at < name.len() {
        if !matches!(name[at], b'a'..=b'z' | b'0'..=b'9' | b'_') {
            return false;
        }
        at += 1;
    }
    true
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn numbered(count: usize, digits: usize) -> Vec<String> {
        (0..count).map(|n| std::format!("n{n:0digits$}")).collect()
    }

    fn rule(names: &[String]) -> Option<&'static str> {
        counter_rule(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_taken_up_to_every_limit() {
        assert_eq!(counter_rule(&["a", "rx_64_bytes", "an_0123456789012345678901234567"]), None);
        assert_eq!(rule(&numbered(MOST_COUNTERS, 14)), None);
        assert_eq!(rule(&numbered(64, COUNTER_NAME_BYTES - 1)), None);
    }

    #[test]
    fn a_list_that_breaks_a_rule_is_refused_with_it() {
        let names = "a name is a lower-case letter, and up to 30 of these, digits and _";
        for name in ["", "Rx", "rx packets", "rx-packets", "0_rx", "_rx", "größe", "rx\u{1b}[2J", "rx\0"] {
            assert_eq!(counter_rule(&["good", name]), Some(names), "{name:?}");
        }
        assert_eq!(rule(&numbered(1, COUNTER_NAME_BYTES)), Some(names));
        assert_eq!(counter_rule(&["a", "b", "a"]), Some("two counters have the same name"));
        for count in [0, MOST_COUNTERS + 1] {
            assert_eq!(rule(&numbered(count, 3)), Some("there are 1 to 128 counters"));
        }
        assert_eq!(rule(&numbered(65, COUNTER_NAME_BYTES - 1)), Some("longer than the mailbox"));
    }
}
