/*
 * Futexes: threads that wait for a word of memory to change. A word is known by its memory object and offset, so it is the same one
 * under every address it is mapped at. The waiting threads themselves are the records, in a fixed number of queues by hash.
 * Order: vspace->lock, then a queue's lock, or two of them by address.
 */
#pragma once
#include <kernel/vspace.h>

void futex_init(void);
/* The memory died: whoever waits for a word of it is told (PEER_DIED). No lock held. */
void futex_memory_gone(struct memory *memory);
