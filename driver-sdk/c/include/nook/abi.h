/* The nook ABI, version 1.0, for drivers in C: hostcalls, entries, numbers and shared structs.

   This file is made from the tables and comments in abi/src/. Change them and write it again with
   NOOK_BLESS=1 cargo test -p nook-abi --test reference_page; without the variable the test fails if the two differ.
   docs/abi.md says the same in prose. An entry becomes an export, and a hostcall an import, by being defined or used. */
#ifndef NOOK_ABI_H
#define NOOK_ABI_H

#include <stddef.h>
#include <stdint.h>

/* The line of the manifest that says which version a driver was built for. */
#define NOOK_ABI_LINE "abi = 1.0\n"
/* The manifest: what the driver is and needs, a line each, as in NOOK_MANIFEST("name = sample\n" "class = misc\n");
   once, outside functions. It becomes the custom section that is read before the driver runs, which C cannot name;
   natively it is nothing. */
#ifdef __wasm__
#define NOOK_MANIFEST(lines) \
    __asm__(".section .custom_section.nook.manifest,\"\",@\n.ascii \"" NOOK_ABI_LINE lines "\"\n.text\n")
#else
#define NOOK_MANIFEST(lines) _Static_assert(sizeof(lines) > 1, "a manifest has lines")
#endif

#define NOOK_HOST_PAGE_MAGIC 0x6b6f6f6eu
#define NOOK_HOST_PAGE_BYTES 4096u
#define NOOK_MAILBOX_BYTES 2048u
/* Entries of a ring: a power of two. */
#define NOOK_QUEUE_CAPACITY 256u
/* Multicast addresses that `set_rx_mode` is given at most. */
#define NOOK_MOST_MULTICAST 256u
/* Counters that `net_counters` names at most, and bytes of a name. */
#define NOOK_MOST_COUNTERS 128u
#define NOOK_COUNTER_NAME_BYTES 31u
/* Operations that a driver of class misc has at most, and how many of them are open at a time. */
#define NOOK_MOST_OPERATIONS 64u
#define NOOK_MOST_OPEN 8u
/* What `serial_next` returns if there is nothing to send; less than this is a byte. */
#define NOOK_NOTHING 0x100u
/* Words of the host page for what a class has there. */
#define NOOK_CLASS_WORDS 32u
/* Doorbells that can be left in the host page. */
#define NOOK_DOORBELLS 14u

#define NOOK_HOSTCALL(name) __attribute__((import_module("nook"), import_name(#name)))
#define NOOK_HINT(name) __attribute__((import_module("nook_hint"), import_name(#name)))
#define NOOK_ENTRY(name) __attribute__((export_name("nook_" #name)))

/* A bad day of the device or the world: what entries and hostcalls return. */
enum nook_status {
    /* The window, the heap or a table is full. */
    NOOK_NO_MEMORY = -1,
    /* The device is not one that the driver can drive. */
    NOOK_NO_DEVICE = -2,
    /* The device did not do in time what it should have done. */
    NOOK_TIMEOUT = -3,
    /* The device did something wrong. */
    NOOK_DEVICE_FAILED = -4,
    /* The driver or the device cannot do this. */
    NOOK_UNSUPPORTED = -5,
    /* The value is outside what the driver or the device takes. */
    NOOK_INVALID = -6,
    /* Not in this state. */
    NOOK_BUSY = -7,
    /* What is stored in the device (a checksum, a MAC address) is wrong. */
    NOOK_CORRUPT = -8,
};

/* The argument reason of probe. */
/* The first time: nothing is known of the device's state. */
#define NOOK_PROBE_REASON_COLD 0u
/* After a fault: the device may be in any state, DMA is off, the window keeps its contents. */
#define NOOK_PROBE_REASON_RESTART 1u

/* Bits of what irq returns. */
/* The device raised it, and the driver dealt with it. */
#define NOOK_IRQ_RESULT_HANDLED (1u << 0)
/* There is work for `poll` of queue 0; the driver has masked the device's interrupt until `poll` says that it is
   done. For other queues it calls `poll_schedule`. */
#define NOOK_IRQ_RESULT_POLL (1u << 1)

/* Bits of the argument flags of poll. */
/* If a received frame is there, return one as failed without looking at what is in it: the driver faulted at it
   before. Nothing else is received in this call. */
#define NOOK_POLL_FLAGS_DISCARD_NEXT_RX (1u << 0)

/* What poll returns. */
/* Nothing is left, and the driver has unmasked the device's interrupt. */
#define NOOK_POLL_RESULT_IDLE 0u
/* The budget was used up: call again. */
#define NOOK_POLL_RESULT_AGAIN 1u

/* The argument level of log. */
/* Something failed and a person should look. */
#define NOOK_LOG_LEVEL_ERROR 1u
/* Something odd that the driver coped with. */
#define NOOK_LOG_LEVEL_WARN 2u
/* What an operator wants to see once: link changes, the chip that was found. */
#define NOOK_LOG_LEVEL_INFO 3u
/* For the driver's author. */
#define NOOK_LOG_LEVEL_DEBUG 4u
/* The longest message, in bytes of UTF-8. */
#define NOOK_LOG_LEVEL_MAX_BYTES 512u

/* Bits of the argument mode of set_rx_mode. */
/* Everything on the wire. */
#define NOOK_RX_MODE_PROMISCUOUS (1u << 0)
/* All multicast frames, whatever the list says. */
#define NOOK_RX_MODE_ALL_MULTICAST (1u << 1)

/* The argument mode of set_loopback. */
/* Frames pass the cable. */
#define NOOK_LOOPBACK_MODE_OFF 0u
/* Frames turn round inside the device. */
#define NOOK_LOOPBACK_MODE_ON 1u

/* The argument direction of net_filter. */
/* From the device to the host. */
#define NOOK_FILTER_DIRECTION_RECEIVED 0u
/* From the host to the device. */
#define NOOK_FILTER_DIRECTION_SENDING 1u

/* What net_filter returns. */
/* It goes on. */
#define NOOK_FILTER_VERDICT_PASS 0u
/* It does not: its buffer is returned as `PacketStatus::Dropped`. */
#define NOOK_FILTER_VERDICT_DROP 1u

/* Bits of QueueEntry.flags. */
/* The first buffer of a frame. */
#define NOOK_ENTRY_FLAGS_FIRST (1u << 0)
/* The last buffer of a frame. */
#define NOOK_ENTRY_FLAGS_LAST (1u << 1)
/* Of a frame to be sent: the ring's side array says what is to be done to it. On its first entry only. */
#define NOOK_ENTRY_FLAGS_SIDE (1u << 2)
/* Of a received frame: the device found its checksum of TCP or UDP right. On its first entry only, and only if the
   driver said that its device looks at checksums (`offload::RX_CHECKSUM`). */
#define NOOK_ENTRY_FLAGS_CHECKED (1u << 3)

/* Bits of the argument offloads of net_offloads. */
/* Completes the checksum of a TCP or UDP frame to be sent, over IPv4 or IPv6. */
#define NOOK_OFFLOAD_TX_CHECKSUM (1u << 0)
/* Cuts a frame of TCP over IPv4 into segments. Only with `TX_CHECKSUM` and `SEVERAL_BUFFERS`. */
#define NOOK_OFFLOAD_SEGMENT_V4 (1u << 1)
/* The same over IPv6. */
#define NOOK_OFFLOAD_SEGMENT_V6 (1u << 2)
/* A frame to be sent may lie in several buffers. */
#define NOOK_OFFLOAD_SEVERAL_BUFFERS (1u << 3)
/* Looks at checksums of TCP and UDP as frames are received: the driver says so of a frame whose checksum is right
   (`entry_flags::CHECKED`). */
#define NOOK_OFFLOAD_RX_CHECKSUM (1u << 4)
/* A received frame may come in several buffers: parts that follow each other in `rx_return`, all of them returned by
   one call, and together no longer than an Ethernet header, a VLAN tag and the largest payload that `net_attach`
   named. Without it a received frame is in one. */
#define NOOK_OFFLOAD_RX_SEVERAL_BUFFERS (1u << 5)

/* Bits of Side.flags. */
/* Completes the checksum: its place holds the sum of the pseudo header, which counts with the rest. */
#define NOOK_SIDE_FLAGS_CHECKSUM (1u << 0)
/* Cuts the frame into segments of TCP, each with its own lengths, sequence number, flags and checksums. Always with
   `CHECKSUM`; the sum of the pseudo header is without the length then, and IPv4's total length and checksum, or
   IPv6's payload length, are 0. */
#define NOOK_SIDE_FLAGS_SEGMENT (1u << 1)
/* The IP header is IPv6's, not IPv4's. */
#define NOOK_SIDE_FLAGS_IPV6 (1u << 2)

/* QueueEntry.status of a returned entry. */
/* Received or sent. */
#define NOOK_PACKET_STATUS_DONE 0u
/* The device reported an error. */
#define NOOK_PACKET_STATUS_FAILED 1u
/* Not used: the interface went down first. */
#define NOOK_PACKET_STATUS_UNUSED 2u
/* The nook's filter does not let it pass. */
#define NOOK_PACKET_STATUS_DROPPED 3u

/* Bits of Disk.flags. */
/* It takes reads and flushes only. */
#define NOOK_DISK_FLAGS_READ_ONLY (1u << 0)
/* What was written may be lost with the power until a flush is done. Without it the host asks for no flush. */
#define NOOK_DISK_FLAGS_VOLATILE_CACHE (1u << 1)
/* The device can be trusted with `FUA`: such a request is durable when it is done. Without it the host asks for a
   flush after it, if there is a volatile cache. */
#define NOOK_DISK_FLAGS_FUA (1u << 2)
/* It takes discards. */
#define NOOK_DISK_FLAGS_DISCARD (1u << 3)
/* It takes zeroes. */
#define NOOK_DISK_FLAGS_WRITE_ZEROES (1u << 4)

/* BlockRequest.op. */
/* Reads blocks into the buffer. */
#define NOOK_BLOCK_OP_READ 0u
/* Writes blocks from the buffer. */
#define NOOK_BLOCK_OP_WRITE 1u
/* Makes durable all that was completed before it was given. */
#define NOOK_BLOCK_OP_FLUSH 2u
/* Gives blocks up: what they hold afterwards is not known. */
#define NOOK_BLOCK_OP_DISCARD 3u
/* Makes blocks zero. */
#define NOOK_BLOCK_OP_WRITE_ZEROES 4u

/* Bits of BlockRequest.flags. */
/* To be durable when it is done. Only of a driver whose disk has `FUA`. */
#define NOOK_REQUEST_FLAGS_FUA (1u << 0)

/* BlockCompletion.status. */
/* It was done. */
#define NOOK_BLOCK_STATUS_DONE 0u
/* The device reported an error. */
#define NOOK_BLOCK_STATUS_FAILED 1u
/* It was not done and the device will not do it any more: service ended first. It is given again to the next
   instance, if there is one. Only in `stop`. */
#define NOOK_BLOCK_STATUS_UNUSED 2u

/* Bits 8 to 15 of the argument format of set_line. */
/* There is none. */
#define NOOK_PARITY_NONE 0u
/* It makes the number of ones odd. */
#define NOOK_PARITY_ODD 1u
/* It makes the number of ones even. */
#define NOOK_PARITY_EVEN 2u
/* It is 1. */
#define NOOK_PARITY_MARK 3u
/* It is 0. */
#define NOOK_PARITY_SPACE 4u

/* Bits of the argument lines of set_control. */
/* Data terminal ready. */
#define NOOK_CONTROL_DTR (1u << 0)
/* Request to send. */
#define NOOK_CONTROL_RTS (1u << 1)
/* The line is held at a break. */
#define NOOK_CONTROL_BREAK (1u << 2)
/* What is sent is received, inside the device. A driver that cannot do that answers `Unsupported`. */
#define NOOK_CONTROL_LOOPBACK (1u << 3)

/* Bits of the argument lines of serial_modem. */
/* Clear to send. */
#define NOOK_MODEM_CTS (1u << 0)
/* Data set ready. */
#define NOOK_MODEM_DSR (1u << 1)
/* It rings. */
#define NOOK_MODEM_RING (1u << 2)
/* Carrier detected. */
#define NOOK_MODEM_CARRIER (1u << 3)

/* Bits of the argument value of serial_received. */
/* Bytes before it were lost, because nobody took them in time. */
#define NOOK_RECEIVED_OVERRUN (1u << 8)
/* Its parity is wrong. */
#define NOOK_RECEIVED_PARITY (1u << 9)
/* It has no stop bit. */
#define NOOK_RECEIVED_FRAMING (1u << 10)
/* It is no byte but a break: the 8 bits are 0. */
#define NOOK_RECEIVED_BREAK (1u << 11)

/* Bits of the argument flags of poll, of class serial. */
/* There is something to be sent: `serial_next` has it. */
#define NOOK_SERIAL_POLL_SEND (1u << 0)

/* The four rings of class net, in the order of `rings` in the page. */
#define NOOK_QUEUE_RX_PROVIDE 0u
#define NOOK_QUEUE_RX_RETURN 1u
#define NOOK_QUEUE_TX_PROVIDE 2u
#define NOOK_QUEUE_TX_RETURN 3u
/* The two rings of class block. */
#define NOOK_BLOCK_QUEUE_REQUESTS 0u
#define NOOK_BLOCK_QUEUE_COMPLETIONS 1u

struct nook_host_page {
    /* `HOST_PAGE_MAGIC`. */
    uint32_t magic;
    /* The host's ABI version. */
    uint16_t abi_major;
    /* The host's ABI version. */
    uint16_t abi_minor;
    /* The DMA window. */
    uint64_t window_addr;
    /* Its length. */
    uint64_t window_len_bytes;
    /* Where the device sees it. */
    uint64_t window_iova;
    /* The heap that the manifest asked for. */
    uint64_t heap_addr;
    /* Its length. */
    uint64_t heap_len_bytes;
    /* The mailbox, `MAILBOX_BYTES` long. */
    uint64_t mailbox_addr;
    /* The monotonic clock shortly before the call, in nanoseconds: read once for all calls that follow one event. */
    uint64_t now_ns;
    /* How many interrupt vectors the driver asked for. `irq_enable` answers `Unsupported` for those that the device
       lacks. */
    uint32_t irq_vectors;
    /* Mail to the host: 1 is added each time that the `stats` entry has written the class's counters. */
    uint32_t stats_written;
    /* How many doorbells may be left: `DOORBELLS`, or 0 where a doorbell is a hostcall. */
    uint32_t doorbell_room;
    /* Mail to the host: how many were left. */
    uint32_t doorbell_count;
    /* Mail to the host: the value in the high half, the register's offset in the lowest 24 bits, its BAR above them. */
    uint64_t doorbells[NOOK_DOORBELLS];
    /* What the driver's class has here. */
    uint64_t class[NOOK_CLASS_WORDS];
};
_Static_assert(offsetof(struct nook_host_page, magic) == 0, "host_page.magic");
_Static_assert(offsetof(struct nook_host_page, abi_major) == 4, "host_page.abi_major");
_Static_assert(offsetof(struct nook_host_page, abi_minor) == 6, "host_page.abi_minor");
_Static_assert(offsetof(struct nook_host_page, window_addr) == 8, "host_page.window_addr");
_Static_assert(offsetof(struct nook_host_page, window_len_bytes) == 16, "host_page.window_len_bytes");
_Static_assert(offsetof(struct nook_host_page, window_iova) == 24, "host_page.window_iova");
_Static_assert(offsetof(struct nook_host_page, heap_addr) == 32, "host_page.heap_addr");
_Static_assert(offsetof(struct nook_host_page, heap_len_bytes) == 40, "host_page.heap_len_bytes");
_Static_assert(offsetof(struct nook_host_page, mailbox_addr) == 48, "host_page.mailbox_addr");
_Static_assert(offsetof(struct nook_host_page, now_ns) == 56, "host_page.now_ns");
_Static_assert(offsetof(struct nook_host_page, irq_vectors) == 64, "host_page.irq_vectors");
_Static_assert(offsetof(struct nook_host_page, stats_written) == 68, "host_page.stats_written");
_Static_assert(offsetof(struct nook_host_page, doorbell_room) == 72, "host_page.doorbell_room");
_Static_assert(offsetof(struct nook_host_page, doorbell_count) == 76, "host_page.doorbell_count");
_Static_assert(offsetof(struct nook_host_page, doorbells) == 80, "host_page.doorbells");
_Static_assert(offsetof(struct nook_host_page, class) == 192, "host_page.class");
_Static_assert(sizeof(struct nook_host_page) == 448, "host_page");

struct nook_pool_layout {
    /* Bytes from the start of the window to buffer 0. */
    uint32_t offset;
    /* How many buffers. */
    uint32_t count;
    /* Bytes from one to the next. */
    uint32_t stride_bytes;
    /* Bytes before the frame. */
    uint32_t headroom_bytes;
    /* Bytes for the frame. */
    uint32_t room_bytes;
    /* Zero. */
    uint32_t reserved;
};
_Static_assert(offsetof(struct nook_pool_layout, offset) == 0, "pool_layout.offset");
_Static_assert(offsetof(struct nook_pool_layout, count) == 4, "pool_layout.count");
_Static_assert(offsetof(struct nook_pool_layout, stride_bytes) == 8, "pool_layout.stride_bytes");
_Static_assert(offsetof(struct nook_pool_layout, headroom_bytes) == 12, "pool_layout.headroom_bytes");
_Static_assert(offsetof(struct nook_pool_layout, room_bytes) == 16, "pool_layout.room_bytes");
_Static_assert(offsetof(struct nook_pool_layout, reserved) == 20, "pool_layout.reserved");
_Static_assert(sizeof(struct nook_pool_layout) == 24, "pool_layout");

struct nook_ring_header {
    /* Entries ever put in. */
    uint32_t produced;
    /* Entries ever taken out. */
    uint32_t consumed;
} __attribute__((aligned(64)));
_Static_assert(offsetof(struct nook_ring_header, produced) == 0, "ring_header.produced");
_Static_assert(offsetof(struct nook_ring_header, consumed) == 4, "ring_header.consumed");
_Static_assert(sizeof(struct nook_ring_header) == 64, "ring_header");

struct nook_queue_entry {
    /* Which packet buffer: below `PoolLayout::count`. */
    uint32_t id;
    /* How often the buffer had been given out before: returned as it was given. */
    uint16_t generation;
    /* `entry_flags`. */
    uint16_t flags;
    /* Bytes of payload in this buffer (for `rx_provide`: bytes of room). */
    uint32_t len_bytes;
    /* A `PacketStatus` when returned; zero when given. */
    uint16_t status;
    /* Zero. */
    uint16_t reserved;
};
_Static_assert(offsetof(struct nook_queue_entry, id) == 0, "queue_entry.id");
_Static_assert(offsetof(struct nook_queue_entry, generation) == 4, "queue_entry.generation");
_Static_assert(offsetof(struct nook_queue_entry, flags) == 6, "queue_entry.flags");
_Static_assert(offsetof(struct nook_queue_entry, len_bytes) == 8, "queue_entry.len_bytes");
_Static_assert(offsetof(struct nook_queue_entry, status) == 12, "queue_entry.status");
_Static_assert(offsetof(struct nook_queue_entry, reserved) == 14, "queue_entry.reserved");
_Static_assert(sizeof(struct nook_queue_entry) == 16, "queue_entry");

struct nook_side {
    /* `side_flags`. */
    uint16_t flags;
    /* Where the IP header begins: at most 127. */
    uint16_t network_start;
    /* Where the header of TCP or UDP begins, and with it what the checksum is of: all that follows in the frame. */
    uint16_t checksum_start;
    /* Where the checksum stands, from there: 16 of TCP, 6 of UDP. It is among the frame's first 256 bytes. */
    uint16_t checksum_offset;
    /* Of a frame to be cut: bytes of header, which each segment repeats, at most 255. Else 0. */
    uint16_t header_bytes;
    /* Of a frame to be cut: bytes of payload of each segment but the last. Else 0. */
    uint16_t segment_bytes;
    /* Bytes of the frame in all its buffers. */
    uint32_t frame_bytes;
};
_Static_assert(offsetof(struct nook_side, flags) == 0, "side.flags");
_Static_assert(offsetof(struct nook_side, network_start) == 2, "side.network_start");
_Static_assert(offsetof(struct nook_side, checksum_start) == 4, "side.checksum_start");
_Static_assert(offsetof(struct nook_side, checksum_offset) == 6, "side.checksum_offset");
_Static_assert(offsetof(struct nook_side, header_bytes) == 8, "side.header_bytes");
_Static_assert(offsetof(struct nook_side, segment_bytes) == 10, "side.segment_bytes");
_Static_assert(offsetof(struct nook_side, frame_bytes) == 12, "side.frame_bytes");
_Static_assert(sizeof(struct nook_side) == 16, "side");

struct nook_net_stats {
    /* Good frames received. */
    uint64_t rx_packets;
    /* Bytes in them. */
    uint64_t rx_bytes;
    /* Frames received with errors. */
    uint64_t rx_errors;
    /* Good frames for which there was no room in the device. */
    uint64_t rx_missed;
    /* Frames with a wrong check sequence. */
    uint64_t rx_crc_errors;
    /* Frames received whose length was wrong. */
    uint64_t rx_length_errors;
    /* Multicast frames received. */
    uint64_t multicast;
    /* Frames sent. */
    uint64_t tx_packets;
    /* Bytes in them. */
    uint64_t tx_bytes;
    /* Frames not sent because of an error. */
    uint64_t tx_errors;
    /* Collisions. */
    uint64_t collisions;
    /* Times the driver found the transmitter stuck and reset it. */
    uint64_t tx_timeouts;
};
_Static_assert(offsetof(struct nook_net_stats, rx_packets) == 0, "net_stats.rx_packets");
_Static_assert(offsetof(struct nook_net_stats, rx_bytes) == 8, "net_stats.rx_bytes");
_Static_assert(offsetof(struct nook_net_stats, rx_errors) == 16, "net_stats.rx_errors");
_Static_assert(offsetof(struct nook_net_stats, rx_missed) == 24, "net_stats.rx_missed");
_Static_assert(offsetof(struct nook_net_stats, rx_crc_errors) == 32, "net_stats.rx_crc_errors");
_Static_assert(offsetof(struct nook_net_stats, rx_length_errors) == 40, "net_stats.rx_length_errors");
_Static_assert(offsetof(struct nook_net_stats, multicast) == 48, "net_stats.multicast");
_Static_assert(offsetof(struct nook_net_stats, tx_packets) == 56, "net_stats.tx_packets");
_Static_assert(offsetof(struct nook_net_stats, tx_bytes) == 64, "net_stats.tx_bytes");
_Static_assert(offsetof(struct nook_net_stats, tx_errors) == 72, "net_stats.tx_errors");
_Static_assert(offsetof(struct nook_net_stats, collisions) == 80, "net_stats.collisions");
_Static_assert(offsetof(struct nook_net_stats, tx_timeouts) == 88, "net_stats.tx_timeouts");
_Static_assert(sizeof(struct nook_net_stats) == 96, "net_stats");

struct nook_block_page {
    /* The ring from which the driver takes requests. */
    uint64_t requests;
    /* The ring into which it puts completions. */
    uint64_t completions;
    /* The most requests that a driver has at a time: their ids are below it. */
    uint32_t most_requests;
    /* Room for the data of each, in bytes: a multiple of 4096. */
    uint32_t transfer_bytes;
    /* Which disk of the device the operator wants, by the device's own number: of an NVM Express controller the
       namespace. 0 leaves it to the driver; what there is not, the driver refuses. */
    uint32_t disk_number;
    /* How many pairs of queues towards the device the operator wants, at most. 0 leaves it to the driver. */
    uint32_t queue_pairs;
};
_Static_assert(offsetof(struct nook_block_page, requests) == 0, "block_page.requests");
_Static_assert(offsetof(struct nook_block_page, completions) == 8, "block_page.completions");
_Static_assert(offsetof(struct nook_block_page, most_requests) == 16, "block_page.most_requests");
_Static_assert(offsetof(struct nook_block_page, transfer_bytes) == 20, "block_page.transfer_bytes");
_Static_assert(offsetof(struct nook_block_page, disk_number) == 24, "block_page.disk_number");
_Static_assert(offsetof(struct nook_block_page, queue_pairs) == 28, "block_page.queue_pairs");
_Static_assert(sizeof(struct nook_block_page) == 32, "block_page");

struct nook_block_request {
    /* Which request: below `BlockPage::most_requests`. No other one with this id is the driver's at the same time. */
    uint32_t id;
    /* How often the id had been given out before: completed as it was given. */
    uint16_t generation;
    /* A `BlockOp`. */
    uint8_t op;
    /* `request_flags`. */
    uint8_t flags;
    /* The first block; 0 for a flush. */
    uint64_t first;
    /* How many blocks; 0 for a flush. They lie inside the disk, and are at most as many as the driver said. */
    uint32_t blocks;
    /* Bytes of data to be moved: of a read or a write, those of the blocks; else 0. */
    uint32_t len_bytes;
    /* Where the data lies in the window: a multiple of 4096. The request has `BlockPage::transfer_bytes` of room
       there. */
    uint32_t offset;
    /* Zero. */
    uint32_t reserved;
};
_Static_assert(offsetof(struct nook_block_request, id) == 0, "block_request.id");
_Static_assert(offsetof(struct nook_block_request, generation) == 4, "block_request.generation");
_Static_assert(offsetof(struct nook_block_request, op) == 6, "block_request.op");
_Static_assert(offsetof(struct nook_block_request, flags) == 7, "block_request.flags");
_Static_assert(offsetof(struct nook_block_request, first) == 8, "block_request.first");
_Static_assert(offsetof(struct nook_block_request, blocks) == 16, "block_request.blocks");
_Static_assert(offsetof(struct nook_block_request, len_bytes) == 20, "block_request.len_bytes");
_Static_assert(offsetof(struct nook_block_request, offset) == 24, "block_request.offset");
_Static_assert(offsetof(struct nook_block_request, reserved) == 28, "block_request.reserved");
_Static_assert(sizeof(struct nook_block_request) == 32, "block_request");

struct nook_block_completion {
    /* As it was given. */
    uint32_t id;
    /* As it was given. */
    uint16_t generation;
    /* A `BlockStatus`. */
    uint16_t status;
    /* What the device said, for people: 0 if it was done. */
    uint32_t detail;
    /* Zero. */
    uint32_t reserved;
};
_Static_assert(offsetof(struct nook_block_completion, id) == 0, "block_completion.id");
_Static_assert(offsetof(struct nook_block_completion, generation) == 4, "block_completion.generation");
_Static_assert(offsetof(struct nook_block_completion, status) == 6, "block_completion.status");
_Static_assert(offsetof(struct nook_block_completion, detail) == 8, "block_completion.detail");
_Static_assert(offsetof(struct nook_block_completion, reserved) == 12, "block_completion.reserved");
_Static_assert(sizeof(struct nook_block_completion) == 16, "block_completion");

struct nook_disk {
    /* How many blocks there are: at least 1. */
    uint64_t blocks;
    /* Bytes of a block: a power of two, 512 to 65536. */
    uint32_t block_bytes;
    /* The most blocks of a read or a write: at least 1. What does not fit into a buffer is not asked for in any
       case. */
    uint32_t max_blocks;
    /* The most blocks of a discard or of zeroes: at least 1 if the flags have one of these, else 0. */
    uint32_t max_zeroes;
    /* `disk_flags`. */
    uint32_t flags;
    /* The serial number: printable ASCII, filled up with zeros. All zeros if there is none. */
    uint8_t serial[40];
};
_Static_assert(offsetof(struct nook_disk, blocks) == 0, "disk.blocks");
_Static_assert(offsetof(struct nook_disk, block_bytes) == 8, "disk.block_bytes");
_Static_assert(offsetof(struct nook_disk, max_blocks) == 12, "disk.max_blocks");
_Static_assert(offsetof(struct nook_disk, max_zeroes) == 16, "disk.max_zeroes");
_Static_assert(offsetof(struct nook_disk, flags) == 20, "disk.flags");
_Static_assert(offsetof(struct nook_disk, serial) == 24, "disk.serial");
_Static_assert(sizeof(struct nook_disk) == 64, "disk");

struct nook_net_page {
    /* The rings, in the order of `Queue::ALL`. */
    uint64_t rings[4];
    /* The side array of each ring, 0 if it has none: for each of its entries a `Side` at the same index, which
       counts if the entry says so (`entry_flags::SIDE`). Only `tx_provide` has one. */
    uint64_t sides[4];
    /* The packet buffers. */
    struct nook_pool_layout pool;
    /* 1 if a filter is to be asked about each frame (`net_filter`), else 0. */
    uint64_t filters;
    /* Mail to the host: filled by the `stats` entry. */
    struct nook_net_stats stats;
    /* How many queues the operator wants the driver to use, at most: `poll_schedule` takes those below. 0 and 1 are
       one. */
    uint64_t queues;
};
_Static_assert(offsetof(struct nook_net_page, rings) == 0, "net_page.rings");
_Static_assert(offsetof(struct nook_net_page, sides) == 32, "net_page.sides");
_Static_assert(offsetof(struct nook_net_page, pool) == 64, "net_page.pool");
_Static_assert(offsetof(struct nook_net_page, filters) == 88, "net_page.filters");
_Static_assert(offsetof(struct nook_net_page, stats) == 96, "net_page.stats");
_Static_assert(offsetof(struct nook_net_page, queues) == 192, "net_page.queues");
_Static_assert(sizeof(struct nook_net_page) == 200, "net_page");

/* Hostcalls. Those that return int32_t or int64_t return a negative status, or what they say. */

/* Reads 8 bits of configuration space. */
NOOK_HOSTCALL(config_read8)
uint32_t nook_config_read8(uint32_t offset);

/* Reads 16 bits of configuration space; `offset` is even. */
NOOK_HOSTCALL(config_read16)
uint32_t nook_config_read16(uint32_t offset);

/* Reads 32 bits of configuration space; `offset` is a multiple of 4. */
NOOK_HOSTCALL(config_read32)
uint32_t nook_config_read32(uint32_t offset);

/* Reads an 8-bit register. */
NOOK_HOSTCALL(mmio_read8)
uint32_t nook_mmio_read8(uint32_t bar, uint32_t offset);

/* Reads a 16-bit register; `offset` is even. */
NOOK_HOSTCALL(mmio_read16)
uint32_t nook_mmio_read16(uint32_t bar, uint32_t offset);

/* Reads a 32-bit register; `offset` is a multiple of 4. */
NOOK_HOSTCALL(mmio_read32)
uint32_t nook_mmio_read32(uint32_t bar, uint32_t offset);

/* Reads a 64-bit register; `offset` is a multiple of 8. */
NOOK_HOSTCALL(mmio_read64)
uint64_t nook_mmio_read64(uint32_t bar, uint32_t offset);

/* Writes an 8-bit register; higher bits of `value` are zero. */
NOOK_HOSTCALL(mmio_write8)
void nook_mmio_write8(uint32_t bar, uint32_t offset, uint32_t value);

/* Writes a 16-bit register; `offset` is even, higher bits of `value` are zero. */
NOOK_HOSTCALL(mmio_write16)
void nook_mmio_write16(uint32_t bar, uint32_t offset, uint32_t value);

/* Writes a 32-bit register; `offset` is a multiple of 4. */
NOOK_HOSTCALL(mmio_write32)
void nook_mmio_write32(uint32_t bar, uint32_t offset, uint32_t value);

/* Writes a 64-bit register; `offset` is a multiple of 8. */
NOOK_HOSTCALL(mmio_write64)
void nook_mmio_write64(uint32_t bar, uint32_t offset, uint64_t value);

/* Returns once all earlier register writes have reached the device. */
NOOK_HOSTCALL(mmio_flush)
void nook_mmio_flush(void);

/* Allocates zeroed DMA memory in the window, aligned to `align_bytes` (a power of two, at most 4096). The result is
   the region's handle in bits 32 to 62 and its offset in the window in bits 0 to 31, or `NoMemory`. */
NOOK_HOSTCALL(dma_alloc)
int64_t nook_dma_alloc(uint32_t len_bytes, uint32_t align_bytes);

/* Gives a region back. The device must no longer use it. */
NOOK_HOSTCALL(dma_free)
void nook_dma_free(uint32_t region);

/* Lets the device start DMA (bus mastering). Nothing else turns it on for a driver that never asked. */
NOOK_HOSTCALL(dma_enable)
int32_t nook_dma_enable(void);

/* Stops all DMA of the device. */
NOOK_HOSTCALL(dma_disable)
int32_t nook_dma_disable(void);

/* Starts delivery of interrupt `vector` to `irq`; less than the manifest's `irq_vectors`. */
NOOK_HOSTCALL(irq_enable)
int32_t nook_irq_enable(uint32_t vector);

/* Ends delivery of interrupt `vector`; `irq` is not called again once this has returned. */
NOOK_HOSTCALL(irq_disable)
int32_t nook_irq_disable(uint32_t vector);

/* Nanoseconds of a monotonic clock, now. The host page has the time shortly before the call, for free. */
NOOK_HOSTCALL(clock_ns)
uint64_t nook_clock_ns(void);

/* Waits without sleeping, at least `ns` nanoseconds, at most 10 ms a call. */
NOOK_HOSTCALL(delay_ns)
void nook_delay_ns(uint32_t ns);

/* Sleeps at least `ns` nanoseconds, at most 1 s a call. */
NOOK_HOSTCALL(sleep_ns)
void nook_sleep_ns(uint64_t ns);

/* Asks for one call of `timer` at `due_ns` of the monotonic clock; replaces an earlier wish, and 0 cancels it. */
NOOK_HOSTCALL(timer_set)
void nook_timer_set(uint64_t due_ns);

/* Asks for one call of `work`, in process context. */
NOOK_HOSTCALL(work_schedule)
void nook_work_schedule(void);

/* A message for people: `len_bytes` of UTF-8 at `text`, at most 512; `level` is 1 (error) to 4 (debug). */
NOOK_HOSTCALL(log)
void nook_log(uint32_t level, uintptr_t text, uint32_t len_bytes);

/* Asks for a call of `poll` for this queue, as `irq` does with its result for queue 0. `queue` is less than the
   manifest's `queues`, and than the number that the operator wants. */
NOOK_HOSTCALL(poll_schedule)
void nook_poll_schedule(uint32_t queue);

/* Makes the network interface, once, in `probe`. `mac` holds the address's first byte in bits 0 to 7; `max_mtu` is
   in bytes. */
NOOK_HOSTCALL(net_attach)
int32_t nook_net_attach(uint64_t mac, uint32_t max_mtu);

/* Says what the device does to frames in the host's place, once, in `probe`, after `net_attach`: bits of `offload`.
   A driver that does not say has none. */
NOOK_HOSTCALL(net_offloads)
void nook_net_offloads(uint32_t offloads);

/* Reports the link: `up` is 0 or 1, `speed_mbps` 0 if it is down or the device does not know, `full_duplex` 0 or 1. */
NOOK_HOSTCALL(net_link)
void nook_net_link(uint32_t up, uint32_t speed_mbps, uint32_t full_duplex);

/* Asks the nook's filter about a frame of `len_bytes` at `offset` in the window; `direction` is a
   `filter_direction`, the answer a `filter_verdict`. The filter is called without the host; if the nook has none
   (the host page's `filters` is 0), the host answers `PASS`. The SDK makes this call. */
NOOK_HOSTCALL(net_filter)
uint32_t nook_net_filter(uint32_t direction, uint32_t offset, uint32_t len_bytes);

/* Names the counters that the driver has besides `NetStats`, once, in `probe`: the mailbox holds `len_bytes` of
   ASCII, a name a line. A name is a lower-case letter and up to 30 of these, digits and `_`; there are at most 128,
   all different. */
NOOK_HOSTCALL(net_counters)
void nook_net_counters(uint32_t len_bytes);

/* Reports what the named counters have counted since the driver's start, in `stats`: the mailbox holds `count` words
   of 64 bits, as many as were named and in that order. None of them is less than was reported before. Over restarts
   the host sums them up. */
NOOK_HOSTCALL(net_counts)
void nook_net_counts(uint32_t count);

/* Says what the device can do, once, in `probe`: the mailbox holds `len_bytes` of UTF-8, an operation a line, as
   `name`, `name INPUT` or `name INPUT OUTPUT`. The latter two are an example: bytes in hexadecimal, `-` if there are
   none. The host calls an operation by the number of its line, from 0; there are at most 64. */
NOOK_HOSTCALL(misc_attach)
int32_t nook_misc_attach(uint32_t len_bytes);

/* Completes an operation that is open: `status` is 0, and the mailbox holds `len_bytes` of output, or it is a
   negative `Status`, and `len_bytes` is 0. */
NOOK_HOSTCALL(misc_complete)
void nook_misc_complete(uint32_t ticket, int32_t status, uint32_t len_bytes);

/* Says what the disk is, once, in `probe`: the mailbox begins with a `Disk`, of which the driver knows `len_bytes`.
   A driver that was restarted has to find the same disk. */
NOOK_HOSTCALL(block_attach)
int32_t nook_block_attach(uint32_t len_bytes);

/* Says what the port is, once, in `probe`: the most bytes that its chip holds each way, 1 to 65536, and the highest
   rate, in baud. */
NOOK_HOSTCALL(serial_attach)
int32_t nook_serial_attach(uint32_t fifo_bytes, uint32_t most_baud);

/* Takes the next byte that is to be sent, in `poll`, and the driver gives it to the chip at once; 0x100 if there is
   none. */
NOOK_HOSTCALL(serial_next)
uint32_t nook_serial_next(void);

/* Hands over what was received, in `poll`, in order and at most as often as its `budget` says: the byte in bits 0 to
   7, and bits of `received`. */
NOOK_HOSTCALL(serial_received)
void nook_serial_received(uint32_t value);

/* Reports the lines from the other side, as they are: bits of `modem`. */
NOOK_HOSTCALL(serial_modem)
void nook_serial_modem(uint32_t lines);

/* Hints: the loader puts an instruction in the place of each call. */

/* Stores the 8 bytes of `value` at `addr + offset` (a sum below 2^32). A rollback leaves them as they are: they are
   for memory whose content means nothing when a call begins. */
NOOK_HINT(store64)
void nook_hint_store64(uintptr_t addr, uint64_t value, uint32_t offset);

/* Entries of a driver: it defines those that are required, and of the others what it has. */

/* Finds out what the device is, brings it to a known state, attaches what its class serves. `reason` is a
   `ProbeReason`; `host_page` is the address of the `HostPage`. Required. */
NOOK_ENTRY(probe)
int32_t nook_probe(uint32_t reason, uintptr_t host_page);

/* The driver is going away: the device is quiet when this returns. Required. */
NOOK_ENTRY(remove)
void nook_remove(void);

/* Service begins: rings, interrupts, whatever the device needs for its work. Required. */
NOOK_ENTRY(open)
int32_t nook_open(void);

/* Service ends: DMA and interrupts stop, and all that the driver was given is returned. Required. */
NOOK_ENTRY(stop)
int32_t nook_stop(void);

/* Moves what its class moves between the host's rings and the device, at most `budget` entries of each ring. `flags`
   holds bits of the class. `queue` is 0, or one that `poll_schedule` asked for; what was asked for is called in
   turn. Returns a `poll_result`. Required. */
NOOK_ENTRY(poll)
uint32_t nook_poll(uint32_t queue, uint32_t budget, uint32_t flags);

/* An interrupt fired, perhaps another device's. Returns `irq_result` bits. Required. */
NOOK_ENTRY(irq)
uint32_t nook_irq(uint32_t vector);

/* The time asked for by `timer_set` has come. Optional. */
NOOK_ENTRY(timer)
void nook_timer(void);

/* What `work_schedule` asked for. Optional. */
NOOK_ENTRY(work)
void nook_work(void);

/* Writes fresh counters where its class has them in the host page, and adds 1 to the page's `stats_written`.
   Optional. */
NOOK_ENTRY(stats)
void nook_stats(void);

/* Changes the interface's address; first byte in bits 0 to 7. Optional. */
NOOK_ENTRY(set_mac)
int32_t nook_set_mac(uint64_t mac);

/* Changes the largest payload, in bytes, without the Ethernet header. Optional. */
NOOK_ENTRY(set_mtu)
int32_t nook_set_mtu(uint32_t mtu_bytes);

/* Changes what is received: `mode` holds `rx_mode` bits; the mailbox holds `multicast_count` addresses of 6 bytes,
   at most 256. Optional. */
NOOK_ENTRY(set_rx_mode)
int32_t nook_set_rx_mode(uint32_t mode, uint32_t multicast_count);

/* Turns loopback inside the device on or off: `mode` is a `loopback_mode`. While it is on, what is sent is received,
   nothing passes the cable, and the driver reports a link. Optional. */
NOOK_ENTRY(set_loopback)
int32_t nook_set_loopback(uint32_t mode);

/* Begins an operation: the mailbox holds `len_bytes` of input. 0 accepts it: it is open, under `ticket`, until
   `misc_complete` tells what came of it, in this call or a later one. A negative `Status` refuses it: then it was
   never open. At most 8 are open at a time; a driver that can do fewer answers `Busy`, and is asked again. Required. */
NOOK_ENTRY(invoke)
int32_t nook_invoke(uint32_t ticket, uint32_t operation, uint32_t len_bytes);

/* Sets how bytes look on the line: bits each second, and data bits in bits 0 to 7 of `format`, a `Parity` in 8 to
   15, stop bits in 16 to 23. What the chip was given before has left it. `Unsupported` if the chip cannot be set so;
   then nothing has changed. Required. */
NOOK_ENTRY(set_line)
int32_t nook_set_line(uint32_t baud, uint32_t format);

/* Sets the lines towards the other side, and what else `control` names. Required. */
NOOK_ENTRY(set_control)
int32_t nook_set_control(uint32_t lines);

/* Entries of a filter: it defines all of them, and nothing of the above. */

/* Begins. `host_page` is the address of a `HostPage` in the filter's own memory, of which only the window, the
   packet buffers and the mailbox are filled in; the mailbox holds `rules_len_bytes` of UTF-8: what the operator asks
   for, a rule a line. `Invalid` refuses them. */
NOOK_ENTRY(begin)
int32_t nook_begin(uintptr_t host_page, uint32_t rules_len_bytes);

/* A frame passes: the driver calls it, as `net_filter`. Returns a `filter_verdict`. */
NOOK_ENTRY(frame)
uint32_t nook_frame(uint32_t direction, uint32_t offset, uint32_t len_bytes);

#endif
