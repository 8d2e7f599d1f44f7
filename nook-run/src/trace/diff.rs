//! `nook-run trace diff`: where two runs part.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::Result;
use nook_abi::Topic;

use super::args::{DiffArgs, Format, Kind};
use super::event::Event;
use super::file::Reader;
use super::show::{Printer, is_asked_for};

/// Events that are shown before the first that differs, and from it on.
const AROUND: usize = 5;

/// What was found.
pub struct Diff {
    /// In lines, to be printed.
    pub text: String,
    /// After how many events they differ, if they do.
    pub differs_after: Option<u64>,
}

/// One of the two traces.
struct Side<'a> {
    reader: Reader,
    printer: Printer,
    only: &'a [Kind],
}

impl<'a> Side<'a> {
    fn open(path: &Path, only: &'a [Kind]) -> Result<Self> {
        let reader = Reader::open(path)?;
        let printer = Printer::of(&reader.head, Format::Text)?;
        Ok(Side { reader, printer, only })
    }

    /// Returns the next event that is compared, and its line.
    fn event(&mut self) -> Result<Option<(Event, String)>> {
        while let Some((at_ns, event)) = self.reader.event()? {
            let line = self.printer.line(at_ns, &event);
            if is_asked_for(self.only, &event) {
                return Ok(Some((event, line)));
            }
        }
        Ok(None)
    }

    /// Adds a few lines, from this one on.
    fn lines(&mut self, mark: char, first: Option<(Event, String)>, text: &mut String) -> Result<()> {
        let mut next = first;
        for _ in 0..AROUND {
            let Some((_, line)) = next else {
                *text += &format!("{mark} (its end)\n");
                return Ok(());
            };
            *text += &format!("{mark} {line}\n");
            next = self.event()?;
        }
        Ok(())
    }
}

/// Compares two traces, but for times.
///
/// # Errors
/// If one of them is no trace, or is damaged before they differ.
pub fn diff(args: &DiffArgs) -> Result<Diff> {
    let (mut old, mut new) = (Side::open(&args.old, &args.only)?, Side::open(&args.new, &args.only)?);
    let (mut count, mut before) = (0, VecDeque::new());
    loop {
        let pair = (old.event()?, new.event()?);
        match pair {
            (None, None) => {
                let text = format!("the same: {count} events\n");
                return Ok(Diff { text, differs_after: None });
            }
            (Some((a, line)), Some((b, _))) if is_same(&a, &b) => {
                if before.len() == AROUND {
                    before.pop_front();
                }
                before.push_back(line);
                count += 1;
            }
            (a, b) => {
                let mut text = format!("the same for {count} events, and then:\n");
                before.iter().for_each(|line| text += &format!("  {line}\n"));
                old.lines('-', a, &mut text)?;
                new.lines('+', b, &mut text)?;
                return Ok(Diff { text, differs_after: Some(count) });
            }
        }
    }
}

/// Returns whether two events are the same, but for times: of a hostcall about time only that it was made counts.
fn is_same(a: &Event, b: &Event) -> bool {
    match (a, b) {
        (Event::Called { call: one, .. }, Event::Called { call: other, .. }) if one.info().topic == Topic::Time => {
            one == other
        }
        _ => a == b,
    }
}
