//! The misc class's options.

use std::path::PathBuf;

use nook_abi::misc::Bytes;

/// A call of an operation, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallArg {
    /// The operation's name.
    pub operation: String,
    /// Its input.
    pub input: Vec<u8>,
}

/// Parses `factorial:05000000`; without a colon there is no input.
fn call(text: &str) -> Result<CallArg, String> {
    let (operation, input) = text.split_once(':').unwrap_or((text, "-"));
    if operation.is_empty() {
        return Err("it should be like factorial:05000000: an operation, and its input in hexadecimal".into());
    }
    let input = Bytes::new(input).ok_or_else(|| format!("`{input}` is not bytes in hexadecimal, two digits each"))?;
    Ok(CallArg { operation: operation.to_owned(), input: input.iter().collect() })
}

/// Of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Does this operation of a misc driver with this input, bytes in hexadecimal, such as factorial:05000000, instead
    /// of the driver's own examples. Can be given more than once.
    #[arg(long, value_name = "OPERATION[:HEX]", value_parser = call)]
    pub call: Vec<CallArg>,

    /// Serves the operations of a misc driver to `nook-run call` and other clients at this Unix socket, until a signal
    /// or --duration ends the run; see docs/calls.md.
    #[arg(long, value_name = "PATH", conflicts_with = "call")]
    pub serve: Option<PathBuf>,
}

impl Args {
    /// Returns the first option of the misc class that was given.
    pub fn given(&self) -> Option<&'static str> {
        let Args { call, serve } = self;
        let all = [(!call.is_empty(), "--call"), (serve.is_some(), "--serve")];
        all.into_iter().find_map(|(given, option)| given.then_some(option))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_an_operation_and_bytes() {
        assert_eq!(call("nap"), Ok(CallArg { operation: "nap".into(), input: vec![] }));
        assert_eq!(call("add:05fF"), Ok(CallArg { operation: "add".into(), input: vec![5, 255] }));
        for wrong in ["", ":00", "add:", "add:0", "add:0g", "add:+1"] {
            assert!(call(wrong).is_err(), "{wrong}");
        }
    }
}
