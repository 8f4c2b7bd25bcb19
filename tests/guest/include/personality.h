/*
 * The smallest personality: upcall code in the native range that passes a foreign system call on as a native one, with the same
 * registers, and puts the results back. So a thread that has it may go on with ordinary code, all of which is foreign now.
 *
 * It keeps its figures in the frame (PERSONALITY_*), makes two calls of its own, and goes on behind a fault at user[RECOVERY].
 */
#pragma once
#include <std/memory.h>
#include <tess/abi.h>

enum : uint32_t { /* of tess_upcall_frame.user */
                  PERSONALITY_RECOVERY,
                  PERSONALITY_INTERRUPTS,
                  PERSONALITY_FAULTS,
                  PERSONALITY_ADDRESS,
                  PERSONALITY_CAUSE, /* and access << 32 */
                  PERSONALITY_NATIVE_FAULTS,
                  PERSONALITY_NATIVE_ADDRESS,
};
constexpr uint64_t PERSONALITY_ADD = 0x1000;  /* the sum of the next two registers */
constexpr uint64_t PERSONALITY_LOAD = 0x1001; /* one word from the address in the next register, read by native code; 0 = cannot */

struct personality {
    struct std_mapping frames;
    struct tess_upcall_frame *frame; /* of the first thread; the others follow, UPCALL_FRAME_SIZE bytes each */
};

/* Maps the code, once in a process. */
status_t personality_map(void);
void personality_unmap(void);
uint64_t personality_entry(void); /* the code's address in the native range */
uint64_t personality_fault_entry(void);
uint64_t personality_quick_entry(void); /* the same, but x86_64 comes back from PERSONALITY_ADD without the kernel */
/* Memory for `count` frames, at most 64. */
status_t personality_create(struct personality *personality, uint32_t count);
void personality_destroy(struct personality *personality);
struct tess_upcall_frame *personality_frame(const struct personality *personality, uint32_t index);
/* The thread's native calls, faults and interrupts go through frame `index` from now on. */
status_t personality_take(const struct personality *personality, uint32_t index, handle_t thread);
/* A foreign system call: number and two arguments. */
uint64_t personality_call(uint64_t number, uint64_t a, uint64_t b);
/* Reads a word, or gives ~0 when the fault handler says that it cannot be read. */
uint64_t personality_probe(struct tess_upcall_frame *frame, uint64_t address);
