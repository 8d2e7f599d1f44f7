//! A register map, declared once.
//!
//! [`registers!`] turns one readable declaration of a chip's registers into two things: typed constants for the
//! driver that programs the chip, and a static table ([`RegisterMap`]) for everything that watches a driver do so
//! (the host's register policy, the tracer, the transaction layer, reports).
//!
//! This crate knows no chip, no bus and no driver, and it runs in guests: `no_std`, no dependencies, no `unsafe`.
//! Chips' maps live in their own crates (`e1000-regs`).
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod check;
mod declare;
mod guard;
mod link;
mod map;
mod needs;
mod ready;
mod transfer;

pub use check::{MAX_REACH_BYTES, MAX_REGISTERS, MapError, Rule};
pub use guard::{Bits, Guard, GuardPosition, GuardRule, GuardState, MAX_GUARD_STATES, Never, Then};
pub use link::LinkBits;
pub use map::{
    Access, Bar, BarSpace, FieldInfo, PciClass, PciId, ReadEffect, RegisterInfo, RegisterMap, Restore, Width,
    WriteEffect,
};
pub use needs::Needs;
pub use ready::Ready;
pub use transfer::{Direction, Place, Region, Transfer};

use core::marker::PhantomData;

mod sealed {
    pub trait Sealed {}
}

/// What a register can hold: `u8`, `u16`, `u32` or `u64`.
pub trait Value: Copy + sealed::Sealed {
    /// How wide an access to such a register is.
    const WIDTH: Width;
    /// Returns the value as the bus carries it.
    fn to_u64(self) -> u64;
    /// Converts a value that came from the bus; what is wider than the register is cut off.
    fn from_u64(value: u64) -> Self;
}

macro_rules! values {
    ($($value:ident $width:ident),*) => { $(
        impl sealed::Sealed for $value {}
        impl Value for $value {
            const WIDTH: Width = Width::$width;
            fn to_u64(self) -> u64 {
                u64::from(self)
            }
            fn from_u64(value: u64) -> Self {
                value as $value
            }
        }
    )* };
}

values!(u8 B1, u16 B2, u32 B4, u64 B8);

/// One register of a map, as a driver names it: its place, whether it is a doorbell, and, in its type, its width.
///
/// `V` is a [`Value`].
#[derive(Debug, PartialEq, Eq)]
pub struct Register<V> {
    offset: u32,
    is_doorbell: bool,
    width: PhantomData<V>,
}

impl<V> Clone for Register<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Register<V> {}

impl<V> Register<V> {
    /// Creates the register at `offset` bytes from the start of its BAR.
    pub const fn at(offset: u32) -> Self {
        Register { offset, is_doorbell: false, width: PhantomData }
    }

    /// The same, with the effect that writing it has: [`registers!`](crate::registers) says so.
    pub const fn with_effect(self, effect: WriteEffect) -> Self {
        Register { is_doorbell: matches!(effect, WriteEffect::Doorbell), ..self }
    }

    /// Returns whether the map calls it a doorbell: the host may write it when the call is over.
    #[inline(always)]
    pub const fn is_doorbell(self) -> bool {
        self.is_doorbell
    }

    /// Returns the offset in bytes from the start of the BAR.
    pub const fn offset(self) -> u32 {
        self.offset
    }
}

/// An array of equal registers, `stride` bytes apart.
#[derive(Debug, PartialEq, Eq)]
pub struct RegisterArray<V> {
    first: u32,
    stride: u32,
    count: u32,
    is_doorbell: bool,
    width: PhantomData<V>,
}

impl<V> Clone for RegisterArray<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for RegisterArray<V> {}

impl<V: Value> Register<V> {
    /// Returns how wide an access is.
    pub const fn width(self) -> Width {
        V::WIDTH
    }
}

impl<V> RegisterArray<V> {
    /// Creates `count` registers, the first at `first` bytes from the start of the BAR.
    pub const fn at(first: u32, stride: u32, count: u32) -> Self {
        RegisterArray { first, stride, count, is_doorbell: false, width: PhantomData }
    }

    /// The same, with the effect that writing one of them has: [`registers!`](crate::registers) says so.
    pub const fn with_effect(self, effect: WriteEffect) -> Self {
        RegisterArray { is_doorbell: matches!(effect, WriteEffect::Doorbell), ..self }
    }

    /// Returns the bytes from the start of the BAR to the first.
    pub const fn offset(self) -> u32 {
        self.first
    }

    /// Returns the bytes from one to the next.
    pub const fn stride(self) -> u32 {
        self.stride
    }

    /// Returns how many registers there are.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Returns register `index`; an index past the end names the last one, so that a driver's arithmetic mistake stays
    /// inside the array that it named.
    pub const fn get(self, index: u32) -> Register<V> {
        let last = self.count.saturating_sub(1);
        let offset = self.first + self.stride * if index < last { index } else { last };
        Register { offset, is_doorbell: self.is_doorbell, width: PhantomData }
    }
}

/// A field of more than one bit in a register that holds a `V`, which is a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<V = u32> {
    /// The lowest bit.
    pub shift: u32,
    /// How many bits.
    pub bits: u32,
    width: PhantomData<V>,
}

impl<V> Field<V> {
    /// Creates the field of `bits` bits from bit `shift` on. [`registers!`](crate::registers) checks that they are the
    /// register's.
    pub const fn new(shift: u32, bits: u32) -> Self {
        Field { shift, bits, width: PhantomData }
    }
}

macro_rules! fields {
    ($($value:ident)*) => { $(
        impl Field<$value> {
            /// Returns the field's bits, in place.
            pub const fn mask(self) -> $value {
                let all = if self.bits < $value::BITS { (1 << self.bits) - 1 } else { $value::MAX };
                all << self.shift
            }

            /// Moves `value` into place; what does not fit is cut off.
            pub const fn put(self, value: $value) -> $value {
                (value << self.shift) & self.mask()
            }

            /// Returns the field's value in `register`.
            pub const fn get(self, register: $value) -> $value {
                (register & self.mask()) >> self.shift
            }
        }
    )* };
}

fields!(u8 u16 u32 u64);
