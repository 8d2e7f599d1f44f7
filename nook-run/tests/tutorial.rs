//! docs/tutorial.md as a reader follows it, from an empty folder: its files are made, its changes applied, its commands
//! run, and what it says that they print is looked for.

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;

use support::{NOOK_RUN, Place, repository};

/// What a reader does with one block of the page.
enum Step {
    /// Writes a file.
    File { name: String, text: String },
    /// Changes a file.
    Change(String),
    /// Runs commands, which begin with `$ `; the other lines are parts of what they print, in this order.
    Commands(String),
}

/// Returns the page's blocks in order. What is only to be read is `text`.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut before = "";
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            before = if line.is_empty() { before } else { line };
            continue;
        };
        let text: String = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        let name = before.strip_prefix('`').and_then(|name| name.strip_suffix("`:"));
        match (language, name) {
            ("text", _) => {}
            ("console", _) => steps.push(Step::Commands(text)),
            ("diff", _) => steps.push(Step::Change(text)),
            (_, Some(name)) => steps.push(Step::File { name: name.to_owned(), text }),
            (language, None) => panic!("a block of {language} says no file that it is for: {text}"),
        }
        before = "";
    }
    steps
}

/// Applies a change in the unified format. What it removes, with the lines around it, stands once in the file.
fn change(place: &Place, diff: &str) {
    let mut lines = diff.lines();
    let name = lines.next().and_then(|line| line.strip_prefix("--- ")).expect("a change names its file");
    assert_eq!(lines.next(), Some(format!("+++ {name}").as_str()));
    let mut text = std::fs::read_to_string(place.at(name)).expect("a file that was made before");
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    for hunk in body.split("@@ -").skip(1) {
        let side = |other: char| -> String {
            let lines = hunk.lines().skip(1).filter(|line| !line.starts_with(other));
            lines.map(|line| format!("{}\n", line.get(1..).unwrap_or_default())).collect()
        };
        let (old, new) = (side('+'), side('-'));
        assert_eq!(text.matches(&old).count(), 1, "{name} has not, or not once:\n{old}");
        text = text.replace(&old, &new);
    }
    place.file(name, text);
}

fn run(place: &Place, block: &str) {
    let path = format!("{}:{}", Path::new(NOOK_RUN).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let commands: String =
        block.lines().filter_map(|line| line.strip_prefix("$ ")).map(|it| format!("{it}\n")).collect();
    let mut asked =
        place.command("sh", ["-c", &format!("set -e\nexec 2>&1\n{commands}")]).with_cargo().env("PATH", path);
    asked.command.env_remove("CARGO_TARGET_DIR");
    let ended = asked.end();
    assert_eq!(ended.code(), 0, "{commands}{}", ended.stdout);
    // What stands at … is not the same everywhere.
    let has = |line: &str, wanted: &str| {
        let found = wanted.split('…').try_fold(line, |rest, part| rest.split_once(part.trim()).map(|(_, rest)| rest));
        found.is_some()
    };
    let mut printed = ended.stdout.lines();
    for wanted in block.lines().filter(|line| !line.starts_with("$ ")) {
        assert!(printed.any(|line| has(line, wanted)), "{wanted:?} is not printed, or earlier:\n{}", ended.stdout);
    }
}

#[test]
fn every_block_of_the_tutorial_does_what_it_says() {
    let page = std::fs::read_to_string(repository().join("docs/tutorial.md")).expect("the page");
    let place = Place::new();
    symlink(repository(), place.at("nook")).expect("a link to nook");
    let steps = steps(&page);
    assert!(steps.len() > 10, "only {} blocks", steps.len());
    for step in steps {
        match step {
            Step::File { name, text } => {
                std::fs::create_dir_all(place.at(&name).parent().expect("a folder")).expect("the file's folder");
                place.file(&name, text);
            }
            Step::Change(diff) => change(&place, &diff),
            Step::Commands(block) => run(&place, &block),
        }
    }
}
