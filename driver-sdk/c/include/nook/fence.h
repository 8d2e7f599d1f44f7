/* What orders accesses to memory that a device shares. WebAssembly has no volatile accesses: the host's compiler merges
   and removes plain ones, but none across a fence or a hostcall. Code that relies on `volatile` and barriers keeps its
   order if each barrier is this. */
#ifndef NOOK_FENCE_H
#define NOOK_FENCE_H

static inline void nook_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif
