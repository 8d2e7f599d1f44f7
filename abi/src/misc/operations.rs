//! The list of a driver's operations, as `misc_attach` finds it in the mailbox.

use core::fmt;

/// The most operations that a driver has.
pub const MOST_OPERATIONS: usize = 64;

/// One operation: its name and, if the driver gives one, an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Lower-case letters, digits, `-` and `_`, at most 32.
    pub name: &'a str,
    /// Bytes to try it with.
    pub input: Option<Bytes<'a>>,
    /// What comes of them on every device of the kind.
    pub output: Option<Bytes<'a>>,
}

/// Bytes in hexadecimal, `-` for none: checked when made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<'a>(&'a str);

/// What is wrong with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationError {
    /// A line begins with what is no name.
    Name,
    /// Something behind a name is no bytes in hexadecimal.
    Bytes,
    /// A line has more than a name and two times bytes.
    More,
    /// Two operations have one name.
    Twice,
    /// There are too many of them, or none.
    Count,
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule())
    }
}

impl OperationError {
    /// Returns the rule that the list breaks.
    pub const fn rule(self) -> &'static str {
        match self {
            OperationError::Name => "a name is 1 to 32 lower-case letters, digits, - and _",
            OperationError::Bytes => "an example is bytes in hexadecimal, or - for none",
            OperationError::More => "a line is a name, input and output",
            OperationError::Twice => "two operations have the same name",
            OperationError::Count => "there are 1 to 64 operations",
        }
    }
}

impl<'a> Bytes<'a> {
    /// Parses text; `None` if it is not bytes in hexadecimal.
    pub fn new(text: &'a str) -> Option<Self> {
        let digits = text.len().is_multiple_of(2) && !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        (digits || text == "-").then_some(Bytes(text))
    }

    /// Returns the bytes, in order.
    pub fn iter(self) -> impl Iterator<Item = u8> + 'a {
        let digit = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
        self.0.as_bytes().chunks_exact(2).map(move |pair| digit(pair[0]) << 4 | digit(pair[1]))
    }
}

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Checks a list and says what is in it.
pub fn operations<'a>(text: &'a str) -> Result<impl Iterator<Item = Operation<'a>>, OperationError> {
    let names = || text.lines().filter_map(|line| line.split_ascii_whitespace().next());
    for (at, line) in text.lines().enumerate() {
        let operation = operation(line)?;
        if names().take(at).any(|name| name == operation.name) {
            return Err(OperationError::Twice);
        }
        // Before the list is gone through once more for the next one.
        if at >= MOST_OPERATIONS {
            return Err(OperationError::Count);
        }
    }
    if text.is_empty() {
        return Err(OperationError::Count);
    }
    Ok(text.lines().filter_map(|line| operation(line).ok()))
}

fn operation(line: &str) -> Result<Operation<'_>, OperationError> {
    let mut words = line.split_ascii_whitespace();
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let name = words.next().filter(|name| name.len() <= 32 && name.bytes().all(good)).ok_or(OperationError::Name)?;
    let mut bytes = || words.next().map(|word| Bytes::new(word).ok_or(OperationError::Bytes)).transpose();
    let (input, output) = (bytes()?, bytes()?);
    if words.next().is_some() {
        return Err(OperationError::More);
    }
    Ok(Operation { name, input, output })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn a_list_has_names_and_examples() {
        let list: Vec<_> = operations("identify - 010000ed\nfactorial 05000000 78000000\nnap").unwrap().collect();
        let names: Vec<_> = list.iter().map(|operation| operation.name).collect();
        assert_eq!(names, ["identify", "factorial", "nap"]);
        assert_eq!(list[0].input.unwrap().iter().count(), 0);
        assert_eq!(list[1].output.unwrap().iter().collect::<Vec<_>>(), [0x78, 0, 0, 0]);
        assert_eq!((list[2].input, list[2].output), (None, None));
    }

    #[test]
    fn a_list_with_a_mistake_is_refused_with_the_rule() {
        use OperationError::*;
        let many: String = (0..65).map(|n| std::format!("n{n}\n")).collect();
        for (text, error) in [
            ("", Count),
            ("a\n\nb", Name),
            ("Add", Name),
            ("add 0", Bytes),
            ("add --", Bytes),
            ("add 0g", Bytes),
            ("add - - -", More),
            ("add\nadd", Twice),
            (&many, Count),
        ] {
            assert_eq!(operations(text).err(), Some(error), "{text}");
        }
    }
}
