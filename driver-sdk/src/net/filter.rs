//! [`Filter`]: what a filter is, and [`nook_filter!`](crate::nook_filter), which makes a crate one.

use nook_abi::net::{filter_direction, filter_verdict};
use nook_abi::{Addr, Status};

use crate::raw::{Page, View};

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the device to the host.
    Received,
    /// From the host to the device.
    Sending,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// It goes on.
    Pass = filter_verdict::PASS,
    /// It does not.
    Drop = filter_verdict::DROP,
}

/// A frame where it lies, in the window that driver, device and filter share. It is read in place and not changed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a>(View<'a>);

impl<'a> Frame<'a> {
    /// Wraps the frame in `bytes`, for tests.
    pub fn new(bytes: &'a [u8]) -> Self {
        Frame(View::of(bytes))
    }

    /// Returns its length, without the frame check sequence.
    pub fn len_bytes(&self) -> usize {
        self.0.len()
    }

    /// Returns the byte at `at`, if it has one.
    pub fn byte(&self, at: usize) -> Option<u8> {
        self.0.byte(at)
    }

    /// Returns the two bytes at `at` as a number, first byte on the wire highest.
    pub fn be16(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte(at)?, self.byte(at.checked_add(1)?)?]))
    }
}

/// A filter of frames. It has no device and makes no hostcall.
///
/// ```
/// use nook_sdk::{Direction, Filter, Frame, Status, Verdict};
///
/// /// Drops frames of the EtherTypes that its rules name.
/// struct Types([Option<u16>; 8]);
///
/// impl Filter for Types {
///     fn begin<'a>(rules: impl Iterator<Item = &'a str>) -> Result<Self, Status> {
///         let mut types = [None; 8];
///         for (at, rule) in rules.enumerate() {
///             let place = types.get_mut(at).ok_or(Status::NoMemory)?;
///             *place = Some(u16::from_str_radix(rule, 16).map_err(|_| Status::Invalid)?);
///         }
///         Ok(Types(types))
///     }
///
///     fn frame(&mut self, _: Direction, frame: &Frame<'_>) -> Verdict {
///         if frame.be16(12).is_some_and(|it| self.0.contains(&Some(it))) { Verdict::Drop } else { Verdict::Pass }
///     }
/// }
///
/// nook_sdk::nook_filter! { Types, name: "types" }
///
/// let mut filter = Types::begin(["86dd"].into_iter()).unwrap();
/// let frame = [&[0; 12][..], &[0x86, 0xdd]].concat();
/// assert_eq!(filter.frame(Direction::Received, &Frame::new(&frame)), Verdict::Drop);
/// ```
pub trait Filter: Sized {
    /// Begins with the operator's rules. A rule that is not understood is refused.
    fn begin<'a>(rules: impl Iterator<Item = &'a str>) -> Result<Self, Status>;

    /// Decides about a frame that passes.
    fn frame(&mut self, direction: Direction, frame: &Frame<'_>) -> Verdict;
}

/// One filter and where its entries arrive. Before a `begin` that succeeded, every frame is dropped.
pub struct FilterInstance<F>(Option<(Page, F)>);

impl<F: Filter> FilterInstance<F> {
    /// Creates an instance that has not begun.
    #[allow(clippy::new_without_default)] // For a static.
    pub const fn new() -> Self {
        FilterInstance(None)
    }

    /// Serves the entry `begin` of a filter.
    ///
    /// # Safety
    /// `host_page` is the address of a [`HostPage`](nook_abi::HostPage) whose window and mailbox are valid for reads
    /// for as long as the instance is used, on one thread; the host does not write to the mailbox during this call.
    pub unsafe fn begin(&mut self, host_page: Addr, rules_len_bytes: u32) -> i32 {
        // SAFETY: the caller vouches for the page and what it names, for as long as the instance is used, and for one
        // thread.
        let begun = unsafe { Page::new(host_page) }.and_then(|page| {
            let filter = page.with_mail(rules_len_bytes as usize, |mail| {
                let rules = core::str::from_utf8(mail).map_err(|_| Status::Invalid)?;
                F::begin(rules.lines().map(str::trim).filter(|rule| !rule.is_empty()))
            });
            Ok((page, filter.flatten()?))
        });
        match begun {
            Ok(begun) => {
                self.0 = Some(begun);
                0
            }
            Err(status) => status.code(),
        }
    }

    /// Serves the entry `begin` of a filter. What is not in the window is no frame, and does not pass.
    pub fn frame(&mut self, direction: u32, offset: u32, len_bytes: u32) -> u32 {
        let Some((page, filter)) = &mut self.0 else { return filter_verdict::DROP };
        let direction = match direction {
            filter_direction::RECEIVED => Direction::Received,
            filter_direction::SENDING => Direction::Sending,
            _ => return filter_verdict::DROP,
        };
        let Ok((span, _)) = page.window(offset, len_bytes) else { return filter_verdict::DROP };
        filter.frame(direction, &Frame(span.view())) as u32
    }
}

/// Makes a crate a filter: `nook_filter! { Type, name: "…" }`, where `Type` implements [`Filter`].
///
/// The keys are those of the manifest that a filter has: `name`, and `heap_bytes` if it wants one. What comes out is as
/// for [`nook_driver!`](crate::nook_driver). A panic is a trap without a message.
#[macro_export]
macro_rules! nook_filter {
    ($filter:ty, $($key:ident: $value:literal),+ $(,)?) => {
        $crate::__nook_manifest! { filter, $($key: $value),+ }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::__nook_export_filter_entries;

            static NOOK_FILTER: $crate::export_support::Global<$crate::FilterInstance<$filter>> =
                $crate::export_support::Global::new($crate::FilterInstance::new());

            $crate::abi::filter_entries!(__nook_export_filter_entries);

            #[panic_handler]
            fn panic(_: &::core::panic::PanicInfo<'_>) -> ! {
                ::core::arch::wasm32::unreachable()
            }
        };
    };
}

/// One exported function for each row of the table of a filter's entries.
#[doc(hidden)]
#[macro_export]
macro_rules! __nook_export_filter_entries {
    ($({ $doc:literal } $context:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        #[allow(unused_imports)]
        use $crate::abi::Addr;
        $(
            #[unsafe(export_name = ::core::concat!("nook_", ::core::stringify!($name)))]
            extern "C" fn $name($($arg: $ty),*) -> $result {
                // SAFETY: a filter's entries never overlap, and the host vouches for the addresses that it passes.
                #[allow(unused_unsafe)]
                unsafe { NOOK_FILTER.get().$name($($arg),*) }
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestHost;
    use std::string::{String, ToString};

    crate::nook_filter! { First, name: "sample" }

    /// Drops what begins with the byte that its one rule names.
    struct First(u8);

    impl Filter for First {
        fn begin<'a>(mut rules: impl Iterator<Item = &'a str>) -> Result<Self, Status> {
            rules.next().and_then(|rule| rule.parse().ok()).map(First).ok_or(Status::Invalid)
        }

        fn frame(&mut self, _: Direction, frame: &Frame<'_>) -> Verdict {
            if frame.byte(0) == Some(self.0) { Verdict::Drop } else { Verdict::Pass }
        }
    }

    fn begin(host: &TestHost, rules: &str) -> (FilterInstance<First>, i32) {
        host.mail(rules.as_bytes());
        let mut filter = FilterInstance::new();
        // SAFETY: the page and what it names is leaked memory.
        let code = unsafe { filter.begin(host.page(), rules.len() as u32) };
        (filter, code)
    }

    #[test]
    fn a_filter_reads_frames_where_they_lie() {
        let host = TestHost::new();
        host.window().write(host.page_now().window_iova + 64, 0x2a);
        let (mut filter, code) = begin(&host, "\n 42 \n");
        assert_eq!(code, 0);
        assert_eq!((filter.frame(0, 64, 60), filter.frame(1, 68, 60)), (filter_verdict::DROP, filter_verdict::PASS));
    }

    #[test]
    fn what_is_no_frame_does_not_pass() {
        let host = TestHost::new();
        let (mut filter, _) = begin(&host, "42");
        let len = host.page_now().window_len_bytes as u32;
        assert_eq!(filter.frame(0, len - 60, 60), filter_verdict::PASS);
        for (direction, offset, len_bytes) in [(2, 0, 60), (0, len - 59, 60), (0, u32::MAX, 1), (0, 0, u32::MAX)] {
            assert_eq!(filter.frame(direction, offset, len_bytes), filter_verdict::DROP);
        }
        assert_eq!(FilterInstance::<First>::new().frame(0, 0, 60), filter_verdict::DROP);
    }

    #[test]
    fn rules_that_are_not_understood_are_refused() {
        let host = TestHost::new();
        assert_eq!(begin(&host, "many").1, Status::Invalid.code());
        host.mail(&[0xff]);
        // SAFETY: the page and what it names is leaked memory, and the test stays on its thread.
        let code = unsafe { FilterInstance::<First>::new().begin(host.page(), 1) };
        assert_eq!(code, Status::Invalid.code());
    }

    #[test]
    fn the_macro_writes_a_manifest_of_a_filter() {
        let manifest = nook_abi::Manifest::parse(MANIFEST.as_bytes()).unwrap();
        assert_eq!((manifest.class(), manifest.name), (nook_abi::Class::Filter, "sample"));
    }

    #[test]
    fn a_frame_has_no_bytes_past_its_end() {
        let bytes: String = "frame".to_string();
        let frame = Frame::new(bytes.as_bytes());
        assert_eq!((frame.len_bytes(), frame.be16(3)), (5, Some(0x6d65)));
        assert_eq!((frame.byte(5), frame.be16(4), frame.be16(usize::MAX)), (None, None, None));
    }
}
