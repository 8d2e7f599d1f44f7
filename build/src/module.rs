//! Reads a driver's name out of a compiled module: the custom section `nook.manifest` holds lines `key = value`.
//!
//! Only name and class are read, to name the file and to know what it is for, and of C drivers what they import. The
//! runtime checks the whole manifest before it runs anything; it cannot be asked here, for it is not built yet when the
//! first driver is.

use anyhow::{Context, Result, bail, ensure};

/// The custom section in which a driver carries its manifest.
const SECTION: &str = "nook.manifest";
/// "\0asm", then version 1 (WebAssembly core specification, section 5.5.16, modules).
const HEADER: [u8; 8] = [0, b'a', b's', b'm', 1, 0, 0, 0];
/// The id of custom sections (same specification, section 5.5.3).
const CUSTOM: u8 = 0;
/// The id of the import section (same section).
const IMPORT: u8 = 2;
/// An import of a function (section 5.5.5).
const FUNCTION: u8 = 0;

/// Returns the driver's name from its manifest: lower-case letters, digits, `-` and `_`, as it becomes a file's name.
///
/// # Errors
/// If the module cannot be read, is no driver, or has a name that is not allowed.
pub fn driver_name(module: &[u8]) -> Result<String> {
    let name = value(module, "name")?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.chars().all(allowed),
        "its manifest names it `{name}`: use lower-case letters, digits, `-` and `_` only"
    );
    Ok(name.to_string())
}

/// Returns the class of the driver from its manifest.
///
/// # Errors
/// If the module cannot be read, or is no driver.
pub fn class(module: &[u8]) -> Result<&str> {
    value(module, "class")
}

/// Returns whether it is a driver of a device, not a filter beside one.
///
/// # Errors
/// As [`class`].
pub fn drives_a_device(module: &[u8]) -> Result<bool> {
    Ok(class(module)? != "filter")
}

/// Returns what its manifest has for a key.
fn value<'a>(module: &'a [u8], wanted: &str) -> Result<&'a str> {
    let section = custom_section(module, SECTION)?.with_context(|| {
        format!("it has no custom section `{SECTION}`: a driver exports itself with the SDK's macro, which writes one")
    })?;
    let text = std::str::from_utf8(section).context("its manifest is not UTF-8")?;
    let mut pairs = text.lines().filter_map(|line| line.split_once('='));
    let value = pairs.find_map(|(key, value)| (key.trim() == wanted).then_some(value.trim()));
    value.with_context(|| format!("its manifest has no line `{wanted} = ...`"))
}

/// Returns the module and name of each function that is imported.
///
/// # Errors
/// If the module cannot be read, or imports what is no function.
pub fn imports(module: &[u8]) -> Result<Vec<(String, String)>> {
    let Some((_, body)) = sections(module)?.into_iter().find(|(id, _)| *id == IMPORT) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let (count, mut rest) = number(body).context("the import section is cut short")?;
    for _ in 0..count {
        let (from, after) = sized(rest).context("an import is cut short")?;
        let (name, after) = sized(after).context("an import is cut short")?;
        let [from, name] = [from, name].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let (&kind, after) = after.split_first().context("an import is cut short")?;
        ensure!(kind == FUNCTION, "`{from}.{name}` is imported, which is no function");
        rest = number(after).context("an import is cut short")?.1;
        found.push((from, name));
    }
    Ok(found)
}

/// Returns the content of the first custom section with this name.
fn custom_section<'a>(module: &'a [u8], wanted: &str) -> Result<Option<&'a [u8]>> {
    for (_, body) in sections(module)?.into_iter().filter(|(id, _)| *id == CUSTOM) {
        let (name, content) = sized(body).context("a custom section's name is cut short")?;
        if name == wanted.as_bytes() {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

/// Returns the sections of a module: ids and contents.
fn sections(module: &[u8]) -> Result<Vec<(u8, &[u8])>> {
    let Some(mut rest) = module.strip_prefix(&HEADER) else {
        bail!("it is not a WebAssembly core module, version 1");
    };
    let mut sections = Vec::new();
    while let Some((&id, after)) = rest.split_first() {
        let (body, after) = sized(after).context("a section of the module is cut short")?;
        sections.push((id, body));
        rest = after;
    }
    Ok(sections)
}

/// Splits off a byte string that its length precedes; `None` if the bytes end before it does.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Splits off a number in LEB128; `None` if the bytes end before it does.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number: u64 = 0;
    // A u32 takes five groups of seven bits at most.
    for (index, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a module of the given sections; lengths below 128 only.
    fn module(sections: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for (id, body) in sections {
            bytes.extend([*id, u8::try_from(body.len()).unwrap()]);
            bytes.extend(*body);
        }
        bytes
    }

    fn custom(name: &str, content: &str) -> Vec<u8> {
        let mut body = vec![u8::try_from(name.len()).unwrap()];
        body.extend(name.as_bytes());
        body.extend(content.as_bytes());
        body
    }

    fn error(module: &[u8]) -> String {
        format!("{:#}", driver_name(module).unwrap_err())
    }

    #[test]
    fn the_name_is_found_among_other_sections_and_keys() {
        let manifest = custom("nook.manifest", "abi = 1.0\nname = e1000\nclass = net\n");
        let other = custom("producers", "name = wrong");
        assert_eq!(driver_name(&module(&[(1, &[0]), (0, &other), (0, &manifest)])).unwrap(), "e1000");
    }

    #[test]
    fn a_length_of_several_bytes_is_read() {
        let padding = "x".repeat(300);
        let body = custom("nook.manifest", &format!("name = e1000\nnote = {padding}\n"));
        let mut bytes = HEADER.to_vec();
        bytes.push(CUSTOM);
        bytes.extend([(body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8]);
        bytes.extend(&body);
        assert_eq!(driver_name(&bytes).unwrap(), "e1000");
    }

    #[test]
    fn what_is_not_a_module_is_refused() {
        assert!(error(b"").contains("not a WebAssembly core module"));
        assert!(error(b"\x7fELF....").contains("not a WebAssembly core module"));
    }

    #[test]
    fn a_module_cut_anywhere_is_an_error_and_never_a_panic() {
        let whole = module(&[(1, &[0]), (0, &custom("nook.manifest", "name = e1000\n"))]);
        for length in 0..whole.len() {
            assert!(driver_name(&whole[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn an_endless_length_is_an_error() {
        assert!(error(&[&HEADER[..], &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat()).contains("cut short"));
    }

    #[test]
    fn a_module_without_a_manifest_or_a_name_says_which() {
        assert!(error(&module(&[(1, &[0])])).contains("no custom section `nook.manifest`"));
        assert!(error(&module(&[(0, &custom("nook.manifest", "class = net\n"))])).contains("no line `name"));
    }

    #[test]
    fn a_filter_drives_no_device() {
        let of = |class: &str| drives_a_device(&module(&[(0, &custom("nook.manifest", class))])).ok();
        assert_eq!([of("class = net\n"), of("class = filter\n"), of("name = x\n")], [Some(true), Some(false), None]);
    }

    #[test]
    fn a_name_that_would_leave_its_folder_is_refused() {
        for name in ["../e1000", "E1000", "", "a b"] {
            let manifest = custom("nook.manifest", &format!("name = {name}\n"));
            assert!(error(&module(&[(0, &manifest)])).contains("lower-case letters"), "{name}");
        }
    }
}
