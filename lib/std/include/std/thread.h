/* Further threads of this process. Each has its own message page, thread block and stack with a guard page. */
#pragma once
#include <std/memory.h>
#include <stdatomic.h>
#include <stdint.h>
#include <tess/abi.h>

struct std_thread {
    handle_t thread;
    handle_t ended; /* event: bit 0 when the thread will not touch its stack any more */
    struct std_mapping mapping;
};
/* `thread` stays in place until joined. stack_bytes 0 = 64 KiB (pages come on demand). */
[[nodiscard]] status_t std_thread_start(struct std_thread *thread, void (*fn)(void *context), void *context, uint64_t stack_bytes);
/* Waits for fn to return and gives everything back. TIMED_OUT: nothing happened. */
[[nodiscard]] status_t std_thread_join(struct std_thread *thread, uint64_t deadline_ns);

/* A lock that sleeps on its word when contended (Drepper, "Futexes Are Tricky", mutex 2). Not recursive. All zero is a free one. It may
 * lie in memory shared with other processes. */
struct std_mutex {
    _Atomic uint32_t state; /* 0 free, 1 taken, 2 taken and somebody may sleep */
};
[[nodiscard]] status_t std_mutex_init(struct std_mutex *mutex); /* always OK */
void std_mutex_destroy(struct std_mutex *mutex);                /* nobody holds it */
void std_mutex_lock(struct std_mutex *mutex);
void std_mutex_unlock(struct std_mutex *mutex);
