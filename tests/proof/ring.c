/*
 * ipc/ring.c against a hostile peer: queues of every size that untyped.create_ring admits, kernel indices anywhere, and shared words that
 * hold something else at every look. Nothing outside the ring's memory is touched (CBMC's own checks of every access, with the entries' offsets
 * proven separately), and the promises made (`reserved`) never exceed the queue. With a peer that keeps its index still, no
 * completion is ever written over one that it has not consumed.
 */
#include <stdint.h>
#include <tess/abi.h>
static struct tess_ring_header shared;
static uint32_t shared_word(const uint32_t *word);
#define __atomic_load_n(word, order) (__CPROVER_same_object(word, &shared) ? shared_word((const uint32_t *)(word)) : *(word))
#include <kernel/ipc/ring.h>
#define ring_at(ring, offset) checked_entry(ring, offset)
static void *checked_entry(struct ring *ring, uint32_t offset);
#include <kernel/ipc/ring.c>
#include <kernel/ipc/ring_call.c>
#include <proof.h>
#undef ring_at

#ifndef STEPS
#define STEPS 2
#endif

static bool is_honest;
static uint32_t honest_head;
static uint8_t *pages[64];
static struct ring ring;

static uint32_t shared_word(const uint32_t *word)
{
    PROVE(word == &shared.sq_tail || word == &shared.cq_head); /* the kernel believes no other */
    if (is_honest && word == &shared.cq_head)
        return honest_head;
    return nondet_u32();
}

/* Every entry that is touched lies whole in the ring's memory, behind the header, inside one page. Its content is any. */
static void *checked_entry(struct ring *at, uint32_t offset)
{
    static uint64_t entry[RING_ENTRY_SIZE / 8];
    PROVE(at == &ring && offset % RING_ENTRY_SIZE == 0 && offset >= RING_SUBMISSIONS_OFFSET);
    PROVE((uint64_t)offset + RING_ENTRY_SIZE <= RING_SUBMISSIONS_OFFSET + (uint64_t)RING_ENTRY_SIZE * (ring.sq_entries + ring.cq_entries));
    PROVE(offset / PAGE_SIZE < ring.page_count && offset % PAGE_SIZE + RING_ENTRY_SIZE <= PAGE_SIZE);
    for (uint32_t i = 0; i < RING_ENTRY_SIZE / 8; i++)
        entry[i] = nondet_u64();
    return entry;
}

void spinlock_wait(struct spinlock *lock, const struct lock_site *site) { PROVE(!"taken twice"); }
void *proof_ram_at(paddr_t address) { return nullptr; }
static uint32_t log2_of(uint32_t limit)
{
    uint32_t n = choose(11);
    ASSUME((1u << n) <= limit);
    return n;
}

static void begin(void)
{
    ring.sq_entries = 1u << log2_of(SQ_MAX);
    ring.cq_entries = 1u << log2_of(CQ_MAX);
    ASSUME(ring.cq_entries >= 2);
    ring.sq_head = nondet_u32();
    ring.cq_tail = nondet_u32();
    ring.page_count =
        (RING_SUBMISSIONS_OFFSET + RING_ENTRY_SIZE * (ring.sq_entries + ring.cq_entries) + (uint32_t)PAGE_SIZE - 1) >> PAGE_SHIFT;
    ring.pages = pages;
    pages[0] = (uint8_t *)&shared;
    list_init(&ring.waiter.waiters);
    list_init(&ring.pending);
    list_init(&ring.done);
    list_init(&ring.cancelled);
    list_init(&ring.endpoints);
    honest_head = ring.cq_tail - choose(ring.cq_entries + 1);
    is_honest = nondet_bool();
    ring.reserved = nondet_u32();
    ASSUME(ring.reserved <= ring.cq_entries - (is_honest ? ring.cq_tail - honest_head : 0));
}

static void prove_room(void)
{
    PROVE(ring.reserved <= ring.cq_entries);
    if (is_honest) /* what is not consumed and what is promised fit together */
        PROVE(ring.cq_tail - honest_head + ring.reserved <= ring.cq_entries);
    PROVE(ring_completions_used(&ring) <= ring.cq_entries);
    PROVE(ring.lock.is_held == 0);
}

/* What ring_at() makes of an offset that checked_entry() accepts. */
void proof_ring_at(void)
{
    static uint8_t page[PAGE_SIZE];
    begin();
    for (uint32_t i = 0; i < 64; i++)
        pages[i] = i < ring.page_count ? page : nullptr;
    uint32_t offset = nondet_u32();
    ASSUME(offset % RING_ENTRY_SIZE == 0 && offset < RING_SUBMISSIONS_OFFSET + RING_ENTRY_SIZE * (ring.sq_entries + ring.cq_entries));
    uint8_t *entry = ring_at(&ring, offset);
    PROVE(entry >= page && entry + RING_ENTRY_SIZE <= page + PAGE_SIZE && (uint64_t)(entry - page) == offset % PAGE_SIZE);
    PROVE(ring.page_count <= 64);
    REACHED();
}

void proof_ring_promises(void)
{
    begin();
    for (uint32_t step = 0; step < STEPS + 1; step++) {
        uint32_t index = 0, before = ring.reserved;
        struct tess_completion completion = {};
        switch (choose(3)) {
        case 0:
            if (ring_reserve_call(&ring, false, &index))
                PROVE(ring.reserved == before + 1);
            else
                PROVE(ring.reserved == before && ring.wants_pump);
            break;
        case 1:
            if (before > 0)
                (void)ring_unreserve_call(&ring, UINT32_MAX);
            break;
        default: (void)ring_deliver_badge_gone(&ring, 0, 1);
        }
        prove_room();
    }
    REACHED();
}
