//! Log lines on standard error.

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

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
    // A second set-up in one process (tests) changes nothing.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.without_time().try_init(),
    };
}
