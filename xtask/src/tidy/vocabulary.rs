//! One thing has one name: words that were retired, and what to say instead. The glossary in ARCHITECTURE.md says what
//! the new ones mean.
//!
//! To retire a word, rename it everywhere and add a line to [`PHRASES`] or [`NAMES`].

use super::Violation;

/// A retired word, and what to say in its place.
pub struct Retired {
    /// In [`PHRASES`]: words in lower case; `…` stands for one to three words. In [`NAMES`]: an identifier.
    pub old: &'static str,
    /// The advice.
    pub new: &'static str,
}

const fn retired(old: &'static str, new: &'static str) -> Retired {
    Retired { old, new }
}

const ROLL_BACK: &str = "roll back (a call), rollback; or reclaim (a slot), withdraw, return";
const RESTORE: &str = "restore (a snapshot), snapshot restore; or return";

const TOLD: &str = "what happens: it is set, passed, written, reported, logged";

const OWN: &str = "its own ..., or a separate ...";

/// Words in a row, in prose and in identifiers of every kind: `gone by`, `gone_by`, `GoneBy` and `gone-by` are one, and
/// so is one that begins a line and ends the one before.
pub const PHRASES: &[Retired] = &[
    retired("take back", ROLL_BACK),
    retired("takes back", ROLL_BACK),
    retired("took back", ROLL_BACK),
    retired("taken back", ROLL_BACK),
    retired("taking back", ROLL_BACK),
    retired("take … back", ROLL_BACK),
    retired("takes … back", ROLL_BACK),
    retired("took … back", ROLL_BACK),
    retired("taken … back", ROLL_BACK),
    retired("taking … back", ROLL_BACK),
    retired("undoable", "can be rolled back, rollback_possible"),
    retired("checkpoint", "rollback"),
    retired("checkpoints", "rollback"),
    retired("checkpointing", "rollback"),
    retired("bring back", RESTORE),
    retired("brings back", RESTORE),
    retired("brought back", RESTORE),
    retired("bringing back", RESTORE),
    retired("bring … back", RESTORE),
    retired("brings … back", RESTORE),
    retired("bringing … back", RESTORE),
    retired("brought … back", RESTORE),
    retired("go back", RESTORE),
    retired("goes back", RESTORE),
    retired("going back", RESTORE),
    retired("gone back", RESTORE),
    retired("went back", RESTORE),
    retired("return to a snapshot", RESTORE),
    retired("returns to a snapshot", RESTORE),
    retired("level 2", RESTORE),
    retired("so many", "this many, that many, at most this many; or name the number"),
    retired("whoever", "what is meant: the caller, the owner, the process"),
    retired("anew", "again"),
    retired("outside of", "outside"),
    retired("inside of", "inside"),
    retired("is told", TOLD),
    retired("are told", TOLD),
    retired("was told", TOLD),
    retired("were told", TOLD),
    retired("be told", TOLD),
    retired("been told", TOLD),
    retired("being told", TOLD),
    retired("of its own", OWN),
    retired("of their own", OWN),
];

/// Identifiers, as they are spelled. The same word in prose may be good English.
pub const NAMES: &[Retired] = &[
    retired("Trouble", "Escalation"),
    retired("Suspects", "Bisect"),
    retired("Care", "PollRestrictions"),
    retired("Still", "Quiescence"),
    retired("Relief", "Resolution"),
    retired("Settled", "CallOutcome"),
    retired("Uplink", "NetBackend"),
    retired("Wanted", "DueCalls"),
    retired("Trail", "CallTrace"),
    retired("Scene", "CrashState"),
    retired("KeepMemory", "MemoryDump"),
    retired("Temper", "Behaviour"),
    retired("Dice", "Rng"),
    retired("Birth", "SpawnConfig"),
    retired("Walls", "Confinement"),
    retired("Sieve", "FilterHook"),
];

/// Files that may have retired words: history, and the tables of them.
const EXEMPT: &[&str] =
    &["CHANGELOG.md", "Cargo.lock", "LICENSE", "recovery/src/policy_file/renamed.rs", "xtask/src/tidy/vocabulary.rs"];

/// Checks one file.
pub fn check(phrases: &[Retired], names: &[Retired], path: &str, content: &str) -> Vec<Violation> {
    if EXEMPT.contains(&path) {
        return Vec::new();
    }
    let report = |line: usize, retired: &Retired| {
        let advice = format!("`{}` was retired: say {}", retired.old, retired.new);
        Violation { path: path.to_owned(), line, rule: "vocabulary", advice }
    };
    let words = words(content);
    let phrases: Vec<(Vec<&str>, &Retired)> =
        phrases.iter().map(|retired| (retired.old.split(' ').collect(), retired)).collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let here = phrases.iter().find(|(phrase, _)| begins(&words[at..], phrase));
        found.extend(here.map(|(_, retired)| report(word.line, retired)));
    }
    for (text, line) in content.lines().zip(1..) {
        let identifiers = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        found.extend(identifiers.filter_map(|name| names.iter().find(|it| it.old == name)).map(|it| report(line, it)));
    }
    found
}

/// A word, or a piece of an identifier.
struct Word {
    /// In lower case. Empty where a sentence, an argument or the like ends: no phrase goes on there.
    text: String,
    /// From 1.
    line: usize,
}

/// Returns whether these words begin with a phrase.
fn begins(words: &[Word], phrase: &[&str]) -> bool {
    match (phrase, words) {
        ([], _) => true,
        (["…", rest @ ..], _) => (1..=3).any(|gap| {
            words.get(..gap).is_some_and(|between| between.iter().all(|word| !word.text.is_empty()))
                && begins(&words[gap..], rest)
        }),
        ([first, rest @ ..], [word, others @ ..]) => word.text == *first && begins(others, rest),
        (_, []) => false,
    }
}

/// Splits a text into words: at spaces, `_`, `-`, and before capitals. Marks of comments are no words.
fn words(content: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (text, line) in content.lines().zip(1..) {
        // What a string has in place of an end of a line or a tab.
        let text = text.replace("\\n", " \" ").replace("\\t", " \" ");
        let mut before = ' ';
        for c in text.chars() {
            if c.is_alphanumeric() {
                let begins = !before.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
                if begins || words.is_empty() {
                    words.push(Word { text: String::new(), line });
                }
                let word = words.last_mut().expect("one was pushed");
                word.text.extend(c.to_lowercase());
            } else if !c.is_whitespace() && !"_-/!#*>\\`".contains(c) {
                words.push(Word { text: String::new(), line });
            }
            before = c;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANTED: &[Retired] = &[retired("gone by", "past"), retired("lead … astray", "mislead")];

    fn places(content: &str) -> Vec<usize> {
        check(PLANTED, &[], "a/src/lib.rs", content).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_retired_phrase_is_found_however_it_is_written() {
        for text in [
            "// It has gone by.",
            "let gone_by = 1;",
            "GONE_BY",
            "enum E { GoneBy }",
            "call(wasGoneBy)",
            "--gone-by",
            "\"[x]\\ngone_by = 1\"",
            "a_call_that_has_gone_by_is_over",
        ] {
            assert_eq!(places(&format!("fine\n{text}\n")), [2], "{text}");
        }
        assert_eq!(places("/// What has gone\n/// by.\n"), [1]);
        assert_eq!(places("# gone\n    # by\n"), [1]);
    }

    #[test]
    fn words_that_only_stand_beside_each_other_are_no_phrase() {
        for text in ["It is gone. By and by.", "(gone, by)", "forgone by", "gone bye", "\"gone\", \"by\"", "gone: by"] {
            assert!(places(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_phrase_with_a_gap_has_one_to_three_words_in_it() {
        assert_eq!(places("lead it astray\nlead a good man astray\n"), [1, 2]);
        assert!(places("lead astray\nlead many a good man astray\nlead. It astray\n").is_empty());
    }

    #[test]
    fn a_name_is_retired_as_it_is_spelled() {
        let names = &[retired("Mood", "FaultIsolation")];
        let found = check(&[], names, "a/src/lib.rs", "struct Mood;\n// In no mood.\nMoods\nuse a::Mood;\n");
        assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(found[0].advice, "`Mood` was retired: say FaultIsolation");
    }

    #[test]
    fn each_retired_phrase_of_the_list_is_found_and_history_may_have_it() {
        for Retired { old, .. } in PHRASES {
            let text = old.replace('…', "the call");
            for path in ["docs/policy.md", "nook-run/src/cli.rs", "tests/guest/cases.sh"] {
                assert!(!check(PHRASES, NAMES, path, &text).is_empty(), "{path}: {text}");
            }
            assert!(check(PHRASES, NAMES, "CHANGELOG.md", &text).is_empty());
        }
        for Retired { old, .. } in NAMES {
            assert!(!check(PHRASES, NAMES, "runtime/src/lib.rs", old).is_empty(), "{old}");
        }
    }
}
