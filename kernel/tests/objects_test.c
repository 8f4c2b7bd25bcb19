/* Cells, page tables, memories, timers, tables of handles: random operations against models on one CPU; all pages come back. */
#include <arch/arch.h>
#include <check.h>
#include <host.h>
#include <kernel/abi_dispatch.h>
#include <kernel/page.h>
#include <kernel/page_table.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>
#include <stdlib.h>

static uint64_t used(void)
{
    host_settle();
    return untyped_used_pages(untyped_root);
}

static void cells(void)
{
    uint64_t before = used(), cell_pages = object_pages(OBJECT_UNTYPED);
    struct {
        uint8_t *at;
        uint32_t size;
    } held[500] = {};
    for (uint32_t step = 0; step < 50'000; step++) {
        uint32_t i = (uint32_t)rand() % 500;
        if (held[i].at != nullptr) {
            CHECK(held[i].at[0] == (uint8_t)i && held[i].at[held[i].size - 1] == (uint8_t)i);
            untyped_cell_free(untyped_root, OBJECT_EVENT, held[i].at, held[i].size);
            held[i].at = nullptr;
        } else {
            held[i].size = 1 + (uint32_t)rand() % 4096;
            held[i].at = untyped_cell_alloc(untyped_root, OBJECT_EVENT, held[i].size);
            CHECK(held[i].at != nullptr && ((uintptr_t)held[i].at & 63) == 0);
            for (uint32_t n = 0; n < held[i].size; n++)
                CHECK(held[i].at[n] == 0);
            memset(held[i].at, (int)i, held[i].size);
        }
    }
    for (uint32_t i = 0; i < 500; i++)
        if (held[i].at != nullptr)
            untyped_cell_free(untyped_root, OBJECT_EVENT, held[i].at, held[i].size);
    CHECK(used() == before);
    CHECK(object_pages(OBJECT_EVENT) == 0); /* cells of a whole page */
    CHECK(object_pages(OBJECT_UNTYPED) == cell_pages);
}

constexpr uint32_t PLACES = 4096;

static vaddr_t place(uint32_t i)
{
    /* Dense, then spread over level 1, then over level 2. */
    if (i < 2048)
        return 0x40000000 + i * PAGE_SIZE;
    if (i < 3072)
        return 0x80000000 + (i - 2048) * (PAGE_SIZE << 9);
    return 0x30100000 + (i - 3072) % 200 * (PAGE_SIZE << 18) + PAGE_SIZE * ((i - 3072) / 200);
}

static void tables(void)
{
    uint64_t before = used();
    struct vspace *vspace;
    CHECK(vspace_create(untyped_root, &vspace) == OK);
    static paddr_t model[PLACES];
    static uint32_t prots[PLACES];
    for (uint32_t step = 0; step < 60'000; step++) {
        uint32_t i = (uint32_t)rand() % PLACES, kind = (uint32_t)rand() % 8;
        if (kind < 4) {
            paddr_t pa = (paddr_t)(1 + rand() % 100'000) << PAGE_SHIFT;
            uint32_t prot = PROT_USER | PROT_READ | (rand() & PROT_WRITE);
            status_t status = page_table_map(vspace->root, untyped_root, place(i), pa, prot);
            CHECK(status == (model[i] != 0 ? ERROR_ALREADY : OK));
            if (status == OK)
                model[i] = pa, prots[i] = prot;
        } else {
            vaddr_t start = place(i), end = start + ((vaddr_t)(1 + rand() % 300) << (rand() % 8 == 0 ? 24 : PAGE_SHIFT));
            paddr_t dead = 0;
            bool any = false;
            for (uint32_t n = 0; n < PLACES; n++)
                any |= model[n] != 0 && place(n) >= start && place(n) < end;
            if (kind < 6) {
                CHECK(page_table_unmap(vspace->root, start, end, &dead) == any);
                page_table_free_list(untyped_root, dead);
            } else {
                CHECK(page_table_protect(vspace->root, start, end, PROT_USER | PROT_READ) == any);
            }
            for (uint32_t n = 0; n < PLACES; n++)
                if (place(n) >= start && place(n) < end) {
                    model[n] = kind < 6 ? 0 : model[n];
                    prots[n] = PROT_USER | PROT_READ;
                }
        }
        i = (uint32_t)rand() % PLACES;
        paddr_t pa;
        uint32_t prot;
        bool is_there = page_table_lookup(vspace->root, place(i), &pa, &prot);
        CHECK(is_there == (model[i] != 0) && (!is_there || (pa == model[i] && prot == prots[i])));
        if (step % 20'000 == 10'000) {
            paddr_t dead = 0;
            (void)page_table_unmap(vspace->root, 0, USER_TOP, &dead);
            page_table_free_list(untyped_root, dead);
            memset(model, 0, sizeof(model));
            CHECK(page_of(vspace->root)->slab_free == 0);
        }
    }
    object_put(&vspace->object);
    CHECK(used() == before);
}

static void memories(void)
{
    uint64_t before = used();
    static const uint64_t sizes[] = {1, 8, 9, 512, 513, 100'000, 512 * 512, 512 * 512 + 1, 1ull << 28};
    for (uint32_t n = 0; n < ARRAY_LENGTH(sizes); n++) {
        struct memory *memory;
        CHECK(memory_create(untyped_root, sizes[n], 0, &memory) == OK);
        struct {
            uint64_t index;
            paddr_t page;
        } there[64] = {};
        for (uint32_t i = 0; i < 64; i++) {
            there[i].index = i == 0 ? sizes[n] - 1 : (((uint64_t)rand() << 20) ^ (uint64_t)rand()) % sizes[n];
            CHECK(memory_page_locked(memory, there[i].index, true, &there[i].page) == OK);
        }
        for (uint32_t i = 0; i < 64; i++) {
            paddr_t page;
            CHECK(memory_page_locked(memory, there[i].index, false, &page) == OK && page == there[i].page);
            CHECK(memory_pages_missing_locked(memory, there[i].index) == 0);
        }
        /* Steps over what is missing meet exactly what is there. */
        uint64_t found = 0;
        for (uint64_t i = 0; i < sizes[n];) {
            uint64_t missing = memory_pages_missing_locked(memory, i);
            found += missing == 0;
            i += missing == 0 ? 1 : missing;
        }
        CHECK(found == memory->committed_pages);
        CHECK(vspace_decommit(memory, 0, sizes[n], nullptr) == OK && memory->committed_pages == 0);
        CHECK(memory_pages_missing_locked(memory, 0) != 0);
        CHECK(memory_page_locked(memory, sizes[n] / 2, true, &there[0].page) == OK);
        object_put(&memory->object);
    }
    CHECK(used() == before);
}

static uint64_t fired[200], fired_count, last_deadline;

static void fire(struct timer *timer, uint64_t cookie)
{
    CHECK(timer->deadline_ns >= last_deadline && timer->deadline_ns <= arch_time_ns());
    last_deadline = timer->deadline_ns;
    fired[cookie]++;
    fired_count++;
}

static void timers(void)
{
    static struct timer all[200];
    uint64_t start = arch_time_ns(), armed = 0;
    bool is_cancelled[200] = {};
    for (uint32_t i = 0; i < 200; i++) {
        all[i] = (struct timer){.fire = fire, .cookie = i};
        timer_arm(&all[i], start + (uint64_t)rand() % 2'000'000);
    }
    for (uint32_t i = 0; i < 200; i += 3) {
        is_cancelled[i] = true;
        CHECK(timer_cancel(&all[i]) && !timer_cancel(&all[i]));
    }
    while (arch_time_ns() < start + 2'100'000)
        timer_expire();
    timer_expire();
    for (uint32_t i = 0; i < 200; i++) {
        armed += !is_cancelled[i];
        CHECK(fired[i] == !is_cancelled[i]);
    }
    CHECK(fired_count == armed);
}

static void handles(void)
{
    uint64_t before = used();
    struct cspace *a = nullptr, *b = nullptr;
    struct memory *memory;
    CHECK(cspace_create(untyped_root, 100, &a) == OK && cspace_create(untyped_root, 1000, &b) == OK);
    CHECK(memory_create(untyped_root, 1, 0, &memory) == OK);
    handle_t first, copy, moved = 0, again;
    struct cap cap, other;
    CHECK(cspace_insert(a, &memory->object, nullptr, RIGHTS_ALL, nullptr, &first) == OK);
    CHECK(cspace_lookup(a, first, &cap) == OK && cap.object == &memory->object);
    CHECK(cspace_lookup(a, first + (1ull << 32), &other) == ERROR_BAD_HANDLE && cspace_lookup(a, 1'000'000, &other) == ERROR_BAD_HANDLE);
    CHECK(cspace_transfer(a, first, b, false, &copy) == OK && cspace_transfer(b, copy, b, true, &moved) == OK);
    CHECK(cspace_lookup(b, copy, &other) == ERROR_STALE_HANDLE);
    /* A slot used again does not pass for the old handle, not even for the same object. */
    CHECK(cspace_remove(a, first) == OK && cspace_remove(a, first) == ERROR_STALE_HANDLE);
    CHECK(cspace_insert(a, &memory->object, nullptr, RIGHT_COPY, nullptr, &again) == OK && (uint32_t)again == (uint32_t)first);
    CHECK(cspace_insert(b, &memory->object, &cap, cap.rights, nullptr, &copy) == ERROR_STALE_HANDLE);
    /* Revocation reaches what was derived, and only that. */
    CHECK(cspace_lookup(b, moved, &cap) == OK);
    handle_t derived[50];
    struct cap from = cap;
    for (uint32_t i = 0; i < 50; i++) {
        CHECK(cspace_insert(b, &memory->object, &from, RIGHTS_ALL, nullptr, &derived[i]) == OK);
        if (rand() % 2)
            CHECK(cspace_lookup(b, derived[rand() % (i + 1)], &from) == OK);
    }
    while (object_revoke_step(&memory->object, cap.slot, cap.generation))
        ;
    for (uint32_t i = 0; i < 50; i++)
        CHECK(cspace_lookup(b, derived[i], &other) == ERROR_STALE_HANDLE);
    CHECK(cspace_lookup(b, moved, &other) == OK && cspace_lookup(a, again, &other) == OK);
    /* Exhaustion, and closing. */
    uint32_t count = 0;
    while (cspace_insert(a, &memory->object, nullptr, RIGHTS_ALL, nullptr, &copy) == OK)
        count++;
    CHECK(count == 99);
    while (cspace_close_step(a))
        ;
    CHECK(cspace_insert(a, &memory->object, nullptr, RIGHTS_ALL, nullptr, &copy) == ERROR_STALE_HANDLE);
    CHECK(a->used_count == 0);
    object_put(&memory->object);
    object_put(&a->object);
    object_put(&b->object);
    CHECK(used() == before);
}

int main(void)
{
    srand(1);
    host_boot(16384, 1);
    quiesce_enter(arch_cpu());
    cells();
    tables();
    memories();
    timers();
    handles();
    return check_result();
}
