/*
 * Indices run freely and are masked. The kernel writes cq_tail after the entry (release), we read it with acquire before the
 * entry; the same the other way round for sq_tail and cq_head.
 */
#include <std/program.h>
#include <std/ring.h>
#include <stdatomic.h>
#include <tess/invoke.h>
#include <tess/stub/ring.h>
#include <tess/stub/untyped.h>

constexpr uint64_t ENTRIES_OFFSET = 128; /* see struct ring_header in abi/types.toml */

static uint32_t load_index(uint32_t *index) { return atomic_load_explicit((_Atomic uint32_t *)index, memory_order_acquire); }

static void store_index(uint32_t *index, uint32_t value) { atomic_store_explicit((_Atomic uint32_t *)index, value, memory_order_release); }

status_t std_ring_open(struct std_ring *ring, const struct std_ring_sizes *sizes)
{
    struct std_mapping mapping;
    handle_t handle;
    uint64_t size =
        ENTRIES_OFFSET + sizeof(struct tess_submission) * sizes->sq_entries + sizeof(struct tess_completion) * sizes->cq_entries;
    status_t status = std_mapping_create(size, 0, &mapping);
    if (status != OK) {
        return status;
    }
    status = tess_untyped_create_ring(std_self.untyped, mapping.memory, sizes->sq_entries, sizes->cq_entries, sizes->call_slots,
                                      sizes->watch_slots, sizes->operation_slots, &handle);
    if (status != OK) {
        std_mapping_destroy(&mapping);
        return status;
    }
    uint8_t *base = mapping.address;
    struct tess_submission *submissions = (struct tess_submission *)(base + ENTRIES_OFFSET);
    *ring = (struct std_ring){
        .handle = handle,
        .mapping = mapping,
        .header = (struct tess_ring_header *)base,
        .submissions = submissions,
        .completions = (struct tess_completion *)(submissions + sizes->sq_entries),
        .sq_entries = sizes->sq_entries,
        .cq_entries = sizes->cq_entries,
    };
    return OK;
}

void std_ring_close(struct std_ring *ring)
{
    std_handle_delete(ring->handle);
    std_mapping_destroy(&ring->mapping);
    *ring = (struct std_ring){};
}

bool std_ring_take(struct std_ring *ring, struct tess_completion *out_completion)
{
    if (load_index(&ring->header->cq_tail) == ring->cq_head) {
        return false;
    }
    *out_completion = ring->completions[ring->cq_head & (ring->cq_entries - 1)];
    store_index(&ring->header->cq_head, ++ring->cq_head);
    return true;
}

status_t std_ring_enter(struct std_ring *ring, uint32_t min_complete, uint64_t deadline_ns)
{
    uint32_t submitted, available;
    status_t status = tess_ring_enter(ring->handle, ring->sq_unsent, min_complete, &submitted, &available, deadline_ns);
    ring->sq_unsent = ring->sq_tail - load_index(&ring->header->sq_head);
    return status;
}

status_t std_ring_wait(struct std_ring *ring, struct tess_completion *out_completion, uint64_t deadline_ns)
{
    for (;;) {
        if (ring->sq_unsent == 0 && std_ring_take(ring, out_completion)) {
            return OK;
        }
        status_t status = std_ring_enter(ring, 1, deadline_ns);
        if (std_ring_take(ring, out_completion)) {
            return OK;
        }
        if (status != OK) {
            return status;
        }
    }
}

status_t std_ring_submit(struct std_ring *ring, const struct tess_submission *submission)
{
    if (ring->sq_unsent == ring->sq_entries) {
        return ERROR_NO_SPACE;
    }
    ring->submissions[ring->sq_tail & (ring->sq_entries - 1)] = *submission;
    ring->sq_unsent++;
    store_index(&ring->header->sq_tail, ++ring->sq_tail);
    return OK;
}

status_t std_ring_reply(struct std_ring *ring, uint64_t token, status_t status, const struct tess_call *call)
{
    struct tess_regs regs = {.op = OP_RING_REPLY | (uint64_t)(uint32_t)status << 32, .handle = ring->handle, .aux = token};
    if (call != nullptr && status >= 0) {
        regs.op |= (uint64_t)call->reply_words << 16 | (uint64_t)call->reply_handles << 20 | (uint64_t)call->reply_move_mask << 24;
        for (uint32_t i = 0; i < 4; i++) {
            regs.word[i] = call->words[i];
        }
        struct tess_message_page *page = tess_message_page();
        for (uint32_t i = 4; i < call->reply_words; i++) {
            page->words[i] = call->words[i];
        }
        for (uint32_t i = 0; i < call->reply_handles; i++) {
            page->words[MESSAGE_HANDLE_WORD + i] = call->words[MESSAGE_HANDLE_WORD + i];
        }
    }
    return tess_invoke(&regs);
}
