/*
 * What a message says, on its way between threads and operations: words of registers and message page, or of the operation's record,
 * and handles, which are moved or copied all or none.
 */
#include "message.h"
#include <arch/arch.h>
#include <kernel/audit.h>
#include <kernel/process.h>

constexpr uint64_t OP_RESERVED = 1 << 23; /* means nothing, so nobody may set it */

bool message_is_valid(uint64_t op)
{
    uint32_t words = op_words(op), handles = op_handles(op);
    return words <= MESSAGE_WORDS && handles <= MESSAGE_HANDLES && (handles == 0 || words <= MESSAGE_HANDLE_WORD) &&
           (op_move_mask(op) >> handles) == 0 && (op & OP_RESERVED) == 0;
}

status_t message_transfer_handles(uint64_t op, const uint64_t in[4], struct cspace *from, struct cspace *to, uint64_t out[4])
{
    uint32_t count = op_handles(op);
    struct cap caps[MESSAGE_HANDLES];
    handle_t sources[MESSAGE_HANDLES]; /* `in` and `out` may be the same array */
    for (uint32_t i = 0; i < count; i++) {
        sources[i] = in[i];
        status_t status = cspace_lookup(from, in[i], &caps[i]);
        if (status != OK)
            return status;
        bool is_move = (op_move_mask(op) >> i) & 1;
        if ((caps[i].rights & (is_move ? RIGHT_MOVE : RIGHT_COPY)) == 0)
            return audit_denied(from, caps[i].object, op, caps[i].rights);
        for (uint32_t j = 0; j < i; j++)
            if (caps[j].slot == caps[i].slot && (is_move || ((op_move_mask(op) >> j) & 1)))
                return ERROR_BAD_ARGUMENT; /* the same handle twice, and moved */
    }
    /* First insert all as copies (each may fail), then delete the sources of the moved ones (cannot fail in a way that matters). */
    for (uint32_t i = 0; i < count; i++) {
        status_t status = cspace_insert(to, caps[i].object, &caps[i], caps[i].rights, nullptr, &out[i]);
        if (status != OK) {
            while (i-- > 0) {
                status_t undone = cspace_remove(to, out[i]);
                (void)undone; /* may be revoked already */
            }
            return status;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        audit_gave(AUDIT_GIVE, from, to, caps[i].object, caps[i].rights, badge_number(caps[i].badge));
        if ((op_move_mask(op) >> i) & 1) {
            status_t removed = cspace_remove(from, sources[i]);
            (void)removed; /* a revoke that came between took both */
        }
    }
    return OK;
}

/* The caller's message as it stands in its registers and message page; shared words are read once. A register that is not part
 * of the message holds whatever the sender's program had there: the other side gets zero. */
static void thread_read(struct thread *thread, uint64_t op, uint64_t words[12])
{
    uint32_t count = op_words(op);
    for (uint32_t i = 0; i < 4; i++)
        words[i] = i < count ? arch_frame_word(&thread->frame, i) : 0;
    for (uint32_t i = 4; i < count; i++)
        words[i] = __atomic_load_n(&thread->message->words[i], __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < op_handles(op); i++)
        words[MESSAGE_HANDLE_WORD + i] = __atomic_load_n(&thread->message->words[MESSAGE_HANDLE_WORD + i], __ATOMIC_RELAXED);
}

static void thread_write(struct thread *thread, uint64_t op, uint64_t badge, const uint64_t words[12])
{
    arch_frame_set_op(&thread->frame, op);
    arch_frame_set_badge(&thread->frame, badge);
    for (uint32_t i = 0; i < 4; i++)
        arch_frame_set_word(&thread->frame, i, words[i]);
    uint32_t count = op_words(op);
    for (uint32_t i = 4; i < count; i++)
        thread->message->words[i] = words[i];
    for (uint32_t i = 0; i < op_handles(op); i++)
        thread->message->words[MESSAGE_HANDLE_WORD + i] = words[MESSAGE_HANDLE_WORD + i];
}

void message_read(struct waiter *from, uint64_t op, uint64_t words[12])
{
    if (!from->is_operation) {
        thread_read(waiter_thread(from), op, words);
        return;
    }
    const struct operation *operation = waiter_operation(from);
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        words[i] = i < op_words(op) || (i >= MESSAGE_HANDLE_WORD && i - MESSAGE_HANDLE_WORD < op_handles(op)) ? operation->words[i] : 0;
}

void message_write(struct waiter *to, uint64_t op, uint64_t badge, const uint64_t words[12])
{
    if (!to->is_operation) {
        thread_write(waiter_thread(to), op, badge, words);
        return;
    }
    struct operation *operation = waiter_operation(to);
    operation->op = (uint32_t)op;
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        operation->words[i] = words[i];
}

static struct cspace *cspace_of(struct waiter *waiter)
{
    return waiter->is_operation ? waiter_operation(waiter)->ring->cspace : waiter_thread(waiter)->process->cspace;
}

status_t message_handles(struct waiter *from, struct cspace *to, uint64_t op, uint64_t words[12])
{
    return op_handles(op) == 0
               ? OK
               : message_transfer_handles(op, &words[MESSAGE_HANDLE_WORD], cspace_of(from), to, &words[MESSAGE_HANDLE_WORD]);
}

status_t message_pass_long(struct waiter *from, struct waiter *to, uint64_t op, uint64_t badge)
{
    uint64_t words[12];
    message_read(from, op, words);
    status_t status = message_handles(from, cspace_of(to), op, words);
    if (status == OK)
        message_write(to, op, badge, words);
    return status;
}
