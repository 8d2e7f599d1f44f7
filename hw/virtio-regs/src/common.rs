//! What every virtio device has: the common configuration, the ISR status, and a doorbell for each queue.

use nook_regs::RegisterMap;

/// How many queues may be used.
pub const QUEUES: u16 = 4;
/// What a vector's register holds when there is none, or when the device refuses it (4.1.5.1.2.1).
pub const NO_VECTOR: u16 = 0xffff;

nook_regs::registers! {
    /// What every kind has.
    pub(crate) static COMMON = "virtio: common", bar 4, 0x4000 bytes;

    /// Which half of the device's features DEVICE_FEATURE shows: 0 the lower, 1 the upper.
    DEVICE_FEATURE_SELECT: u32 at 0x00, Rw, "4.1.4.3, device_feature_select";
    /// That half.
    DEVICE_FEATURE: u32 at 0x04, Ro, "4.1.4.3, device_feature";
    /// Which half of the driver's features DRIVER_FEATURE is.
    DRIVER_FEATURE_SELECT: u32 at 0x08, Rw, "4.1.4.3, driver_feature_select";
    /// That half.
    DRIVER_FEATURE: u32 at 0x0c, Rw, "4.1.4.3, driver_feature";
    /// The vector of changes of the configuration.
    MSIX_CONFIG: u16 at 0x10, Rw, "4.1.4.3, config_msix_vector";
    /// How many queues there are.
    NUM_QUEUES: u16 at 0x12, Ro, "4.1.4.3, num_queues";
    /// How far the driver is. Writing 0 resets the device; it reads as 0 when that is done.
    DEVICE_STATUS: u8 at 0x14, Rw, "2.1, 4.1.4.3, device_status" {
        /// The driver has found the device.
        ACKNOWLEDGE = 0,
        /// It knows how to drive it.
        DRIVER = 1,
        /// It is ready.
        DRIVER_OK = 2,
        /// The features are negotiated. It reads as set only if the device agrees.
        FEATURES_OK = 3,
        /// The device has failed, and needs a reset.
        DEVICE_NEEDS_RESET = 6,
        /// The driver has given up.
        FAILED = 7,
    }
    /// Changes when the configuration of the kind does.
    CONFIG_GENERATION: u8 at 0x15, Ro, "4.1.4.3, config_generation";
    /// Which queue those from here on are of.
    QUEUE_SELECT: u16 at 0x16, Rw, "4.1.4.3, queue_select";
    /// Its length: at first the longest that it may have.
    QUEUE_SIZE: u16 at 0x18, Rw, "4.1.4.3, queue_size";
    /// Its vector.
    QUEUE_MSIX_VECTOR: u16 at 0x1a, Rw, "4.1.4.3, queue_msix_vector";
    /// Whether it is in use. Only a reset takes it out.
    QUEUE_ENABLE: u16 at 0x1c, Rw, "4.1.4.3, queue_enable";
    /// Which NOTIFY is its.
    QUEUE_NOTIFY_OFF: u16 at 0x1e, Ro, "4.1.4.3, queue_notify_off";
    /// Address of its descriptors, low half.
    QUEUE_DESC_LOW: u32 at 0x20, Rw, "4.1.4.3, queue_desc", write(DmaBase);
    /// The same, high half.
    QUEUE_DESC_HIGH: u32 at 0x24, Rw, "4.1.4.3, queue_desc", write(DmaBaseHigh);
    /// Address of what the driver makes available, low half.
    QUEUE_DRIVER_LOW: u32 at 0x28, Rw, "4.1.4.3, queue_driver", write(DmaBase);
    /// The same, high half.
    QUEUE_DRIVER_HIGH: u32 at 0x2c, Rw, "4.1.4.3, queue_driver", write(DmaBaseHigh);
    /// Address of what the device has used, low half.
    QUEUE_DEVICE_LOW: u32 at 0x30, Rw, "4.1.4.3, queue_device", write(DmaBase);
    /// The same, high half.
    QUEUE_DEVICE_HIGH: u32 at 0x34, Rw, "4.1.4.3, queue_device", write(DmaBaseHigh);
    /// Why there was an interrupt. Reading it clears it, and lets the line go.
    ISR_STATUS: u8 at 0x1000, Ro, "4.1.4.5", read(ClearsOr) {
        /// A queue has something that was used.
        QUEUE = 0,
        /// The configuration has changed.
        CONFIG = 1,
    }
    /// Has the device look at a queue; written is the queue's number.
    NOTIFY: [u16; 4; 4] at 0x3000, Wo, "4.1.4.4", write(Doorbell);
}

const _: () = assert!(NOTIFY.count() == QUEUES as u32 && NOTIFY.stride() == crate::NOTIFY_MULTIPLIER);
/// How many registers those are.
pub(crate) const COUNT: usize = RegisterMap::registers(&COMMON).len();
