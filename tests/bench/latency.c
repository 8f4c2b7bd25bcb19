/*
 * Long work of every kind, for tools/latency, which measures from outside for how long the kernel keeps interrupts off meanwhile.
 * "bench=latency" in the kernel's command line runs this instead of the benchmarks.
 */
#include "bench.h"
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/ring.h>
#include <std/thread.h>
#include <std/time.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/pager.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint32_t TABLES = 4, TABLE_SLOTS = 25'000;
constexpr uint64_t MIB = 1 << 20;

static handle_t object_event(void)
{
    handle_t event;
    bench_must(tess_untyped_create_event(std_self.untyped, &event), "an event");
    return event;
}

static void destroy(handle_t handle)
{
    bench_must(tess_cspace_destroy(std_self.cspace, handle), "destroy");
    std_handle_delete(handle);
}

/* 100,000 handles of one event, in tables of their own. */
static void copies_make(handle_t event, handle_t tables[TABLES])
{
    for (uint32_t i = 0; i < TABLES; i++) {
        bench_must(tess_untyped_create_cspace(std_self.untyped, TABLE_SLOTS, &tables[i]), "a table");
        for (uint32_t j = 0; j < TABLE_SLOTS; j++) {
            handle_t copy;
            bench_must(tess_cspace_copy(tables[i], event, RIGHTS_ALL, &copy), "a copy");
        }
    }
}

static void handles(void)
{
    handle_t tables[TABLES], event = object_event();
    copies_make(event, tables);
    bench_must(tess_cspace_revoke(std_self.cspace, event), "revoke 100,000 handles");
    for (uint32_t i = 0; i < TABLES; i++)
        destroy(tables[i]);
    copies_make(event, tables);
    destroy(event); /* the object with all its handles */
    destroy(tables[0]);
    event = object_event();
    for (uint32_t i = 1; i < TABLES; i++)
        destroy(tables[i]);
    copies_make(event, tables);
    for (uint32_t i = 0; i < TABLES; i++)
        destroy(tables[i]); /* full ones */
    std_handle_delete(event);
}

static void touch(uint64_t address, uint64_t size)
{
    for (uint64_t offset = 0; offset < size; offset += STD_PAGE)
        *(volatile uint8_t *)(address + offset) = 1;
}

/* 1 GiB in one memory, mapped and touched; given up in three ways. */
static void large_memory(void)
{
    for (uint32_t way = 0; way < 3; way++) {
        handle_t untyped, memory;
        uint64_t address, size = 1024 * MIB;
        status_t status;
        for (uint32_t tries = 0; (status = tess_untyped_create_untyped(std_self.untyped, size + 8 * MIB, &untyped)) != OK && tries < 100;
             tries++)
            time_sleep_until(time_after_ns(10 * NS_PER_MS)); /* what the last one had is on its way back */
        bench_must(status, "quota for 1 GiB");
        bench_must(tess_untyped_create_memory(untyped, size, 0, &memory), "1 GiB");
        bench_must(tess_vspace_map(std_self.vspace, memory, 0, size, 0, MAP_READ | MAP_WRITE, &address), "map 1 GiB");
        touch(address, size);
        if (way == 0) {
            bench_must(tess_vspace_unmap(std_self.vspace, address, size), "unmap 1 GiB");
            std_handle_delete(memory);
        } else if (way == 1) {
            bench_must(tess_memory_decommit(memory, 0, size), "decommit 1 GiB");
            std_handle_delete(memory);
        }
        destroy(untyped);
        if (way != 0)
            bench_must(tess_vspace_unmap(std_self.vspace, address, size), "unmap what is gone");
    }
}

/* Rights of 64 MiB that were touched, and of an address space in a thousand parts. */
static void protections(void)
{
    constexpr uint64_t SIZE = 64 * MIB, PARTS = 1000, BASE = 0x200000000000 / 2048;
    handle_t memory;
    uint64_t address, part;
    bench_must(tess_untyped_create_memory(std_self.untyped, SIZE, 0, &memory), "64 MiB");
    bench_must(tess_vspace_map(std_self.vspace, memory, 0, SIZE, 0, MAP_READ | MAP_WRITE, &address), "map 64 MiB");
    touch(address, SIZE);
    bench_must(tess_vspace_protect(std_self.vspace, address, SIZE, MAP_READ), "protect");
    bench_must(tess_vspace_protect(std_self.vspace, address, SIZE, MAP_READ | MAP_WRITE), "protect");
    for (uint64_t i = 0; i < PARTS; i++)
        bench_must(tess_vspace_protect(std_self.vspace, address + 2 * i * STD_PAGE, STD_PAGE, MAP_READ), "protect a page");
    bench_must(tess_vspace_protect(std_self.vspace, address, SIZE, MAP_READ), "protect the parts");
    bench_must(tess_vspace_set_inherit(std_self.vspace, address, SIZE, 0), "set_inherit of the parts");
    bench_must(tess_vspace_unmap(std_self.vspace, address, SIZE), "unmap the parts");
    for (uint64_t i = 0; i < PARTS; i++)
        bench_must(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, BASE + 2 * i * STD_PAGE, MAP_READ | MAP_WRITE | MAP_FIXED, &part),
                   "map a page");
    bench_must(tess_vspace_map(std_self.vspace, memory, 0, 2 * STD_PAGE, 0, MAP_READ, &part), "map behind a thousand gaps");
    destroy(memory);
    bench_must(tess_vspace_unmap(std_self.vspace, BASE, 2 * PARTS * STD_PAGE), "unmap what is gone");
    bench_must(tess_vspace_unmap(std_self.vspace, part, 2 * STD_PAGE), "unmap what is gone");
}

static void committed_memory(void)
{
    static const uint32_t flags[] = {MEMORY_COMMITTED, MEMORY_CONTIGUOUS, 0};
    for (uint32_t i = 0; i < ARRAY_LENGTH(flags); i++) {
        handle_t memory;
        uint64_t size = flags[i] == MEMORY_CONTIGUOUS ? MIB : 16 * MIB;
        bench_must(tess_untyped_create_memory(std_self.untyped, size, flags[i], &memory), "memory");
        if (flags[i] == 0)
            bench_must(tess_memory_commit(memory, 0, size), "commit");
        destroy(memory);
    }
}

static void copies(void)
{
    struct std_mapping from;
    handle_t to;
    bench_must(std_mapping_create(MIB, MEMORY_COMMITTED, &from), "a buffer");
    bench_must(tess_untyped_create_memory(std_self.untyped, MIB, 0, &to), "memory");
    bench_must(tess_memory_write(to, 0, (uint64_t)from.address, MIB), "write 1 MiB");
    bench_must(tess_memory_read(to, 0, (uint64_t)from.address, MIB), "read 1 MiB");
    std_handle_delete(to);
    std_mapping_destroy(&from);
}

/* As large as a ring can be, watching one event with all it has. */
static void rings(void)
{
    struct std_ring ring[2];
    struct std_ring_sizes sizes = {.sq_entries = 512, .cq_entries = 1024, .call_slots = 256, .watch_slots = 1024};
    handle_t event = object_event();
    for (uint32_t r = 0; r < ARRAY_LENGTH(ring); r++) {
        bench_must(std_ring_open(&ring[r], &sizes), "a ring");
        for (uint32_t i = 0; i < sizes.watch_slots; i++)
            bench_must(tess_ring_watch(ring[r].handle, event, 1, i + 1, WATCH_MULTI | WATCH_DEATH), "a watch");
    }
    bench_must(tess_event_set(event, 1), "event.set");
    for (uint32_t i = 0; i < sizes.sq_entries; i++) {
        struct tess_submission entry = {.op = OP_EVENT_SET, .handle = event, .words = {2}};
        bench_must(std_ring_submit(&ring[0], &entry), "submit");
    }
    struct tess_completion completion;
    bench_must(std_ring_wait(&ring[0], &completion, DEADLINE_INFINITE), "ring");
    for (uint32_t i = 0; i < sizes.sq_entries; i++)
        bench_must(std_ring_submit(&ring[1], &(struct tess_submission){}), "a no-op");
    for (uint32_t i = 0; i < sizes.watch_slots; i++)
        bench_must(tess_event_set(event, 1), "event.set"); /* more news than the queue has room for */
    while (std_ring_wait(&ring[1], &completion, time_after_ns(NS_PER_MS)) == OK)
        ;
    std_ring_close(&ring[0]);
    destroy(event);
    std_ring_close(&ring[1]);
}

/* One memory mapped thousands of times: a page of it goes, is shared, is taken out of what is shared; the mappings are replaced by one. */
static void mappings(void)
{
    constexpr uint64_t COUNT = 2000, BASE = 0x200000000000 / 2048;
    handle_t memory, copy, other, space;
    uint64_t at;
    bench_must(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory), "memory");
    bench_must(tess_untyped_create_memory(std_self.untyped, 2 * COUNT * STD_PAGE, 0, &other), "memory");
    for (uint64_t i = 0; i < COUNT; i++)
        bench_must(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, BASE + 2 * i * STD_PAGE, MAP_READ | MAP_WRITE | MAP_FIXED, &at),
                   "map a page");
    for (uint64_t i = 0; i < COUNT; i++)
        touch(BASE + 2 * i * STD_PAGE, STD_PAGE);
    bench_must(tess_memory_decommit(memory, 0, STD_PAGE), "decommit");
    for (uint64_t i = 0; i < COUNT; i++)
        touch(BASE + 2 * i * STD_PAGE, STD_PAGE);
    bench_must(tess_memory_clone(memory, std_self.untyped, 0, STD_PAGE, &copy), "memory.clone");
    touch(BASE, STD_PAGE);
    bench_must(tess_vspace_clone(std_self.vspace, std_self.untyped, &space), "vspace.clone");
    std_handle_delete(space);
    bench_must(tess_vspace_map(std_self.vspace, other, 0, 2 * COUNT * STD_PAGE, BASE, MAP_READ | MAP_WRITE | MAP_FIXED | MAP_REPLACE, &at),
               "replace");
    bench_must(tess_vspace_unmap(std_self.vspace, BASE, 2 * COUNT * STD_PAGE), "unmap");
    std_handle_delete(copy);
    std_handle_delete(memory);
    std_handle_delete(other);
}

constexpr uint32_t CROWD = 1000;
static struct std_thread crowd[CROWD];

static void waits(void *context)
{
    uint64_t bits;
    (void)tess_event_wait(*(handle_t *)context, 1, &bits, DEADLINE_INFINITE);
}

/* Many threads wait for one event, which is destroyed. */
static void crowds(void)
{
    handle_t event = object_event();
    for (uint32_t i = 0; i < CROWD; i++)
        bench_must(std_thread_start(&crowd[i], waits, &event, 8192), "a thread");
    time_sleep_until(time_after_ns(10 * NS_PER_MS));
    destroy(event);
    for (uint32_t i = 0; i < CROWD; i++)
        bench_must(std_thread_join(&crowd[i], DEADLINE_INFINITE), "join");
}

static void touches(void *context) { *(volatile uint8_t *)context = 1; }

/* Many threads wait for pages, each for another one. */
static void pagers(void)
{
    handle_t pager, memory, staging;
    uint64_t address;
    bench_must(tess_untyped_create_pager(std_self.untyped, &pager), "a pager");
    bench_must(tess_pager_create_memory(pager, std_self.untyped, CROWD * STD_PAGE, 1, &memory), "paged memory");
    bench_must(tess_untyped_create_memory(std_self.untyped, CROWD * STD_PAGE, 0, &staging), "memory");
    bench_must(tess_vspace_map(std_self.vspace, memory, 0, CROWD * STD_PAGE, 0, MAP_READ | MAP_WRITE | MAP_MAY_FAULT, &address), "map");
    for (uint32_t i = 0; i < CROWD; i++)
        bench_must(std_thread_start(&crowd[i], touches, (void *)(address + i * STD_PAGE), 8192), "a thread");
    time_sleep_until(time_after_ns(10 * NS_PER_MS));
    for (uint32_t i = 0; i < CROWD; i++) {
        uint64_t key, offset, size;
        uint32_t access;
        bench_must(tess_pager_request(pager, &key, &offset, &size, &access, DEADLINE_NOW), "a request");
    }
    bench_must(tess_pager_supply(pager, memory, 0, staging, 0, CROWD * STD_PAGE), "supply");
    for (uint32_t i = 0; i < CROWD; i++)
        bench_must(std_thread_join(&crowd[i], DEADLINE_INFINITE), "join");
    bench_must(tess_vspace_unmap(std_self.vspace, address, CROWD * STD_PAGE), "unmap");
    std_handle_delete(memory);
    std_handle_delete(pager);
    std_handle_delete(staging);
}

/* An untyped with many small objects, and untypeds in untypeds. */
static void many_objects(void)
{
    handle_t untyped, inner = HANDLE_NONE, other;
    bench_must(tess_untyped_create_untyped(std_self.untyped, 64 * MIB, &untyped), "quota");
    handle_t outer = untyped;
    for (uint32_t i = 0; i < 30; i++) {
        bench_must(tess_untyped_create_untyped(outer, (60 - i) * MIB, &inner), "quota");
        if (outer != untyped)
            std_handle_delete(outer);
        outer = inner;
    }
    for (uint32_t i = 0; i < 5000; i++) {
        bench_must(i % 2 != 0 ? tess_untyped_create_event(inner, &other) : tess_untyped_create_endpoint(inner, &other), "an object");
        if (i % 3 == 0)
            std_handle_delete(other);
    }
    std_handle_delete(inner);
    destroy(untyped);
}

static void processes(void)
{
    handle_t event = object_event(), untyped = bench_peer_start("crowd", event, event);
    time_sleep_until(time_after_ns(200 * NS_PER_MS));
    destroy(untyped);
    std_handle_delete(event);
}

/* The role: many threads, a large table, large memory; it is destroyed in the middle of it. */
[[noreturn]] void bench_latency_crowd(handle_t event)
{
    static handle_t waited;
    waited = event;
    void *pages;
    for (uint32_t i = 0; i < 100 && std_thread_start(&crowd[i], waits, &waited, 8192) == OK; i++)
        ;
    if (std_pages_alloc(8 * MIB, &pages) == OK)
        touch((uint64_t)pages, 8 * MIB);
    for (handle_t copy; std_handle_copy(event, RIGHTS_ALL, &copy) == OK;)
        ;
    for (;;)
        time_sleep_until(DEADLINE_INFINITE);
}

void bench_latency_run(void)
{
    static void (*const works[])(void) = {handles, protections, committed_memory, copies,    rings,       mappings,
                                          crowds,  pagers,      many_objects,     processes, large_memory};
    for (uint32_t i = 0; i < ARRAY_LENGTH(works); i++) {
        works[i]();
        /* What was given up is back before the next. */
        time_sleep_until(time_after_ns(NS_PER_MS));
    }
}
