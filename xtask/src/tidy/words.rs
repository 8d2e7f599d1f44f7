//! Words that belong to some folders: elsewhere they say that something is known where it must not be.

use super::{Violation, matches};

/// Words, and where they may stand.
pub struct Rule {
    /// The rule's short name.
    pub name: &'static str,
    /// Where it holds: folders, with `*` for part of one name.
    pub within: &'static [&'static str],
    /// Folders and files within those where it does not.
    pub but: &'static [&'static str],
    /// Whole words; one that ends with `_` is the beginning of a word.
    pub words: &'static [&'static str],
    /// Why.
    pub because: &'static str,
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "levels",
        within: &["runtime", "isolation", "recovery", "nook-run"],
        but: &["runtime/src/bars.rs", "runtime/src/lib.rs", "isolation/native"],
        words: &["UncheckedBars"],
        because: "registers without a check are what the native level is; every other way to them is checked",
    },
    Rule {
        name: "class",
        within: &["abi/src", "driver-sdk/src", "runtime/src", "recovery/src"],
        // wasmtime calls those who wait for a function to return frames.
        but: &["*/src/net", "*/src/misc", "*/src/serial", "runtime/src/origin.rs"],
        words: &[
            "mac", "mtu", "frame", "frames", "Frame", "packet", "packets", "Packet", "sector", "sectors", "lba",
            "baud", "rx_", "tx_", "RX_", "TX_", "Rx", "Tx",
        ],
        because: "a word of one class; what is of a class stands in the folder of its name, and the rest knows none",
    },
];

/// Checks one file.
pub fn check(rules: &[Rule], path: &str, content: &str) -> Vec<Violation> {
    if !path.ends_with(".rs") {
        return Vec::new();
    }
    let holds = |rule: &&Rule| below(rule.within, path) && !below(rule.but, path);
    let rules: Vec<&Rule> = rules.iter().filter(holds).collect();
    // What is of no class is tested with examples that are of one.
    let lines = content.lines().zip(1..).take_while(|(text, _)| !text.starts_with("#[cfg(test)]"));
    let found = lines.flat_map(|(text, line)| {
        rules.iter().filter_map(move |rule| {
            let word = words_of(text).find(|word| rule.words.iter().any(|refused| is(word, refused)))?;
            let advice = format!("`{word}`: {}", rule.because);
            Some(Violation { path: path.to_owned(), line, rule: rule.name, advice })
        })
    });
    found.collect()
}

/// Returns whether the path is one of these, or lies below one.
fn below(folders: &[&str], path: &str) -> bool {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let mut parents = ends.map(|end| &path[..end]);
    parents.any(|parent| folders.iter().any(|folder| matches(folder, parent)))
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn is(word: &str, refused: &str) -> bool {
    if refused.ends_with('_') { word.starts_with(refused) } else { word == refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANTED: &[Rule] = &[Rule {
        name: "planted",
        within: &["a", "b/*-c"],
        but: &["a/src/own", "a/src/one.rs"],
        words: &["cow", "moo_"],
        because: "cows are the farm's",
    }];

    fn places(path: &str, content: &str) -> Vec<usize> {
        check(PLANTED, path, content).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_word_is_refused_as_a_whole_and_a_beginning_as_a_beginning() {
        let content = "cow\ncows\na_cow\n// The cow.\nmoo_ed\nmoo\n";
        assert_eq!(places("a/src/lib.rs", content), [1, 4, 5]);
    }

    #[test]
    fn a_word_is_refused_where_the_rule_holds() {
        assert_eq!(places("b/x-c/src/lib.rs", "cow"), [1]);
        for elsewhere in ["c/src/lib.rs", "a/src/own/lib.rs", "a/src/one.rs", "a/README.md", "ab/lib.rs"] {
            assert!(places(elsewhere, "cow").is_empty(), "{elsewhere}");
        }
    }

    #[test]
    fn tests_may_take_their_examples_where_they_like() {
        assert_eq!(places("a/src/lib.rs", "cow\n#[cfg(test)]\nmod tests {\n// cow\n}\n"), [1]);
    }

    #[test]
    fn a_word_of_a_class_is_refused_outside_the_folder_of_its_name() {
        for (path, refused) in [
            ("recovery/src/supervisor.rs", true),
            ("runtime/src/nook/turn.rs", true),
            ("abi/src/table.rs", true),
            ("runtime/src/net/traffic.rs", false),
            ("driver-sdk/src/net/queues.rs", false),
            ("classes/net/src/tap.rs", false),
        ] {
            for content in ["// gives up the frame", "let mtu = 7;", "self.rx_packets += 1;"] {
                assert_eq!(check(RULES, path, content).len(), usize::from(refused), "{path}: {content}");
            }
        }
    }

    #[test]
    fn the_way_around_the_policy_is_refused_outside_the_native_level() {
        let content = "use nook_runtime::UncheckedBars;";
        assert_eq!(check(RULES, "isolation/process/src/driver.rs", content).len(), 1);
        assert!(check(RULES, "isolation/native/src/services.rs", content).is_empty());
    }
}
