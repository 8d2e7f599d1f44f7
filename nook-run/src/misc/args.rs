//! The misc class's options.

/// A call of an operation, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallArg {
    /// The operation's name.
    pub operation: String,
    /// Its input.
    pub input: Vec<u8>,
}

/// `factorial:05000000`; without a colon there is no input.
fn call(text: &str) -> Result<CallArg, String> {
    let (operation, digits) = text.split_once(':').unwrap_or((text, ""));
    if operation.is_empty() {
        return Err("it should be like factorial:05000000: an operation, and its input in hexadecimal".into());
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pairs = digits.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    });
    let input: Option<Vec<u8>> = pairs.collect();
    let input = input.ok_or_else(|| format!("`{digits}` is not bytes in hexadecimal, two digits each"))?;
    if input.len() > nook_abi::MAILBOX_BYTES {
        return Err(format!("{} bytes of input; the most is {}", input.len(), nook_abi::MAILBOX_BYTES));
    }
    Ok(CallArg { operation: operation.to_owned(), input })
}

/// Of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Of a misc driver: calls this operation with this input, bytes in hexadecimal, such as factorial:05000000. Can be
    /// given more than once. Without it, every operation is called with the driver's own example.
    #[arg(long, value_name = "OPERATION[:HEX]", value_parser = call)]
    pub call: Vec<CallArg>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_an_operation_and_bytes() {
        assert_eq!(call("nap"), Ok(CallArg { operation: "nap".into(), input: vec![] }));
        assert_eq!(call("add:05fF"), Ok(CallArg { operation: "add".into(), input: vec![5, 255] }));
        for wrong in ["", ":00", "add:0", "add:0g", "add:+1"] {
            assert!(call(wrong).is_err(), "{wrong}");
        }
        assert!(call(&format!("add:{}", "00".repeat(nook_abi::MAILBOX_BYTES + 1))).is_err());
    }
}
