/*
 * ipc/message.c: which ops are accepted, where their words go, and that handles go all or none. The table of handles is
 * here what cap.h promises of it (handles.c proves that): any look-up, insertion or removal may fail, because another CPU was faster.
 */
#include <stdint.h>
static uint64_t page_word(const uint64_t *word);
#define __atomic_load_n(word, order) page_word(word)
#include <kernel/ipc/endpoint.c>
#include <kernel/ipc/message.c>
#include <proof.h>

static struct tess_message_page message;
static uint64_t page_word(const uint64_t *word)
{
    PROVE(word >= message.words && word < message.words + 12);
    return nondet_u64(); /* the program changes it whenever it likes */
}

void spinlock_wait(struct spinlock *lock, const struct lock_site *site) { PROVE(!"taken twice"); }
void *proof_ram_at(paddr_t address) { return nullptr; }

status_t audit_denied(struct cspace *actor, const struct object *object, uint64_t op, uint32_t rights) { return ERROR_MISSING_RIGHT; }
void audit_gave(uint32_t what, struct cspace *from, struct cspace *to, const struct object *object, uint32_t rights, uint64_t badge) {}

/* ---- Words ---- */

void proof_message_words(void)
{
    static struct thread from, to;
    from.message = to.message = &message;
    uint64_t op = nondet_u64();
    ASSUME(message_is_valid(op));
    PROVE(op_words(op) <= MESSAGE_WORDS && op_handles(op) <= MESSAGE_HANDLES);
    PROVE(op_handles(op) == 0 || op_words(op) <= MESSAGE_HANDLE_WORD); /* handles overwrite no word */
    uint64_t words[12];
    for (uint32_t i = 0; i < 4; i++)
        from.frame.words[i] = nondet_u64();
    message_read(&from.waiter, op, words);
    for (uint32_t i = 0; i < 4; i++)
        PROVE(words[i] == (i < op_words(op) ? from.frame.words[i] : 0)); /* nothing of the sender's but the message */
    message_write(&to.waiter, op, 7, words);
    for (uint32_t i = 0; i < 4; i++)
        PROVE(to.frame.words[i] == words[i]);
    REACHED();
}

void proof_message_short(void)
{
    uint64_t op = nondet_u64();
    ASSUME(message_is_valid(op));
    uint64_t masked = op & OP_MESSAGE_MASK;
    PROVE(is_short(masked) == (op_words(op) <= MESSAGE_REGISTERS && op_handles(op) == 0));
    /* The quick way looks at unchecked ops: what it takes for short is valid. */
    uint64_t any = nondet_u64();
    PROVE(!is_short(any) || message_is_valid(any));
    REACHED();
}

/* ---- Handles ---- */

static struct cspace source, target;
static struct object object;
static struct slot slots[3];
static uint8_t inserted[MESSAGE_HANDLES], removed_source[MESSAGE_HANDLES], inserted_count, undone;
static uint64_t in[4];

status_t cspace_lookup(struct cspace *cspace, handle_t handle, struct cap *out_cap)
{
    PROVE(cspace == &source);
    if (handle >= 3)
        return ERROR_BAD_HANDLE;
    *out_cap = (struct cap){.object = &object, .slot = &slots[handle], .rights = slots[handle].rights, .generation = 1};
    return OK;
}
status_t cspace_insert(struct cspace *cspace, struct object *what, const struct cap *parent, uint32_t rights, struct badge *badge,
                       handle_t *out_handle)
{
    PROVE(cspace == &target && what == &object && rights == parent->rights && badge == nullptr);
    if (nondet_bool())
        return nondet_bool() ? ERROR_NO_HANDLES : ERROR_STALE_HANDLE;
    PROVE(inserted_count < MESSAGE_HANDLES);
    *out_handle = 100 + inserted_count++;
    return OK;
}
status_t cspace_remove(struct cspace *cspace, handle_t handle)
{
    if (cspace == &target) {
        PROVE(handle >= 100 && handle < 100 + inserted_count);
        PROVE(!inserted[handle - 100]); /* each once */
        inserted[handle - 100] = 1;
        undone++;
    } else {
        bool is_known = false;
        for (uint32_t i = 0; i < 4; i++)
            if (in[i] == handle && !removed_source[i] && !is_known) {
                removed_source[i] = 1;
                is_known = true;
            }
        PROVE(is_known);
    }
    return nondet_bool() ? OK : ERROR_STALE_HANDLE;
}

void proof_message_handles(void)
{
    uint64_t op = nondet_u64(), out[4];
    ASSUME(message_is_valid(op));
    uint32_t count = op_handles(op), moved = 0;
    for (uint32_t i = 0; i < 3; i++)
        slots[i].rights = nondet_u32();
    for (uint32_t i = 0; i < 4; i++)
        out[i] = in[i] = nondet_u64();
    bool is_same_array = nondet_bool();
    status_t status = message_transfer_handles(op, is_same_array ? out : in, &source, &target, out);
    for (uint32_t i = 0; i < 4; i++)
        moved += removed_source[i];
    if (status != OK) {
        PROVE(undone == inserted_count && moved == 0); /* none, and nothing gone */
        return;
    }
    REACHED();
    PROVE(inserted_count == count && undone == 0);
    for (uint32_t i = 0; i < count; i++) {
        bool is_move = (op_move_mask(op) >> i) & 1;
        PROVE(in[i] < 3 && (slots[in[i]].rights & (is_move ? RIGHT_MOVE : RIGHT_COPY)) != 0);
        PROVE(out[i] == 100 + i);
        moved -= is_move;
        for (uint32_t j = 0; j < i; j++)
            PROVE(in[i] != in[j] || (!is_move && !((op_move_mask(op) >> j) & 1))); /* what moves goes to one place */
    }
    PROVE(moved == 0); /* gone are those that move, and no others */
}
