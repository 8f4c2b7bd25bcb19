/*
 * Ordering between this CPU and a device that reads and writes ordinary memory. Queue words are _Atomic and use acquire and
 * release (VIRTIO 1.2, 2.7.13 and 2.7.14); what C has no word for is "memory before a device register".
 */
#pragma once
#include <stdatomic.h>

/* Everything written to memory before is visible to the device when a register written after this reaches it. */
static inline void virtio_barrier_register(void)
{
#if defined(__aarch64__)
    __asm__ volatile("dmb oshst" ::: "memory"); /* normal before device stores: Arm ARM B2.3.11 */
#elif defined(__riscv)
    __asm__ volatile("fence w, o" ::: "memory"); /* memory writes before device output: RISC-V ISA vol. 1, 2.7 */
#else
    atomic_signal_fence(memory_order_seq_cst); /* x86 stores to uncached registers stay behind earlier stores: SDM vol. 3, 9.2 */
#endif
}

/* A device register read before this was read before any memory read after it. */
static inline void virtio_barrier_memory(void)
{
#if defined(__aarch64__)
    __asm__ volatile("dmb oshld" ::: "memory");
#elif defined(__riscv)
    __asm__ volatile("fence i, r" ::: "memory");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}
