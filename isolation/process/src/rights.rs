//! Which of root's rights to become somebody else this process has. User 0 of a user namespace may have none of them:
//! there may be no other user in it, and its groups may have to stay (user_namespaces(7)).

use std::fs;

use rustix::process::geteuid;

use crate::sandbox::NOBODY;

/// Bits of a set of capabilities (include/uapi/linux/capability.h).
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;

/// What a process of this one's user can give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// It can become [`NOBODY`], as user and as group.
    pub(crate) become_nobody: bool,
    /// It can leave its other groups.
    pub(crate) drop_groups: bool,
}

impl Rights {
    /// Returns those of this process. What the system does not tell is taken for granted to root: it is found out then
    /// when it fails.
    pub(crate) fn of_this_process() -> Rights {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        let [status, users, groups, setgroups] = ["status", "uid_map", "gid_map", "setgroups"].map(read);
        Rights::from_texts(geteuid().is_root(), status, users, groups, setgroups)
    }

    fn from_texts(
        is_root: bool,
        status: Option<String>,
        users: Option<String>,
        groups: Option<String>,
        setgroups: Option<String>,
    ) -> Rights {
        let has = |capability| status.as_deref().and_then(effective).is_none_or(|set| set >> capability & 1 == 1);
        let knows_nobody = |map: Option<String>| map.is_none_or(|map| maps(&map, NOBODY));
        let may_change_groups = is_root && has(CAP_SETGID);
        Rights {
            become_nobody: may_change_groups && has(CAP_SETUID) && knows_nobody(users) && knows_nobody(groups),
            drop_groups: may_change_groups && setgroups.is_none_or(|word| word.trim() == "allow"),
        }
    }
}

/// Returns the effective capabilities, out of `/proc/self/status`.
fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Returns whether this number is one of the namespace's. A line of the map is first number inside, first outside,
/// length.
fn maps(map: &str, number: u32) -> bool {
    map.lines().any(|line| {
        let mut words = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (first, length) = (words.next().unwrap_or(0), words.nth(1).unwrap_or(0));
        (first..first + length).contains(&number.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "         0          0 4294967295\n";
    const ONE: &str = "         0       1000          1\n";

    fn rights(is_root: bool, capabilities: &str, map: &str, setgroups: &str) -> (bool, bool) {
        let status = format!("Name:\tx\nCapEff:\t{capabilities}\n");
        let texts = [&status, map, map, setgroups].map(|text| Some(text.to_owned()));
        let [status, users, groups, setgroups] = texts;
        let Rights { become_nobody, drop_groups } = Rights::from_texts(is_root, status, users, groups, setgroups);
        (become_nobody, drop_groups)
    }

    #[test]
    fn who_is_root_can_become_nobody_unless_its_namespace_or_capabilities_forbid_it() {
        assert_eq!(rights(true, "000001ffffffffff", ALL, "allow\n"), (true, true));
        assert_eq!(rights(false, "0000000000000000", ALL, "allow\n"), (false, false));
        assert_eq!(rights(true, "000001ffffffffff", ONE, "deny\n"), (false, false));
        assert_eq!(rights(true, "000001ffffffffff", "0 1000 1\n1 100000 65536\n", "allow\n"), (true, true));
        assert_eq!(rights(true, "000001ffffffff3f", ALL, "allow\n"), (false, false), "neither capability");
        assert_eq!(rights(true, "000001ffffffff7f", ALL, "allow\n"), (false, true), "groups only");
        let unknown = Rights::from_texts(true, None, None, None, None);
        assert_eq!(unknown, Rights { become_nobody: true, drop_groups: true });
    }
}
