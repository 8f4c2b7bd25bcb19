/* Messages between waiters (message.c). A waiter is claimed, or of the present call. */
#pragma once
#include <kernel/ipc.h>

constexpr uint32_t MESSAGE_REGISTERS = 4; /* words that travel in registers */

/* The message of `from` as it stands: shared words are read once, what is not part of it is zero (or not looked at). */
void message_read(struct waiter *from, uint64_t op, uint64_t words[12]);
void message_write(struct waiter *to, uint64_t op, uint64_t badge, const uint64_t words[12]);
/* Transfers the handles of a message that was read; their new values are in its words. */
[[nodiscard]] status_t message_handles(struct waiter *from, struct cspace *to, uint64_t op, uint64_t words[12]);
/* Any message. */
[[nodiscard]] status_t message_pass_long(struct waiter *from, struct waiter *to, uint64_t op, uint64_t badge);
