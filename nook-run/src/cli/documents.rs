//! Command lines in documents: each is understood.

use std::fs;
use std::path::Path;

use clap::Parser;

use super::Cli;

/// Returns the command lines of `nook-run` in the fenced blocks of a document, but for those that leave something out.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    let lines = blocks.flat_map(|block| block.lines().skip(1));
    let commands = lines.filter_map(|line| {
        let line = line.trim_start_matches("ExecStartPre=").trim_start_matches("ExecStart=");
        let line = line.trim_start_matches(['$', '#', ' ']);
        let (program, rest) = line.split_once(' ')?;
        (program.rsplit('/').next() == Some("nook-run")).then_some(rest)
    });
    // What follows is the shell's, or a remark.
    let alone = commands.map(|line| [" #", " |", " >", " &", " :::"].iter().fold(line, |line, end| until(line, end)));
    alone.filter(|line| !["...", "…", "<", "$", "{", "*"].iter().any(|left_out| line.contains(left_out)))
}

fn until<'a>(line: &'a str, end: &str) -> &'a str {
    line.split(end).next().unwrap_or(line)
}

/// Returns the words of a line, of which some may be in single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.trim().chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("there is one").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_line_in_a_document_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut documents = vec![root.join("README.md")];
    documents.extend(fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let (mut seen, mut wrong) = (0, String::new());
    for document in documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        for line in commands(&fs::read_to_string(document).unwrap()) {
            let asked = Cli::try_parse_from(["nook-run".to_owned()].into_iter().chain(words(line)));
            if let Err(error) = asked {
                wrong += &format!("{}: nook-run {line}: {error}\n", document.display());
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_command_line_is_what_stands_before_the_shells_part() {
    let text = "\n```console\n# nook-run doctor\n$ nook-run trace a --only entry > b   # c\n```\nnook-run not\n\
                ```ini\nExecStart=/usr/bin/nook-run --nook 'a.wasm --pci 1' …\nExecStart=/bin/nook-run a 'b c'\n```\n";
    assert_eq!(commands(text).collect::<Vec<_>>(), ["doctor", "trace a --only entry", "a 'b c'"]);
    assert_eq!(words("a 'b c'"), ["a", "b c"]);
}
