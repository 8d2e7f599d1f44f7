/* What DPDK's own build would find out about the machine. The environment counts as Linux, whose headers ask for the
   least; nothing of Linux is used. */
#ifndef NOOK_RTE_BUILD_CONFIG_H
#define NOOK_RTE_BUILD_CONFIG_H

#define RTE_ARCH "wasm32"
#define RTE_ARCH_32 1
#define RTE_ARCH_STRICT_ALIGN 0
#define RTE_CACHE_LINE_SIZE 64
#define RTE_TOOLCHAIN "clang"
#define RTE_TOOLCHAIN_CLANG 1
#define RTE_EXEC_ENV_LINUX 1
#define RTE_EXEC_ENV_IS_LINUX 1
#define RTE_EXEC_ENV_IS_FREEBSD 0
#define RTE_EXEC_ENV_IS_WINDOWS 0
#define RTE_BACKTRACE 0
/* No processor has these instructions, so the portable forms are taken. */
#define RTE_FORCE_INTRINSICS 1
/* A device's addresses are not the driver's: DMA buffers say both. */
#define RTE_IOVA_AS_PA 1
/* One thread, one port, one of everything. */
#define RTE_MAX_LCORE 1
#define RTE_MAX_NUMA_NODES 1
#define RTE_MAX_ETHPORTS 1
#define RTE_MAX_VFIO_GROUPS 1

/* Numbers of protocols (IANA) that wasi-libc leaves out. */
#define IPPROTO_HOPOPTS 0
#define IPPROTO_IPIP 4
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_GRE 47
#define IPPROTO_ESP 50
#define IPPROTO_AH 51
#define IPPROTO_NONE 59
#define IPPROTO_DSTOPTS 60
#define IPPROTO_SCTP 132

#endif
