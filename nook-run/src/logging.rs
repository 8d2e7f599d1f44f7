//! Log lines on standard error.

use std::fmt;
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::LogFormat;
use crate::nooks;

/// Sets up logging for the process: `NOOK_LOG` (as of tracing-subscriber's `EnvFilter`) overrides `verbose`.
pub fn set_up(verbose: u8, format: LogFormat) {
    let level = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    // The engine's own lines are for its authors.
    let default = format!("{level},wasmtime=warn,cranelift=warn,smoltcp=warn");
    let filter = EnvFilter::try_from_env("NOOK_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // If the log cannot be written (a full disk), that cannot be logged either.
    let builder = builder.log_internal_errors(false);
    // A second set-up in one process (tests) changes nothing.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(wants_colours()).event_format(Lines).try_init(),
    };
}

/// Colours are for a terminal whose user has not asked to be spared (<https://no-color.org>).
fn wants_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// ` INFO message key=value`; a driver's own lines have its name before the message.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let level = *event.metadata().level();
        if out.has_ansi_escapes() {
            write!(out, "\x1b[{}m{level:>5}\x1b[0m ", colour(level))?;
        } else {
            write!(out, "{level:>5} ")?;
        }
        if let Some(nook) = nooks::current() {
            write!(out, "[{nook}] ")?;
        }
        if let Some(driver) = parts.driver {
            write!(out, "{driver}: ")?;
        }
        writeln!(out, "{}{}", parts.message, parts.others)
    }
}

/// Returns a terminal's number for the level's colour: red, yellow, green, blue, magenta.
fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// What an event says.
#[derive(Default)]
struct Parts {
    driver: Option<String>,
    message: String,
    others: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "driver" => self.driver = Some(value.to_owned()),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.others += &format!(" {name}={value:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(colours: bool, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let builder = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(colours);
        let subscriber = builder.with_writer(move || writer.clone()).event_format(Lines).finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_has_no_module_path_and_a_drivers_line_has_its_name() {
        let text = lines(false, || {
            tracing::info!("link up, {} Mbit/s", 1000);
            tracing::warn!(target: "driver", driver = "e1000", "EEPROM checksum");
            tracing::debug!(frames = 3, "late");
        });
        assert_eq!(text, " INFO link up, 1000 Mbit/s\n WARN e1000: EEPROM checksum\nDEBUG late frames=3\n");
    }

    #[test]
    fn only_the_level_is_coloured() {
        let text = lines(true, || tracing::error!("no link"));
        assert_eq!(text, "\u{1b}[31mERROR\u{1b}[0m no link\n");
    }
}
