//! Controller properties (section 3.1.3), and the doorbells (PCIe 3.1.2).

use nook_regs::{PciClass, PciId};

use crate::{CLASS, DEVICE_MODEL, DEVICE_QEMU, VENDOR_MODEL, VENDOR_QEMU};

/// How many queues have doorbells in [`MAP`], the admin queue among them.
pub const QUEUES: u32 = 512;
/// The unit of `CAP::TO`, in nanoseconds.
pub const TIMEOUT_STEP_NS: u64 = 500_000_000;

nook_regs::registers! {
    /// Every register that a driver, a tracer or a report may meet. What is not in it (the MSI-X table above all) is
    /// nobody's to touch.
    pub static MAP = "nvme" for &[
        PciId { vendor: VENDOR_QEMU, device: DEVICE_QEMU },
        PciId { vendor: VENDOR_MODEL, device: DEVICE_MODEL },
    ], classes &[PciClass(CLASS)], bar 0, 0x4000 bytes;

    /// Capabilities.
    CAP: u64 at 0x00, Ro, "3.1.3.1" {
        /// Entries that an I/O queue may have at most, less one.
        MQES = 0..=15,
        /// Queues must lie in one piece.
        CQR = 16,
        /// Arbitration besides round robin.
        AMS = 17..=18,
        /// How long `CSTS::RDY` may take to follow `CC::EN`, in units of 500 ms.
        TO = 24..=31,
        /// Doorbells are 4 << this many bytes apart.
        DSTRD = 32..=35,
        /// The subsystem can be reset.
        NSSRS = 36,
        /// Command sets: bit 0 is NVM, bit 6 those of Identify, bit 7 none.
        CSS = 37..=44,
        /// Has boot partitions.
        BPS = 45,
        /// Whose power a reset concerns.
        CPS = 46..=47,
        /// Smallest page: 4096 << this.
        MPSMIN = 48..=51,
        /// Largest page: 4096 << this.
        MPSMAX = 52..=55,
        /// Has a persistent memory region.
        PMRS = 56,
        /// Has a memory buffer.
        CMBS = 57,
        /// Subsystem shutdown.
        NSSS = 58,
        /// How the controller says that it is ready.
        CRMS = 59..=60,
    }
    /// Version.
    VS: u32 at 0x08, Ro, "3.1.3.2" {
        /// Tertiary.
        TER = 0..=7,
        /// Minor.
        MNR = 8..=15,
        /// Major.
        MJR = 16..=31,
    }
    /// Masks interrupt vectors: ones set bits. Not with MSI-X.
    INTMS: u32 at 0x0c, Rw, "3.1.3.3", restore(Quiet(0xffff_ffff));
    /// Opens interrupt vectors: ones clear bits. Not with MSI-X.
    INTMC: u32 at 0x10, Rw, "3.1.3.4", restore(Nothing);
    /// Configuration. Clearing `EN` resets the controller: queues, and features that are not saved.
    CC: u32 at 0x14, Rw, "3.1.3.5", restore(Switch) {
        /// Takes commands.
        EN = 0,
        /// Command set: 0 is NVM, 6 all that Identify names, 7 none.
        CSS = 4..=6,
        /// Page: 4096 << this.
        MPS = 7..=10,
        /// Arbitration: 0 is round robin.
        AMS = 11..=13,
        /// Shutdown notification: 1 is normal, 2 abrupt.
        SHN = 14..=15,
        /// Bytes of an I/O submission queue's entry: 1 << this.
        IOSQES = 16..=19,
        /// Bytes of an I/O completion queue's entry: 1 << this.
        IOCQES = 20..=23,
        /// Ready without waiting for media.
        CRIME = 24,
    }
    /// Status.
    CSTS: u32 at 0x1c, Ro, "3.1.3.6" {
        /// Follows `CC::EN`.
        RDY = 0,
        /// Failed for good: only a reset helps.
        CFS = 1,
        /// Shutdown: 0 is none, 1 under way, 2 complete.
        SHST = 2..=3,
        /// The subsystem was reset; writing 1 clears it.
        NSSRO = 4,
        /// Processing is paused.
        PP = 5,
        /// What shuts down is the subsystem.
        ST = 6,
    }
    /// Resets the subsystem, other controllers' part of it too.
    NSSR: u32 at 0x20, Forbidden, "3.1.3.7";
    /// Lengths of the admin queues.
    AQA: u32 at 0x24, Rw, "3.1.3.8", restore(Written) {
        /// Entries of the submission queue, less one.
        ASQS = 0..=11,
        /// Entries of the completion queue, less one.
        ACQS = 16..=27,
    }
    /// Admin submission queue: address; a multiple of the page.
    ASQ: u64 at 0x28, Rw, "3.1.3.9", write(DmaBase), restore(Written);
    /// Admin completion queue: address; a multiple of the page.
    ACQ: u64 at 0x30, Rw, "3.1.3.10", write(DmaBase), restore(Written);
    /// Controller memory buffer: where. Forbidden, as all of it: it is memory that nobody has laid out.
    CMBLOC: u32 at 0x38, Forbidden, "3.1.3.11";
    /// Controller memory buffer: how long.
    CMBSZ: u32 at 0x3c, Forbidden, "3.1.3.12";
    /// Boot partitions: what there is. Forbidden, as all of them: they hold firmware.
    BPINFO: u32 at 0x40, Forbidden, "3.1.3.13";
    /// Boot partitions: which part is read.
    BPRSEL: u32 at 0x44, Forbidden, "3.1.3.14";
    /// Boot partitions: where it is read to.
    BPMBL: u64 at 0x48, Forbidden, "3.1.3.15";
    /// Controller memory buffer: address space.
    CMBMSC: u64 at 0x50, Forbidden, "3.1.3.16";
    /// Controller memory buffer: status.
    CMBSTS: u32 at 0x58, Forbidden, "3.1.3.17";
    /// Controller memory buffer: elasticity.
    CMBEBS: u32 at 0x5c, Forbidden, "3.1.3.18";
    /// Controller memory buffer: sustained throughput.
    CMBSWTP: u32 at 0x60, Forbidden, "3.1.3.19";
    /// Shuts the subsystem down.
    NSSD: u32 at 0x64, Forbidden, "3.1.3.20";
    /// How long becoming ready may take.
    CRTO: u32 at 0x68, Ro, "3.1.3.21" {
        /// With media, in units of 500 ms.
        CRWMT = 0..=15,
        /// Independent of media, in units of 500 ms.
        CRIMT = 16..=31,
    }
    /// Persistent memory region: capabilities. Forbidden, as all of it.
    PMRCAP: u32 at 0xe00, Forbidden, "3.1.3.22";
    /// Persistent memory region: control.
    PMRCTL: u32 at 0xe04, Forbidden, "3.1.3.23";
    /// Persistent memory region: status.
    PMRSTS: u32 at 0xe08, Forbidden, "3.1.3.24";
    /// Persistent memory region: elasticity.
    PMREBS: u32 at 0xe0c, Forbidden, "3.1.3.25";
    /// Persistent memory region: sustained throughput.
    PMRSWTP: u32 at 0xe10, Forbidden, "3.1.3.26";
    /// Persistent memory region: address space, low 32 bits.
    PMRMSCL: u32 at 0xe14, Forbidden, "3.1.3.27";
    /// Persistent memory region: address space, high 32 bits.
    PMRMSCU: u32 at 0xe18, Forbidden, "3.1.3.28";
    /// Submission queues: the first entry that the controller may not take. As `CAP::DSTRD` 0 has them.
    SQTDBL: [u32; 512; 8] at 0x1000, Wo, "PCIe 3.1.2.1", write(Doorbell);
    /// Completion queues: the first entry that the driver has not taken. As `CAP::DSTRD` 0 has them.
    CQHDBL: [u32; 512; 8] at 0x1004, Wo, "PCIe 3.1.2.2", write(Doorbell);
}
