//! Links between documents: the file that a relative link names must exist, and the heading in it.

use super::Violation;

/// What a path within the repository is.
pub enum Place {
    /// Nothing is there.
    Nothing,
    /// A Markdown file with this text.
    Document(String),
    /// Something else: code, a folder.
    Other,
}

/// Checks the relative links of one Markdown file. `look` answers for paths relative to the repository.
pub fn check(path: &str, text: &str, look: impl Fn(&str) -> Place) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, target) in targets(text) {
        // A scheme leads out of the repository, where we do not look.
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
        let place = match resolve(path, file) {
            None => Place::Nothing,
            Some(_) if file.is_empty() => Place::Document(text.to_string()),
            Some(top) if top.is_empty() => Place::Other,
            Some(there) => look(&there),
        };
        let broken = match place {
            Place::Nothing => Some("leads nowhere; correct the link or add the file"),
            Place::Document(there) if !heading.is_empty() && !anchors(&there).any(|anchor| anchor == heading) => {
                Some("names a heading that is not there")
            }
            Place::Document(_) | Place::Other => None,
        };
        if let Some(broken) = broken {
            let advice = format!("`{target}` {broken}");
            found.push(Violation { path: path.to_string(), line, rule: "links", advice });
        }
    }
    found
}

/// Returns the anchors of a document's headings, as forges make them: lower case, spaces to dashes, no punctuation.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter_map(|(_, line)| line.strip_prefix('#')).map(|heading| {
        let kept = heading.trim_start_matches('#').trim().chars();
        let kept = kept.filter(|&c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Returns the lines outside fenced code, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let start = line.trim_start();
        let fence = start.starts_with("```") || start.starts_with("~~~");
        fenced ^= fence;
        (!fence && !fenced).then_some((index + 1, line))
    })
}

/// Returns the targets of inline links `[..](target)` and definitions `[..]: target`, with their lines; code is
/// skipped.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let definition = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:")).map(|(_, to)| to);
        for target in inline.chain(definition) {
            // A title in quotes may follow the target.
            if let Some(target) = target.split_whitespace().next() {
                found.push((number, target.trim_matches(['<', '>']).to_string()));
            }
        }
    }
    found
}

/// Returns the line without its `code spans`.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Returns the path that a link in `from` names, relative to the repository; `None` if it leaves the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = match link.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect(),
    };
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<usize> {
        let look = |file: &str| match file {
            "README.md" => Place::Document("# nook\n## First run, without root\n```\n# not one\n```\n".into()),
            "docs/security.md" => Place::Document("# Security\n### `PCI` & promises\n".into()),
            "docs" | "abi/src/lib.rs" => Place::Other,
            _ => Place::Nothing,
        };
        check(path, text, look).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_link_to_a_file_that_is_there_is_fine() {
        assert!(broken("README.md", "see [a](docs/security.md) and [b](docs/) and [c](abi/src/lib.rs#L3)").is_empty());
        assert!(
            broken("docs/security.md", "[up](../README.md), [same](security.md), [top](/README.md \"title\")")
                .is_empty()
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named_with_its_line() {
        assert_eq!(broken("README.md", "fine\n[a](docs/absent.md)\n"), [2]);
        assert_eq!(broken("docs/security.md", "[a](README.md)\n\n[b]: absent.md\n"), [1, 3]);
        assert_eq!(broken("README.md", "[a](docs/security.md) then [b](gone.md)"), [1]);
    }

    #[test]
    fn a_heading_that_a_link_names_must_be_there() {
        let text = "# Top\n[a](#top) [b](README.md#first-run-without-root)\n[c](docs/security.md#pci--promises)\n";
        assert!(broken("CHANGELOG.md", text).is_empty());
        assert_eq!(
            broken("CHANGELOG.md", "[a](#absent)\n[b](README.md#not-one)\n[c](README.md#first-run)\n"),
            [1, 2, 3]
        );
    }

    #[test]
    fn a_link_out_of_the_repository_by_path_is_broken() {
        assert_eq!(broken("README.md", "[a](../elsewhere/README.md)"), [1]);
    }

    #[test]
    fn other_sites_and_code_are_not_followed() {
        assert!(broken("README.md", "[a](https://example.org/x.md) `[b](absent.md)`").is_empty());
        assert!(broken("README.md", "```\n[a](absent.md)\n```\n").is_empty());
    }
}
