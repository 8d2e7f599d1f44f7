//! `nook-run trace diff`: where two runs part.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::Result;
use nook_abi::Hostcall;

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

    /// Adds a few lines, from this one on. Damage is one.
    fn lines(&mut self, mark: char, first: Option<(Event, String)>, text: &mut String) {
        let mut next = Ok(first);
        for _ in 0..AROUND {
            let (line, over) = match next {
                Ok(Some((_, line))) => (line, false),
                Ok(None) => ("(its end)".into(), true),
                Err(error) => (format!("({error})"), true),
            };
            *text += &format!("{mark} {line}\n");
            if over {
                return;
            }
            next = self.event();
        }
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
                old.lines('-', a, &mut text);
                new.lines('+', b, &mut text);
                return Ok(Diff { text, differs_after: Some(count) });
            }
        }
    }
}

/// Returns whether two events are the same, but for times: what the clock said, and until when a timer was set.
fn is_same(a: &Event, b: &Event) -> bool {
    let timed = |event: &Event| match event {
        Event::Called { call: Hostcall::ClockNs, args, outcome: Ok(_) } => {
            Event::Called { call: Hostcall::ClockNs, args: *args, outcome: Ok(0) }
        }
        Event::Called { call: Hostcall::TimerSet, args: [due_ns, ..], outcome } => {
            // 0 sets none.
            let args = [(*due_ns).min(1), 0, 0];
            Event::Called { call: Hostcall::TimerSet, args, outcome: outcome.clone() }
        }
        event => event.clone(),
    };
    timed(a) == timed(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(call: Hostcall, arg: u64, outcome: Result<u64, String>) -> Event {
        Event::Called { call, args: [arg, 0, 0], outcome }
    }

    #[test]
    fn times_are_not_compared_and_what_is_asked_of_them_is() {
        let same = |call, a, b| is_same(&called(call, a, Ok(0)), &called(call, b, Ok(0)));
        assert!(is_same(&called(Hostcall::ClockNs, 0, Ok(5)), &called(Hostcall::ClockNs, 0, Ok(7))));
        assert!(same(Hostcall::TimerSet, 500, 700) && !same(Hostcall::TimerSet, 500, 0));
        assert!(!same(Hostcall::DelayNs, 10_000, 10_000_000) && !same(Hostcall::PollSchedule, 0, 1));
        let refused = called(Hostcall::SleepNs, 5, Err("no".into()));
        assert!(!is_same(&refused, &called(Hostcall::SleepNs, 5, Ok(0))));
    }
}
