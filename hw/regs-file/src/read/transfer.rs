//! The DMA that a register starts.

use nook_regs::{Direction, Place, Region, Transfer, Width};

use super::{Result, bits, keep, some_bits};
use crate::table::{self, Table, Value};
use crate::{Wrong, spell::WINDOW};

const TRANSFER_KEYS: &[&str] = &["start", "length", "address_bits", "directions"];
const DIRECTION_KEYS: &[&str] = &["now", "places"];
const PLACE_KEYS: &[&str] = &["register", "in"];

pub fn read(value: &Value<'_>, width: Width) -> Result<Transfer> {
    let transfer = Table::of(value, "a `transfer`", TRANSFER_KEYS)?;
    let start = bits(transfer.need("start")?, "what starts a transfer, `start`,", width)?;
    let length = register(transfer.need("length")?, "the register that holds a transfer's `length`")?;
    let what = "how many bits an address in memory has, `address_bits`,";
    let address_bits = transfer.get("address_bits").map_or(Ok(64), |value| table::number(value, what, 1..=64))? as u32;
    let directions = table::items(transfer.need("directions")?, "a transfer's `directions`")?;
    let directions = directions.iter().map(|value| direction(value, width)).collect::<Result<Vec<_>>>()?;
    Ok(Transfer { start, length, address_bits, directions: directions.leak() })
}

fn register(value: &Value<'_>, what: &str) -> Result<&'static str> {
    Ok(keep(table::name(value, what, "")?))
}

fn direction(value: &Value<'_>, width: Width) -> Result<Direction> {
    let direction = Table::of(value, "a transfer's direction", DIRECTION_KEYS)?;
    let now = direction.get("now").map_or(Ok(nook_regs::Bits::ANY), |value| some_bits(value, width))?;
    let places = table::items(direction.need("places")?, "a direction's `places`")?;
    Ok(Direction { now, places: places.iter().map(place).collect::<Result<Vec<_>>>()?.leak() })
}

fn place(value: &Value<'_>) -> Result<Place> {
    const WHAT: &str = "where a place lies, `in`,";
    let place = Table::of(value, "a place of a transfer", PLACE_KEYS)?;
    let register = register(place.need("register")?, "the `register` that holds a place")?;
    let lies = place.need("in")?;
    let region = match (lies.get_ref().as_str(), lies.get_ref().as_array()) {
        (Some(WINDOW), _) => Region::Window,
        (_, Some(ends)) if ends.len() == 2 => {
            let first = table::number(&ends[0], WHAT, 0..=u64::MAX)?;
            Region::Device { first, last: table::number(&ends[1], WHAT, first..=u64::MAX)? }
        }
        _ => {
            let why =
                "where a place lies, `in`, is \"window\", or the first and the last address in the device: [0, 4095]";
            return Err(Wrong::new(lies.span(), why));
        }
    };
    Ok(Place { register, region })
}
