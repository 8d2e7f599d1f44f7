//! Registers with their values, as text and as JSON.

use std::fmt::Write;

use anyhow::Result;
use nook_abi::Printable;
use nook_bus::{RegisterAddr, field_names};
use nook_regs::{RegisterInfo, RegisterMap};
use serde_json::{Map, Value, json};

/// What is known of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It reads as this.
    Holds(u64),
    /// A driver read this last.
    Read(u64),
    /// A driver wrote this last, and has not read it since.
    Written(u64),
    /// Nothing: why.
    Nothing(&'static str),
}

impl Known {
    fn value(self) -> Option<u64> {
        match self {
            Known::Holds(value) | Known::Read(value) | Known::Written(value) => Some(value),
            Known::Nothing(_) => None,
        }
    }

    /// Returns what a value stands for in text, as long for each.
    fn mark(self) -> &'static str {
        match self {
            Known::Read(_) => "-> ",
            Known::Written(_) => "<- ",
            Known::Holds(_) | Known::Nothing(_) => "",
        }
    }
}

/// What is known of all registers of a map.
pub struct Dump {
    /// The device, for people.
    pub device: String,
    /// What else is said above the registers.
    pub about: String,
    /// The map.
    pub map: &'static RegisterMap,
    /// What is known of each register, each element of an array, in the order of the map.
    pub known: Vec<Known>,
}

/// A register, or elements of an array of which the same is known.
struct Row {
    info: &'static RegisterInfo,
    at: RegisterAddr,
    first: u32,
    last: u32,
    known: Known,
}

impl Row {
    fn name(&self) -> String {
        let Row { info, first, last, .. } = self;
        match (info.count, first == last) {
            (1, _) => info.name.to_owned(),
            (_, true) => format!("{}[{first}]", info.name),
            (_, false) => format!("{}[{first}..={last}]", info.name),
        }
    }
}

impl Dump {
    /// Returns each register with its index and what is known of it.
    fn each(&self) -> impl Iterator<Item = Row> {
        RegisterAddr::all_of(self.map).zip(&self.known).map(|((at, info), &known)| {
            let index = info.index_of(at.offset).unwrap_or_default();
            Row { info, at, first: index, last: index, known }
        })
    }

    /// Returns it as text: a line for each register, one for neighbours in an array of which the same is known.
    pub fn text(&self) -> String {
        let mut rows: Vec<Row> = Vec::new();
        for row in self.each() {
            match rows.last_mut() {
                Some(last) if last.info.name == row.info.name && last.known == row.known => last.last = row.last,
                _ => rows.push(row),
            }
        }
        let width = rows.iter().map(|row| row.name().len()).max().unwrap_or_default();
        let mut text = format!("# {}, register map `{}`\n", Printable(&self.device), self.map.name());
        for line in self.about.lines() {
            let _ = writeln!(text, "# {line}");
        }
        for row in &rows {
            let _ = writeln!(text, "{}", line(row, width).trim_end());
        }
        text
    }

    /// Returns it as JSON: an object for each register, each element of an array, with all of its fields.
    ///
    /// # Errors
    /// Never: it can be written.
    pub fn json(&self) -> Result<String> {
        let registers: Vec<Value> = self.each().map(|row| object(&row)).collect();
        let value = json!({
            "device": self.device, "map": self.map.name(), "about": self.about, "registers": registers,
        });
        Ok(serde_json::to_string_pretty(&value)? + "\n")
    }
}

fn line(row: &Row, width: usize) -> String {
    let RegisterAddr { bar, offset, width: of } = row.at;
    let place = format!("{bar} {offset:#07x}  {:<width$}  ", row.name());
    let Some(value) = row.known.value() else {
        let Known::Nothing(why) = row.known else { return place };
        return format!("{place}-  {why}");
    };
    let digits = 2 + 2 * of.bytes() as usize;
    let fields = match field_names(row.info, value) {
        names if names.is_empty() => names,
        names => format!("  [{names}]"),
    };
    format!("{place}{}{value:#0digits$x}{fields}", row.known.mark())
}

fn object(row: &Row) -> Value {
    let RegisterAddr { bar, offset, width } = row.at;
    let mut object = json!({ "name": row.name(), "bar": bar, "offset": offset, "width": width.bits() });
    let Some(value) = row.known.value() else {
        if let Known::Nothing(why) = row.known {
            object["unknown"] = why.into();
        }
        return object;
    };
    let fields = row.info.fields.iter().map(|field| (field.name.to_owned(), field.get(value).into()));
    object["value"] = value.into();
    object["fields"] = fields.collect::<Map<String, Value>>().into();
    match row.known {
        Known::Read(_) => object["last"] = "read".into(),
        Known::Written(_) => object["last"] = "written".into(),
        Known::Holds(_) | Known::Nothing(_) => {}
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    nook_regs::registers! {
        /// A few.
        static MAP = "sample", bar 0, 0x100 bytes;
        /// With fields.
        CTRL: u32 at 0x00, Rw, "1" {
            /// A number.
            SPEED = 8..=9,
            /// A bit.
            RST = 26,
        }
        /// Short.
        CMD: u8 at 0x08, Wo, "1";
        /// Several.
        TABLE: [u32; 4; 4] at 0x40, Rw, "2";
    }

    fn dump(known: &[Known]) -> Dump {
        Dump { device: "a sample".into(), about: "at rest".into(), map: &MAP, known: known.to_vec() }
    }

    #[test]
    fn neighbours_that_hold_the_same_have_one_line() {
        use Known::{Holds, Nothing, Read, Written};
        let known = [Holds(0x0400_0200), Nothing("write only"), Holds(0), Holds(0), Holds(7), Holds(0)];
        assert_eq!(
            dump(&known).text(),
            "# a sample, register map `sample`\n# at rest\n\
             0 0x00000  CTRL          0x04000200  [SPEED=0x2 RST]\n\
             0 0x00008  CMD           -  write only\n\
             0 0x00040  TABLE[0..=1]  0x00000000\n\
             0 0x00048  TABLE[2]      0x00000007\n\
             0 0x0004c  TABLE[3]      0x00000000\n"
        );
        let known = [Read(1), Written(2), Nothing("not accessed"), Written(0), Read(0), Read(0)];
        let text = dump(&known).text();
        for part in ["-> 0x00000001\n", "<- 0x02\n", "TABLE[0]      -  not accessed", "TABLE[2..=3]  -> 0x00000000\n"] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn json_has_every_field_of_every_element() {
        use Known::{Holds, Nothing, Written};
        let known = [Written(0x0400_0000), Nothing("write only"), Holds(0), Holds(0), Holds(7), Holds(0)];
        let value: Value = serde_json::from_str(&dump(&known).json().unwrap()).unwrap();
        let registers = value["registers"].as_array().unwrap();
        assert_eq!(registers[0]["fields"], json!({ "SPEED": 0, "RST": 1 }));
        assert_eq!((&registers[0]["last"], &registers[2]["last"]), (&json!("written"), &Value::Null));
        assert_eq!((&registers[1]["unknown"], &registers[1]["value"]), (&json!("write only"), &Value::Null));
        assert_eq!(
            (registers.len(), &registers[4]["name"], &registers[4]["offset"]),
            (6, &json!("TABLE[2]"), &json!(0x48))
        );
    }
}
