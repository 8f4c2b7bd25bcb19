/* A lock between the threads of processes that share an address space (Drepper, "Futexes Are Tricky", mutex 2). All zero is a free one.
 * Not recursive. fork takes those that it must find free (process.h). */
#pragma once
#include <stdint.h>

struct linux_lock {
    _Atomic uint32_t state; /* 0 free, 1 taken, 2 taken and somebody may sleep */
};
void linux_lock(struct linux_lock *lock);
void linux_unlock(struct linux_lock *lock);

/* Sleeps while *word == expected, until linux_wake, for our own purposes: no signal ends it. May return early. */
void linux_sleep(_Atomic uint32_t *word, uint32_t expected);
void linux_wake(_Atomic uint32_t *word, uint32_t count);
