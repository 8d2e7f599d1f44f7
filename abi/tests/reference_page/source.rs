//! Reads comments out of this crate's source, where the compiler leaves them. It relies on rustfmt's layout: a member
//! stands on its own line, one step further in than what it belongs to, and what it belongs to ends with a brace
//! on the line's own depth.

/// A field, variant or constant.
pub struct Member {
    /// The comment before it, as one line of Markdown.
    pub doc: String,
    /// The line itself, without what follows an opening brace, and without the last comma or semicolon.
    pub code: String,
    /// Its own members.
    pub members: Vec<Member>,
}

impl Member {
    /// Returns the name in front of `:`, ` =` or ` {`.
    pub fn name(&self) -> &str {
        let code = self.code.strip_prefix("pub ").unwrap_or(&self.code);
        let code = code.strip_prefix("const ").unwrap_or(code);
        code.split([':', ' ', '{', '(']).next().unwrap_or(code)
    }

    /// Returns what stands behind ` = `.
    pub fn value(&self) -> &str {
        self.code.split_once(" = ").map_or("", |(_, value)| value)
    }
}

/// Returns the members of the item whose line begins with `opening`, wherever in the file it is.
pub fn members(source: &str, opening: &str) -> Vec<Member> {
    let mut lines = source.lines();
    let found = lines.by_ref().find(|line| line.trim_start().starts_with(opening));
    let found = found.unwrap_or_else(|| panic!("no line begins with `{opening}`"));
    read(&mut lines, depth(found))
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Reads up to the closing brace at `depth`.
fn read<'a>(lines: &mut impl Iterator<Item = &'a str>, outer: usize) -> Vec<Member> {
    let mut members = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    while let Some(line) = lines.next() {
        let text = line.trim();
        if depth(line) <= outer && text.starts_with('}') {
            return members;
        } else if let Some(comment) = text.strip_prefix("///") {
            doc.push(comment.trim());
        } else if !text.is_empty() && !text.starts_with('#') && !text.starts_with("//") {
            let inner = if text.ends_with('{') { read(lines, depth(line)) } else { Vec::new() };
            let code = text.trim_end_matches([',', ';', '{', ' ']).to_owned();
            members.push(Member { doc: markdown(&doc.join(" ")), code, members: inner });
            doc.clear();
        }
    }
    panic!("a brace is not closed")
}

/// Links to other items lead nowhere on the page: only their text stays.
fn markdown(doc: &str) -> String {
    let mut text = String::new();
    let mut rest = doc;
    while let Some((before, link)) = rest.split_once("[`") {
        let (name, after) = link.split_once("`]").unwrap_or_else(|| panic!("an odd link in {doc:?}"));
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        text = text + before + "`" + name + "`";
        rest = target.map_or(after, |(_, after)| after);
    }
    text + rest
}

#[test]
fn members_have_their_comments_and_links_lose_their_targets() {
    let source = "/// Not it.\npub struct Other {\n}\n\npub mod outer {\n    pub enum It {\n        /// See [`A`](crate::A)\n        \
                  /// and [`B`].\n        #[x]\n        One {\n            /// A number.\n            n: u8,\n        \
                  },\n        /// Two.\n        Two = 2,\n    }\n}\n";
    let found = members(source, "pub enum It {");
    assert_eq!(found.iter().map(Member::name).collect::<Vec<_>>(), ["One", "Two"]);
    assert_eq!(found[0].doc, "See `A` and `B`.");
    assert_eq!((found[0].members[0].name(), found[0].members[0].doc.as_str()), ("n", "A number."));
    assert_eq!((found[1].doc.as_str(), found[1].value()), ("Two.", "2"));
}
