//! Links between documents: the file that a relative link names must exist, and the heading in it.

use super::Violation;
use anyhow::Result;
use std::ops::Range;

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
        // Elsewhere we do not look.
        if leads_outside(&target) {
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
pub fn targets(text: &str) -> Vec<(usize, String)> {
    prose(text).flat_map(|(number, line)| places(line).map(move |place| (number, line[place].to_string()))).collect()
}

/// Returns the text with what `replace` makes of each target.
pub fn replaced(text: &str, mut replace: impl FnMut(&str) -> Result<String>) -> Result<String> {
    let mut lines: Vec<_> = text.split('\n').map(String::from).collect();
    for (number, line) in prose(text) {
        // From the last one on, so that those before stay where they are.
        for place in places(line).collect::<Vec<_>>().into_iter().rev() {
            let new = replace(&line[place.clone()])?;
            lines[number - 1].replace_range(place, &new);
        }
    }
    Ok(lines.join("\n"))
}

/// Returns where in a line of prose the targets of links stand.
fn places(line: &str) -> impl Iterator<Item = Range<usize>> {
    let mut in_code = false;
    let prose: String = line.chars().map(|c| blank_in_code(c, &mut in_code)).collect();
    let inline = prose.match_indices("](").map(|(at, _)| at + 2);
    let definition = prose.trim_start().starts_with('[').then(|| prose.find("]:")).flatten().map(|at| at + 2);
    let begins: Vec<_> = inline.chain(definition).collect();
    begins.into_iter().filter_map(move |begin| {
        // A title in quotes may follow the target.
        let rest = prose[begin..].split(')').next()?;
        let target = rest.split_whitespace().next()?.trim_matches(['<', '>']);
        let begin = begin + prose[begin..].find(target)?;
        Some(begin..begin + target.len())
    })
}

/// Returns the character, or as many blanks as it has bytes if it is in a `code span`.
fn blank_in_code(c: char, in_code: &mut bool) -> String {
    *in_code ^= c == '`';
    if *in_code || c == '`' { " ".repeat(c.len_utf8()) } else { c.to_string() }
}

/// Returns whether a target has a scheme: that leads out of the repository.
pub fn leads_outside(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// Returns the path that a link in `from` names, relative to the repository; `None` if it leaves the repository.
pub fn resolve(from: &str, link: &str) -> Option<String> {
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

    #[test]
    fn each_target_is_replaced_where_it_stands_and_code_is_not() {
        let text = "[a](b.md) `é [c](d.md)` [`e`](f.md#g \"title\")\n\n```\n[h](i.md)\n```\n[j]: <k.md>\n";
        let new = replaced(text, |target| Ok(format!("<{target}>-{}", target.len()))).unwrap();
        let expected =
            "[a](<b.md>-4) `é [c](d.md)` [`e`](<f.md#g>-6 \"title\")\n\n```\n[h](i.md)\n```\n[j]: <<k.md>-4>\n";
        assert_eq!(new, expected);
        assert_eq!(replaced(text, |target| Ok(target.to_string())).unwrap(), text);
        assert!(replaced(text, |_| anyhow::bail!("no")).is_err());
    }
}
