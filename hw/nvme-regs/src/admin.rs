//! Admin commands (section 5).

use nook_regs::Field;

/// Deletes an I/O submission queue (section 5.7).
pub const DELETE_SQ: u8 = 0x00;
/// Creates an I/O submission queue (section 5.5).
pub const CREATE_SQ: u8 = 0x01;
/// Reads a log page (section 5.16).
pub const GET_LOG_PAGE: u8 = 0x02;
/// Deletes an I/O completion queue (section 5.6).
pub const DELETE_CQ: u8 = 0x04;
/// Creates an I/O completion queue (section 5.4).
pub const CREATE_CQ: u8 = 0x05;
/// Tells what controller and namespaces are (section 5.17).
pub const IDENTIFY: u8 = 0x06;
/// Asks to abort a command (section 5.1).
pub const ABORT: u8 = 0x08;
/// Sets a feature (section 5.27).
pub const SET_FEATURES: u8 = 0x09;
/// Reads a feature (section 5.15).
pub const GET_FEATURES: u8 = 0x0a;
/// Waits for an event (section 5.2).
pub const ASYNC_EVENT: u8 = 0x0c;

/// Create and delete queues, dword 10: identifier (sections 5.4 to 5.7).
pub const QUEUE_ID: Field = Field::new(0, 16);
/// Create queues, dword 10: entries, less one.
pub const QUEUE_SIZE: Field = Field::new(16, 16);
/// Create queues, dword 11: lies in one piece.
pub const CONTIGUOUS: u32 = 1 << 0;
/// Create completion queue, dword 11: interrupts.
pub const INTERRUPTS: u32 = 1 << 1;
/// Create completion queue, dword 11: with this vector.
pub const VECTOR: Field = Field::new(16, 16);
/// Create submission queue, dword 11: completions go there.
pub const CQ_ID: Field = Field::new(16, 16);

/// Identify, dword 10: what of (section 5.17.1).
pub const CNS: Field = Field::new(0, 8);
/// [`CNS`]: the namespace.
pub const CNS_NAMESPACE: u32 = 0x00;
/// [`CNS`]: the controller.
pub const CNS_CONTROLLER: u32 = 0x01;
/// [`CNS`]: 1,024 identifiers of active namespaces, above the one that the command names.
pub const CNS_ACTIVE: u32 = 0x02;

/// Features, dword 10: which (section 5.27.1).
pub const FEATURE: Field = Field::new(0, 8);
/// Temperature threshold.
pub const FEATURE_TEMPERATURE: u32 = 0x04;
/// Volatile write cache: bit 0 of dword 11 turns it on (section 5.27.1.4).
pub const FEATURE_CACHE: u32 = 0x06;
/// Number of queues: submission queues in bits 15:0 and completion queues in 31:16, both less one, the admin queues not
/// counted (section 5.27.1.5).
pub const FEATURE_QUEUES: u32 = 0x07;
/// [`FEATURE_QUEUES`], dword 11 and the completion's word 0: submission queues, less one.
pub const SUBMISSION_QUEUES: Field = Field::new(0, 16);
/// [`FEATURE_QUEUES`], dword 11 and the completion's word 0: completion queues, less one.
pub const COMPLETION_QUEUES: Field = Field::new(16, 16);
/// Which events are reported (section 5.27.1.8).
pub const FEATURE_EVENTS: u32 = 0x0b;
/// [`FEATURE_EVENTS`]: a namespace has changed.
pub const EVENTS_NAMESPACES: u32 = 1 << 8;
/// [`FEATURE_EVENTS`]: what is wrong with the controller's health, if anything.
pub const EVENTS_HEALTH: u32 = 0x1f;

/// Get Log Page, dword 10: which (section 5.16.1).
pub const LOG: Field = Field::new(0, 8);
/// Get Log Page, dword 10: leaves the event where it is.
pub const LOG_RETAINS: u32 = 1 << 15;
/// Get Log Page, dword 10: words to read, less one; the lower half.
pub const LOG_WORDS: Field = Field::new(16, 16);
/// [`LOG`]: errors.
pub const LOG_ERRORS: u32 = 0x01;
/// [`LOG`]: health.
pub const LOG_HEALTH: u32 = 0x02;
/// [`LOG`]: up to 1,024 identifiers of namespaces that have changed (section 5.16.1.5).
pub const LOG_CHANGED: u32 = 0x04;

/// An event's completion, word 0: what kind (section 5.2.1).
pub const EVENT_TYPE: Field = Field::new(0, 3);
/// An event's completion, word 0: what of that kind.
pub const EVENT_INFO: Field = Field::new(8, 8);
/// An event's completion, word 0: the log page to read, which asks for the next event of the kind.
pub const EVENT_LOG: Field = Field::new(16, 8);
/// [`EVENT_TYPE`]: something was done wrong, or went wrong.
pub const EVENT_ERROR: u32 = 0;
/// [`EVENT_TYPE`]: health.
pub const EVENT_HEALTH: u32 = 1;
/// [`EVENT_TYPE`]: something has changed.
pub const EVENT_NOTICE: u32 = 2;
/// [`EVENT_INFO`] of [`EVENT_ERROR`]: a doorbell of no queue was rung.
pub const ERROR_DOORBELL_REGISTER: u32 = 0;
/// [`EVENT_INFO`] of [`EVENT_ERROR`]: a doorbell was given no value.
pub const ERROR_DOORBELL_VALUE: u32 = 1;
/// [`EVENT_INFO`] of [`EVENT_NOTICE`]: a namespace.
pub const NOTICE_NAMESPACE: u32 = 0;

/// Abort, dword 10: the submission queue (section 5.1).
pub const ABORT_SQ: Field = Field::new(0, 16);
/// Abort, dword 10: the command.
pub const ABORT_CID: Field = Field::new(16, 16);
/// Abort's completion, word 0: the command was not aborted.
pub const NOT_ABORTED: u32 = 1 << 0;
