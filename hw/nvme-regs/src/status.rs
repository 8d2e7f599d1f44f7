//! Status of completions, without the phase bit: bits 7:0 are the code, 10:8 its type (section 3.3.3.2.3).

/// The same command will fail again.
pub const DO_NOT_RETRY: u16 = 1 << 14;
/// Type and code, without the bits that say more.
pub const TYPE_AND_CODE: u16 = 0x7ff;

/// Success.
pub const SUCCESS: u16 = 0x000;
/// The controller does not know the command.
pub const INVALID_OPCODE: u16 = 0x001;
/// A field of the command is wrong.
pub const INVALID_FIELD: u16 = 0x002;
/// Another command has the identifier.
pub const ID_CONFLICT: u16 = 0x003;
/// Data or metadata could not be moved.
pub const DATA_TRANSFER_ERROR: u16 = 0x004;
/// Power is about to be lost.
pub const POWER_LOSS: u16 = 0x005;
/// Something else went wrong in the controller.
pub const INTERNAL: u16 = 0x006;
/// Aborted as an Abort command asked.
pub const ABORT_REQUESTED: u16 = 0x007;
/// Aborted with its submission queue.
pub const ABORTED_SQ_DELETION: u16 = 0x008;
/// The command comes at the wrong time.
pub const SEQUENCE_ERROR: u16 = 0x00c;
/// There is no such namespace, or it is not attached.
pub const INVALID_NAMESPACE: u16 = 0x00b;
/// A PRP entry has an offset that it may not have.
pub const PRP_OFFSET: u16 = 0x013;
/// Interrupted: to be sent again.
pub const INTERRUPTED: u16 = 0x021;
/// NVM: past the namespace's end.
pub const LBA_OUT_OF_RANGE: u16 = 0x080;
/// NVM: the namespace is not ready yet.
pub const NAMESPACE_NOT_READY: u16 = 0x082;
/// Completion queue of a new submission queue does not exist.
pub const INVALID_CQ: u16 = 0x100;
/// Queue identifier is wrong or in use.
pub const INVALID_QUEUE_ID: u16 = 0x101;
/// Queue size is wrong.
pub const INVALID_QUEUE_SIZE: u16 = 0x102;
/// More Abort commands than are taken.
pub const ABORT_LIMIT: u16 = 0x103;
/// More Asynchronous Event Requests than are taken.
pub const EVENT_LIMIT: u16 = 0x105;
/// Interrupt vector is wrong.
pub const INVALID_VECTOR: u16 = 0x108;
/// Log page is not there.
pub const INVALID_LOG: u16 = 0x109;
/// The queue cannot be deleted yet: submission queues use it.
pub const QUEUE_IN_USE: u16 = 0x10c;
/// A write could not be made on the medium.
pub const WRITE_FAULT: u16 = 0x280;
/// A read could not be made good.
pub const UNRECOVERED_READ: u16 = 0x281;
