//! The table that a declaration makes, for what watches a driver rather than for the driver itself.

use core::fmt;

use crate::{Guard, LinkBits, Needs, Ready, Transfer};

/// How wide an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Width {
    /// One byte.
    B1 = 1,
    /// Two bytes.
    B2 = 2,
    /// Four bytes.
    B4 = 4,
    /// Eight bytes.
    B8 = 8,
}

impl Width {
    /// Bytes.
    pub const fn bytes(self) -> u32 {
        self as u32
    }

    /// Bits.
    pub const fn bits(self) -> u32 {
        self.bytes() * 8
    }

    /// Returns whether `value` has no bits above this width.
    pub const fn holds(self, value: u64) -> bool {
        value & !self.all_ones() == 0
    }

    /// Returns all ones in this width: what a bus answers for a device that is gone.
    pub const fn all_ones(self) -> u64 {
        match self {
            Width::B1 => 0xff,
            Width::B2 => 0xffff,
            Width::B4 => 0xffff_ffff,
            Width::B8 => u64::MAX,
        }
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bit", self.bits())
    }
}

/// What a driver may do with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Ro,
    /// Write only.
    Wo,
    /// Both.
    Rw,
    /// In the map so that reports can name it, and never a driver's to touch: non-volatile memory's write path,
    /// indirect access windows, interrupt tables.
    Forbidden,
}

impl Access {
    /// Returns whether a read is allowed.
    pub const fn reads(self) -> bool {
        matches!(self, Access::Ro | Access::Rw)
    }

    /// Returns whether a write is allowed.
    pub const fn writes(self) -> bool {
        matches!(self, Access::Wo | Access::Rw)
    }
}

/// What reading does to the device, which decides how a read that was given to an aborted call is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEffect {
    /// Nothing: reading twice gives the same.
    None,
    /// Clears it; two lost values are merged by `or` (interrupt causes).
    ClearsOr,
    /// Clears it; two lost values are added (counters).
    ClearsAdd,
    /// The upper half of a counter in two registers of 8, 16 or 32 bits: reading it clears it and the lower half, which
    /// lies immediately before it, is read first and itself has no read effect. Two lost values are added, in twice
    /// the width.
    ClearsPair,
    /// Takes one entry out of a queue. It can be given back if the map says what is [ready](RegisterInfo::ready) while
    /// there is one.
    Pops,
    /// Something else: cannot be given back.
    Other,
}

/// What writing means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEffect {
    /// It holds the value.
    Plain,
    /// Ones clear bits.
    OneClears,
    /// An address that the device will use for DMA, which must lie in the window: all of it in a register of 64 bits,
    /// the low half in one of 32. (A window never crosses a multiple of 4 GiB.)
    DmaBase,
    /// The same, or 0, with which the device has no address.
    DmaBaseOrZero,
    /// The high half of such an address, in a register of 32 bits: the window's, or 0, which it is after a reset and
    /// with which the device has no address above 4 GiB.
    DmaBaseHigh,
    /// Makes the device look at memory. Its value tells the device how far it may look and means nothing else, so a
    /// driver may leave it to the host to write it when the call is over.
    Doorbell,
    /// It is an order: when the write is over, the device has done it, and drivers go on at once with what the device
    /// read or wrote in memory for it.
    Command,
    /// Writing any of these bits resets the device or a part of it.
    Reset(u64),
}

/// What becomes of a register when its device is restored to an earlier state. First everything that can be turned
/// off is; the device is reset; then registers are written, and what turns it on comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Nothing: it holds nothing that a driver put there, or nothing that writing it would put back.
    Nothing,
    /// It is configuration: what was last written is written again, in the order in which it was.
    Written,
    /// The device moves it: what it held when the state was kept is written.
    Held,
    /// Its bits are set and cleared by writing ones, here and elsewhere, and the device moves none of them: what it
    /// held when the state was kept is written. A mask of interrupts.
    Mask,
    /// It turns a part of the device on: 0 is written first of all, and what was last written after everything else.
    Switch,
    /// This is written first of all, so that the device is quiet: it masks interrupts.
    Quiet(u64),
    /// Like [`Written`](Restore::Written); and writing these bits resets all that is restored. They clear
    /// themselves when that is done, which is seen by reading.
    ResetBy(u64),
}

/// One bit or field of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// As in the manual.
    pub name: &'static str,
    /// The lowest bit.
    pub shift: u32,
    /// How many bits.
    pub bits: u32,
}

impl FieldInfo {
    /// Returns the field's value in `register`. For a field of a register that is in a map.
    pub const fn get(&self, register: u64) -> u64 {
        (register >> self.shift) & (u64::MAX >> (u64::BITS - self.bits))
    }
}

/// One register, or an array of equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterInfo {
    /// As in the manual.
    pub name: &'static str,
    /// The BAR that it is in.
    pub bar: u8,
    /// Bytes from the start of the BAR to the first.
    pub offset: u32,
    /// Of each.
    pub width: Width,
    /// How many (1 if it is not an array).
    pub count: u32,
    /// Bytes from one to the next.
    pub stride: u32,
    /// What a driver may do.
    pub access: Access,
    /// What reading does.
    pub read: ReadEffect,
    /// What writing does.
    pub write: WriteEffect,
    /// The value that is read does not depend on writes which are being held back, so reading it releases none
    /// (the posting read of a status register).
    pub posts_only: bool,
    /// Which register says that there is something to be popped, if reading [pops](ReadEffect::Pops).
    pub ready: Option<Ready>,
    /// While one of these bits is set, something outside keeps the device from working, as a link partner does that
    /// asks for a pause. 0 if it has none.
    pub held_up: u64,
    /// What must be set in it for the device to work.
    pub needs: Needs,
    /// What in it says that the device has a link.
    pub link: LinkBits,
    /// What looks at each value before it is written.
    pub guard: Option<Guard>,
    /// The DMA that it starts, with what stands in other registers.
    pub transfer: Option<Transfer>,
    /// What becomes of it when the device is restored to an earlier state.
    pub restore: Restore,
    /// Bits and fields.
    pub fields: &'static [FieldInfo],
    /// Where the manual describes it.
    pub section: &'static str,
}

impl RegisterInfo {
    /// Creates a register of BAR 0 without effects and fields, as [`registers!`](crate::registers) declares it.
    pub const fn declared(
        name: &'static str,
        offset: u32,
        width: Width,
        count: u32,
        stride: u32,
        access: Access,
        section: &'static str,
    ) -> Self {
        RegisterInfo {
            name,
            bar: 0,
            offset,
            width,
            count,
            stride,
            access,
            read: ReadEffect::None,
            write: WriteEffect::Plain,
            posts_only: false,
            ready: None,
            held_up: 0,
            needs: Needs::Nothing,
            link: LinkBits::Nothing,
            guard: None,
            transfer: None,
            restore: Restore::Nothing,
            fields: &[],
            section,
        }
    }

    /// Places the register in this BAR.
    pub const fn in_bar(mut self, bar: u8) -> Self {
        self.bar = bar;
        self
    }

    /// Sets the fields.
    pub const fn fields(mut self, fields: &'static [FieldInfo]) -> Self {
        self.fields = fields;
        self
    }

    /// Sets what reading it does.
    pub const fn read(mut self, effect: ReadEffect) -> Self {
        self.read = effect;
        self
    }

    /// Sets what writing it does.
    pub const fn write(mut self, effect: WriteEffect) -> Self {
        self.write = effect;
        self
    }

    /// Marks it as [`posts_only`](RegisterInfo::posts_only).
    pub const fn posts_only(mut self) -> Self {
        self.posts_only = true;
        self
    }

    /// Sets what says that there is something to be popped.
    pub const fn ready(mut self, ready: Ready) -> Self {
        self.ready = Some(ready);
        self
    }

    /// Sets the bits that say that something outside [holds the device up](RegisterInfo::held_up).
    pub const fn held_up(mut self, bits: u64) -> Self {
        self.held_up = bits;
        self
    }

    /// Returns the same, with what must be set in it for the device to work.
    pub const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// Returns the same, with what in it says that the device has a link.
    pub const fn link(mut self, link: LinkBits) -> Self {
        self.link = link;
        self
    }

    /// Returns the same, with what looks at each value before it is written.
    pub const fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Returns the same, with the DMA that it starts.
    pub const fn transfer(mut self, transfer: Transfer) -> Self {
        self.transfer = Some(transfer);
        self
    }

    /// Returns the same, with what becomes of it when the device is restored to an earlier state.
    pub const fn restore(mut self, restore: Restore) -> Self {
        self.restore = restore;
        self
    }

    /// Returns the first byte after the last element. It is inside the BAR once the register is in a map.
    pub const fn end(&self) -> u64 {
        let last = self.stride as u64 * self.count.saturating_sub(1) as u64;
        self.offset as u64 + last + self.width.bytes() as u64
    }

    /// Returns where each element begins, in bytes from the start of the BAR. For a register that is in a map.
    pub fn offsets(&self) -> impl Iterator<Item = u32> + use<> {
        let RegisterInfo { offset, stride, count, .. } = *self;
        (0..count).map(move |index| offset + stride * index)
    }

    /// Returns which element `offset` is, if it is the start of one.
    pub const fn index_of(&self, offset: u32) -> Option<u32> {
        let Some(from) = offset.checked_sub(self.offset) else { return None };
        let (index, rest) = match self.stride {
            0 => (0, from),
            stride => (from / stride, from % stride),
        };
        if rest == 0 && index < self.count { Some(index) } else { None }
    }
}

/// Where a BAR lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarSpace {
    /// Memory space.
    Memory,
    /// I/O space, which has no accesses of 64 bits and cannot be mapped.
    Io,
}

/// A BAR that a map describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// 0 to 5.
    pub index: u8,
    /// Memory or I/O.
    pub space: BarSpace,
    /// How long it is.
    pub len_bytes: u32,
}

impl Bar {
    /// Creates one in memory space.
    pub const fn memory(index: u8, len_bytes: u32) -> Self {
        Bar { index, space: BarSpace::Memory, len_bytes }
    }

    /// Creates one in I/O space.
    pub const fn io(index: u8, len_bytes: u32) -> Self {
        Bar { index, space: BarSpace::Io, len_bytes }
    }
}

/// The ids by which a PCI function says what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciId {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// A class of PCI functions, whose registers are the same for all makers: class, subclass and interface (PCI 3.0,
/// appendix D), as in `0x01_0802`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciClass(pub u32);

impl fmt::Display for PciClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "class:{:06x}", self.0)
    }
}

/// All that is known of a chip's registers. There are only maps that make sense: [`RegisterMap::new`] checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterMap {
    pub(crate) name: &'static str,
    pub(crate) devices: &'static [PciId],
    pub(crate) classes: &'static [PciClass],
    pub(crate) bars: &'static [Bar],
    pub(crate) registers: &'static [RegisterInfo],
}

impl RegisterMap {
    /// Returns what manifests call it.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the same map, for these devices.
    pub const fn for_devices(mut self, devices: &'static [PciId]) -> Self {
        self.devices = devices;
        self
    }

    /// Returns the same map, for all devices of these classes, too.
    pub const fn for_classes(mut self, classes: &'static [PciClass]) -> Self {
        self.classes = classes;
        self
    }

    /// Returns the devices that it describes. None, and no classes, if it was declared without: a part of a map, or a
    /// sample.
    pub const fn devices(&self) -> &'static [PciId] {
        self.devices
    }

    /// Returns the classes of which it describes every device.
    pub const fn classes(&self) -> &'static [PciClass] {
        self.classes
    }

    /// Returns the devices and classes as files and messages have them: `8086:100e`, `class:010802`.
    pub fn describes(&self) -> impl Iterator<Item = &'static dyn fmt::Display> {
        let devices = self.devices.iter().map(|id| -> &'static dyn fmt::Display { id });
        devices.chain(self.classes.iter().map(|class| -> &'static dyn fmt::Display { class }))
    }

    /// Returns whether it may be used with this device, whose class is `class`: it describes the one or the other, or
    /// was declared without.
    pub fn is_for(&self, vendor: u16, device: u16, class: u32) -> bool {
        let without = self.devices.is_empty() && self.classes.is_empty();
        without || self.devices.contains(&PciId { vendor, device }) || self.classes.contains(&PciClass(class))
    }

    /// Returns the BARs that it describes, ordered by index.
    pub const fn bars(&self) -> &'static [Bar] {
        self.bars
    }

    /// Returns its registers, in the order of the declaration.
    pub const fn registers(&self) -> &'static [RegisterInfo] {
        self.registers
    }

    /// Joins the registers of several maps in one table, for a map that is declared in more than one file.
    ///
    /// # Panics
    /// If `N` is not how many there are; in a static that is an error at compile time.
    pub const fn joined<const N: usize, const PARTS: usize>(parts: [&RegisterMap; PARTS]) -> [RegisterInfo; N] {
        let mut all = [RegisterInfo::declared("", 0, Width::B1, 1, 0, Access::Forbidden, ""); N];
        let mut len = 0;
        let mut part = 0;
        while part < PARTS {
            let mut i = 0;
            while i < parts[part].registers.len() {
                all[len] = parts[part].registers[i];
                len += 1;
                i += 1;
            }
            part += 1;
        }
        assert!(len == N, "the parts have fewer registers than the table");
        all
    }

    /// Returns the register with this name.
    pub fn named(&self, name: &str) -> Option<&'static RegisterInfo> {
        self.registers.iter().find(|info| info.name == name)
    }

    /// Finds the register of `bar` that starts at `offset`, and which element it is. It walks the table: code that asks
    /// on each access makes itself an index first.
    pub fn find(&self, bar: u8, offset: u32) -> Option<(&'static RegisterInfo, u32)> {
        let of_the_bar = self.registers.iter().filter(|info| info.bar == bar);
        of_the_bar.into_iter().find_map(|info| Some((info, info.index_of(offset)?)))
    }

    /// Returns how long a BAR is, if the map describes it.
    pub fn len_bytes(&self, bar: u8) -> Option<u32> {
        self.bars.iter().find(|found| found.index == bar).map(|found| found.len_bytes)
    }
}
