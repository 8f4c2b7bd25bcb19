/*
 * What every harness uses. A harness includes the kernel's own .c file, chooses its inputs with nondet_…() and ASSUME(), runs it, and
 * states with PROVE() what must hold; CBMC looks at every input. REACHED() stands where a harness must be able to arrive: with
 * PROOF_REACHES each must fail, so that no proof holds for want of inputs.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASSUME(condition) __CPROVER_assume(condition)
#define PROVE(condition) __CPROVER_assert(condition, #condition)
#define __builtin_assume(condition) PROVE(condition) /* what the kernel tells the compiler */
#ifdef PROOF_REACHES
#define REACHED() __CPROVER_assert(0, "reached")
#else
#define REACHED() ((void)0)
#endif

bool nondet_bool(void);
uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);

/* A number below `limit`. */
static inline uint32_t choose(uint32_t limit)
{
    uint32_t value = nondet_u32();
    ASSUME(value < limit);
    return value;
}
