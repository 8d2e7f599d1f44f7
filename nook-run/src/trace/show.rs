//! `nook-run trace`: a trace as text, as JSON lines, and in the Trace Event format.

use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result, bail};
use nook_abi::{ArgInfo, Entry, Hostcall, Printable, Topic};
use nook_bus::{BusAccess, field_names, register_name};
use nook_regs::RegisterMap;
use serde_json::{Map, Value, json};

use super::args::{Format, Kind, TraceArgs, TraceCommand};
use super::diff::{Diff, diff};
use super::event::Event;
use super::file::{Head, Reader};
use crate::output;

/// Threads of the Trace Event format, by what they show.
const THREADS: [(u64, &str); 3] = [(1, "driver: calls"), (2, "device: registers"), (3, "device: interrupts")];

/// Prints a trace.
///
/// # Errors
/// If it is no trace, or damaged: then what stands before the damage was printed. If it cannot be printed. If two are
/// compared, and differ.
pub fn print(args: &TraceArgs) -> Result<()> {
    if let Some(TraceCommand::Diff(args)) = &args.command {
        let Diff { text, differs_after } = diff(args)?;
        output::print(&text)?;
        return differs_after.map_or(Ok(()), |count| bail!("the traces differ after {count} events"));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut damage = Ok(());
    let written =
        show(args, &mut out, &mut damage).and_then(|()| out.flush().context("cannot write to standard output"));
    match written {
        // A reader that has gone away has read enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => damage,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes a trace to `out`, and to `damage` why it is not whole.
fn show(args: &TraceArgs, out: &mut impl Write, damage: &mut Result<()>) -> Result<()> {
    let mut reader = Reader::open(args.file.as_deref().context("no trace was named")?)?;
    let mut printer = Printer::of(&reader.head, args.format)?;
    printer.head(&reader.head, out)?;
    loop {
        let (at_ns, event) = match reader.event() {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) => {
                *damage = Err(error);
                break;
            }
        };
        if is_asked_for(&args.only, &event) {
            printer.event(at_ns, &event, out)?;
        } else {
            printer.pass(at_ns, &event);
        }
    }
    printer.end(&args.only, out)?;
    Ok(())
}

/// Returns whether an event is of one of these kinds; if there are none, all are asked for.
pub fn is_asked_for(only: &[Kind], event: &Event) -> bool {
    only.is_empty() || only.contains(&Kind::of(event))
}

/// Prints the events of a trace, in order.
pub struct Printer {
    format: Format,
    map: &'static RegisterMap,
    /// When the first event came: times are counted from there.
    begin_ns: Option<u64>,
    /// The call that the driver is in.
    inside: Option<(u64, Entry, [u64; 3])>,
    /// Nothing was printed yet, in the Trace Event format.
    first: bool,
}

impl Printer {
    /// Creates one for the trace that has this head.
    ///
    /// # Errors
    /// If its register map is none.
    pub fn of(head: &Head, format: Format) -> Result<Self> {
        let map = nook_regs_file::read(&head.registers).context("the trace's register map is damaged")?.map;
        Ok(Printer { format, map, begin_ns: None, inside: None, first: true })
    }

    fn head(&mut self, head: &Head, out: &mut impl Write) -> io::Result<()> {
        let Head { driver, device, isolation, .. } = head;
        match self.format {
            Format::Text => {
                writeln!(
                    out,
                    "# {} drives {}, isolation {}",
                    Printable(driver),
                    Printable(device),
                    Printable(isolation)
                )
            }
            Format::Jsonl => {
                writeln!(
                    out,
                    "{}",
                    json!({ "kind": "trace", "driver": driver, "device": device, "isolation": isolation })
                )
            }
            Format::Chrome => {
                write!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
                let meta = |name: &str, thread: u64, of: &str| json!({ "ph": "M", "name": name, "pid": 1, "tid": thread, "args": { "name": of } });
                self.item(&meta("process_name", 0, &format!("{driver}, {device}, {isolation}")), out)?;
                THREADS.iter().try_for_each(|(thread, name)| self.item(&meta("thread_name", *thread, name), out))
            }
        }
    }

    fn end(&mut self, only: &[Kind], out: &mut impl Write) -> io::Result<()> {
        if self.format != Format::Chrome {
            return Ok(());
        }
        // A call that never came back.
        if let Some((begun_ns, entry, args)) = self.inside.take()
            && (only.is_empty() || only.contains(&Kind::Entry))
        {
            let args = arguments(entry.info().args, args);
            let item = json!({
                "ph": "B", "name": entry.name(), "cat": "entry", "pid": 1, "tid": 1, "ts": micros(begun_ns), "args": args,
            });
            self.item(&item, out)?;
        }
        writeln!(out, "\n]}}")
    }

    /// Takes note of an event that is not printed. Returns its time from the trace's beginning.
    pub fn pass(&mut self, at_ns: u64, event: &Event) -> u64 {
        let at_ns = at_ns - *self.begin_ns.get_or_insert(at_ns);
        match event {
            Event::Entered { entry, args } => self.inside = Some((at_ns, *entry, *args)),
            Event::Left(_) => self.inside = None,
            _ => {}
        }
        at_ns
    }

    fn event(&mut self, at_ns: u64, event: &Event, out: &mut impl Write) -> io::Result<()> {
        let inside = self.inside;
        let at_ns = self.pass(at_ns, event);
        match self.format {
            Format::Text => writeln!(out, "{}", self.text(at_ns, event, inside)),
            Format::Jsonl => {
                let mut line = Map::new();
                line.insert("at_ns".into(), at_ns.into());
                line.insert("kind".into(), Kind::of(event).name().into());
                if let (Event::Left(_), Some((begun_ns, entry, _))) = (event, inside) {
                    line.insert("entry".into(), entry.name().into());
                    line.insert("duration_ns".into(), (at_ns - begun_ns).into());
                }
                line.extend(self.parts(event));
                writeln!(out, "{}", Value::from(line))
            }
            Format::Chrome => self.chrome(at_ns, event, inside, out),
        }
    }

    /// Returns an event as a line, like [`event`](Self::event) prints it as text.
    pub fn line(&mut self, at_ns: u64, event: &Event) -> String {
        let inside = self.inside;
        let at_ns = self.pass(at_ns, event);
        self.text(at_ns, event, inside)
    }

    fn text(&self, at_ns: u64, event: &Event, inside: Option<(u64, Entry, [u64; 3])>) -> String {
        let kind = Kind::of(event).name();
        let indent = if self.inside.is_some() && !matches!(event, Event::Entered { .. }) { "  " } else { "" };
        let (seconds, nanos) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000);
        format!("{seconds:4}.{nanos:09} {kind:9} {indent}{}", self.words(at_ns, event, inside))
    }

    fn chrome(
        &mut self,
        at_ns: u64,
        event: &Event,
        inside: Option<(u64, Entry, [u64; 3])>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let kind = Kind::of(event);
        let (thread, scope) = match kind {
            Kind::Entry | Kind::Hostcall => (1, "t"),
            Kind::Register => (2, "t"),
            Kind::Interrupt => (3, "t"),
            Kind::Device | Kind::Driver => (1, "p"),
        };
        let item = match (event, inside) {
            // It is one item, once it is over.
            (Event::Entered { .. }, _) => return Ok(()),
            (Event::Left(_), Some((begun_ns, entry, args))) => {
                let mut args = arguments(entry.info().args, args);
                args.extend(self.parts(event));
                json!({
                    "ph": "X", "name": entry.name(), "cat": kind.name(), "pid": 1, "tid": thread,
                    "ts": micros(begun_ns), "dur": micros(at_ns - begun_ns), "args": args,
                })
            }
            _ => json!({
                "ph": "i", "s": scope, "name": self.title(at_ns, event), "cat": kind.name(), "pid": 1,
                "tid": thread, "ts": micros(at_ns), "args": self.parts(event),
            }),
        };
        self.item(&item, out)
    }

    fn item(&mut self, item: &Value, out: &mut impl Write) -> io::Result<()> {
        let before = if std::mem::take(&mut self.first) { "\n" } else { ",\n" };
        write!(out, "{before}{item}")
    }

    /// Returns what an event is called by a viewer, which sums up what has the same name.
    fn title(&self, at_ns: u64, event: &Event) -> String {
        match (event, self.register(event)) {
            (Event::Called { call, .. }, Some(register)) => format!("{call} {register}"),
            (Event::Called { call, .. }, None) => call.to_string(),
            (Event::Bus(BusAccess::Read { .. }), Some(register)) => format!("{register} read"),
            (Event::Bus(BusAccess::Write { .. }), Some(register)) => format!("{register} write"),
            _ => self.words(at_ns, event, None),
        }
    }

    /// Describes an event in a line; `inside` is the call in which it came.
    fn words(&self, at_ns: u64, event: &Event, inside: Option<(u64, Entry, [u64; 3])>) -> String {
        match event {
            Event::Entered { entry, args } => format!("{entry}({})", listed(entry.info().args, args)),
            Event::Left(outcome) => {
                let entry = inside.map_or("?", |(_, entry, _)| entry.name());
                let after_us = inside.map_or(0.0, |(begun_ns, ..)| (at_ns - begun_ns) as f64 / 1e3);
                match outcome {
                    Ok(result) => format!("{entry} = {}, after {after_us:.3} us", shown(*result)),
                    Err(why) => format!("{entry} ended after {after_us:.3} us: {}", Printable(why)),
                }
            }
            Event::Called { call, args, outcome } => {
                let text = hostcall(self.map, *call, *args);
                match outcome {
                    Ok(0) if call.info().result == nook_abi::Value::Unit => text,
                    Ok(result) => format!("{text} = {}", shown(*result)),
                    Err(why) => format!("{text} refused: {}", Printable(why)),
                }
            }
            Event::Bus(access) => access.describe(self.map),
            Event::Begun => "an instance begins".into(),
            Event::Ended => "the instance ended".into(),
            Event::RolledBack { entry, why } => format!("{entry} was rolled back: {}", Printable(why)),
            Event::Restored => "restored from a snapshot".into(),
        }
    }

    /// Returns which register an event is about.
    fn register(&self, event: &Event) -> Option<String> {
        match *event {
            Event::Called { call, args, .. } => register(self.map, call, args),
            Event::Bus(BusAccess::Read { bar, offset, .. } | BusAccess::Write { bar, offset, .. }) => {
                Some(register_name(self.map, bar, offset))
            }
            _ => None,
        }
    }

    /// Returns an event's parts by their names.
    fn parts(&self, event: &Event) -> Map<String, Value> {
        let mut parts = Map::new();
        let mut part = |name: &str, value: Value| {
            parts.insert(name.into(), value);
        };
        match event {
            Event::Entered { entry, args } => {
                part("entry", entry.name().into());
                part("args", arguments(entry.info().args, *args).into());
            }
            Event::Left(Ok(result)) => part("result", (*result).into()),
            Event::Left(Err(why)) => part("fault", why.as_str().into()),
            Event::Called { call, args, outcome } => {
                part("hostcall", call.info().name.into());
                part("args", arguments(call.info().args, *args).into());
                match outcome {
                    Ok(result) => part("result", (*result).into()),
                    Err(why) => part("refused", why.as_str().into()),
                }
            }
            Event::Bus(access) => match *access {
                BusAccess::Read { bar, offset, width, value } | BusAccess::Write { bar, offset, width, value } => {
                    let reads = matches!(access, BusAccess::Read { .. });
                    part("access", if reads { "read" } else { "write" }.into());
                    part("bar", bar.into());
                    part("offset", offset.into());
                    part("bytes", width.bytes().into());
                    part("value", value.into());
                    let fields = self.map.find(bar, offset).map(|(info, _)| field_names(info, value));
                    if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
                        part("fields", fields.into());
                    }
                }
                BusAccess::Irq(vectors) => part("vectors", vectors.into()),
                _ => part("what", access.describe(self.map).into()),
            },
            Event::Begun => part("what", "begun".into()),
            Event::Ended => part("what", "ended".into()),
            Event::Restored => part("what", "restored".into()),
            Event::RolledBack { entry, why } => {
                part("what", "rolled back".into());
                part("entry", entry.name().into());
                part("fault", why.as_str().into());
            }
        }
        if let Some(register) = self.register(event) {
            part("register", register.into());
        }
        parts
    }
}

/// Returns which register a hostcall is about.
fn register(map: &RegisterMap, call: Hostcall, [bar, offset, _]: [u64; 3]) -> Option<String> {
    let row = call.info();
    let is_about = row.topic == Topic::Register && row.args.len() >= 2;
    let (bar, offset) = (u8::try_from(bar).ok()?, u32::try_from(offset).ok()?);
    is_about.then(|| register_name(map, bar, offset))
}

/// Describes a hostcall with its arguments, and the register that it is about by its name.
pub fn hostcall(map: &RegisterMap, call: Hostcall, args: [u64; 3]) -> String {
    let row = call.info();
    let listed = match register(map, call, args) {
        Some(name) if row.args.len() > 2 => format!("{name}, {}", listed(&row.args[2..], &args[2..])),
        Some(name) => name,
        None => listed(row.args, &args),
    };
    format!("{call}({listed})")
}

fn arguments(names: &[ArgInfo], args: [u64; 3]) -> Map<String, Value> {
    names.iter().zip(args).map(|(arg, value)| (arg.name.to_owned(), value.into())).collect()
}

fn listed(names: &[ArgInfo], args: &[u64]) -> String {
    names.iter().zip(args).map(|(arg, &value)| format!("{} {}", arg.name, shown(value))).collect::<Vec<_>>().join(", ")
}

/// Small and negative numbers as such, others in hexadecimal.
fn shown(value: u64) -> String {
    match value as i64 {
        small @ -255..=9 => small.to_string(),
        _ => format!("{value:#x}"),
    }
}

/// Microseconds, as the Trace Event format has times.
fn micros(ns: u64) -> Value {
    (ns as f64 / 1e3).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is printed of a call that never came back.
    fn unfinished(only: &[Kind]) -> String {
        let map = nook_regs_file::write(&e1000_regs::MAP);
        let head = Head {
            abi: nook_abi::ABI_VERSION,
            driver: "sample 1".into(),
            device: "a device".into(),
            isolation: "sfi".into(),
            registers: map,
        };
        let (mut printer, mut out) = (Printer::of(&head, Format::Chrome).unwrap(), Vec::new());
        printer.pass(5, &Event::Entered { entry: Entry::Poll, args: [0; 3] });
        printer.end(only, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_call_that_never_came_back_is_printed_if_calls_are_asked_for() {
        assert!(unfinished(&[]).contains(r#""ph":"B""#) && unfinished(&[Kind::Entry]).contains(r#""name":"poll""#));
        assert!(!unfinished(&[Kind::Register]).contains("poll"));
    }
}
