/*
 * Pagers: requests, supply, failure, every end in the middle, evict, write-back. A client's thread touches paged memory through a mapping;
 * the test is the pager. What a page holds says which page it is, so that a wrong one is seen.
 */
#include <conformance.h>
#include <personality.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/pager.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

constexpr uint32_t MAPPED = MAP_READ | MAP_WRITE | MAP_MAY_FAULT;
constexpr uint64_t KEY = 42;

struct paged {
    handle_t pager, memory, staging;
    uint64_t pages, at;
};

static handle_t make(uint64_t pages, uint32_t flags)
{
    handle_t memory = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, pages * STD_PAGE, flags, &memory));
    return memory;
}

static bool paged_make(struct paged *paged, uint64_t pages)
{
    *paged = (struct paged){.pages = pages, .staging = make(pages, 0)};
    return EXPECT_OK(tess_untyped_create_pager(std_self.untyped, &paged->pager)) &&
           EXPECT_OK(tess_pager_create_memory(paged->pager, std_self.untyped, pages * STD_PAGE, KEY, &paged->memory)) &&
           EXPECT_OK(tess_vspace_map(std_self.vspace, paged->memory, 0, pages * STD_PAGE, 0, MAPPED, &paged->at));
}

static void paged_drop(struct paged *paged)
{
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, paged->at, paged->pages * STD_PAGE));
    handle_destroy(paged->memory);
    handle_destroy(paged->pager);
    handle_destroy(paged->staging);
}

static volatile uint64_t *word(const struct paged *paged, uint64_t page) { return (volatile uint64_t *)(paged->at + page * STD_PAGE); }

static void put(handle_t memory, uint64_t page, uint64_t value)
{
    EXPECT_OK(tess_memory_write(memory, page * STD_PAGE, (uint64_t)&value, 8));
}

static uint64_t get(handle_t memory, uint64_t page)
{
    uint64_t value = ~0ull;
    EXPECT_OK(tess_memory_read(memory, page * STD_PAGE, (uint64_t)&value, 8));
    return value;
}

static uint64_t committed(handle_t memory)
{
    uint64_t size, pages = 0;
    uint32_t flags, is_device;
    EXPECT_OK(tess_memory_info(memory, &size, &pages, &flags, &is_device));
    return pages;
}

/* Pages first.. hold value, value + 1, ... */
static void supply(struct paged *paged, uint64_t first, uint64_t count, uint64_t value)
{
    for (uint64_t i = 0; i < count; i++)
        put(paged->staging, first + i, value + i);
    EXPECT_OK(tess_pager_supply(paged->pager, paged->memory, first * STD_PAGE, paged->staging, first * STD_PAGE, count * STD_PAGE));
}

struct request {
    uint64_t key, offset, size;
    uint32_t access;
};

static struct request request_of(handle_t pager)
{
    struct request got = {.offset = ~0ull};
    EXPECT_OK(tess_pager_request(pager, &got.key, &got.offset, &got.size, &got.access, patience()));
    return got;
}

static void expect_request(const struct paged *paged, uint64_t page, uint32_t access)
{
    struct request got = request_of(paged->pager);
    EXPECT(got.key == KEY && got.offset == page * STD_PAGE && got.size == STD_PAGE && got.access == access);
}

static void expect_no_request(handle_t pager)
{
    struct request got;
    EXPECT_STATUS(tess_pager_request(pager, &got.key, &got.offset, &got.size, &got.access, DEADLINE_NOW), ERROR_TIMED_OUT);
}

/* ---- A client's thread ---- */

struct client {
    struct std_thread thread;
    volatile uint64_t *word;
    uint64_t value; /* to write; 0: reads */
    _Atomic uint64_t seen;
    _Atomic bool is_done;
};

static void touches(void *context)
{
    struct client *client = context;
    if (client->value != 0)
        *client->word = client->value;
    atomic_store(&client->seen, *client->word);
    atomic_store(&client->is_done, true);
}

static void client_start(struct client *client, const struct paged *paged, uint64_t page, uint64_t value)
{
    *client = (struct client){.word = word(paged, page), .value = value};
    thread_start(&client->thread, touches, client);
    thread_wait_until_waiting(client->thread.thread);
}

static void client_end(struct client *client, uint64_t seen)
{
    thread_join(&client->thread);
    EXPECT_EQUAL(atomic_load(&client->seen), seen);
}

static void supplied(void)
{
    struct paged paged;
    struct client client;
    if (!paged_make(&paged, 40))
        return;
    expect_no_request(paged.pager);
    client_start(&client, &paged, 3, 0);
    expect_request(&paged, 3, 0);
    EXPECT(!atomic_load(&client.is_done));
    supply(&paged, 3, 1, 103);
    client_end(&client, 103);
    EXPECT_EQUAL(get(paged.staging, 3), 0); /* it was moved */
    EXPECT_EQUAL(committed(paged.memory), 1);
    /* More than was asked for; holes of the source are zero; across a node of the tree's edge. */
    client_start(&client, &paged, 20, 7);
    supply(&paged, 16, 8, 116); /* the request comes late */
    client_end(&client, 7);
    expect_no_request(paged.pager);
    for (uint64_t i = 16; i < 24; i++)
        EXPECT_EQUAL(*word(&paged, i), i == 20 ? 7 : 100 + i);
    EXPECT_OK(tess_pager_supply(paged.pager, paged.memory, 24 * STD_PAGE, paged.staging, 0, 16 * STD_PAGE));
    for (uint64_t i = 24; i < 40; i++)
        EXPECT_EQUAL(*word(&paged, i), 0);
    expect_no_request(paged.pager);
    /* What is there stays, and what was written to it too. */
    *word(&paged, 16) = 5;
    supply(&paged, 16, 2, 900);
    EXPECT_EQUAL(*word(&paged, 16), 5);
    EXPECT_EQUAL(*word(&paged, 17), 117);
    EXPECT_EQUAL(get(paged.staging, 16), 0);
    /* A taker that waits gets the request as it is made. */
    client_start(&client, &paged, 0, 9);
    expect_request(&paged, 0, UPCALL_WRITE);
    supply(&paged, 0, 1, 1);
    client_end(&client, 9);
    paged_drop(&paged);
}

static void refused(void)
{
    struct paged paged, other;
    handle_t out;
    uint64_t at, kept, first, size;
    if (!paged_make(&paged, 8) || !paged_make(&other, 8))
        return;
    handle_t p = paged.pager, m = paged.memory, s = paged.staging;
    EXPECT_STATUS(tess_pager_create_memory(p, std_self.untyped, 0, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_create_memory(p, std_self.untyped, (1ull << 40) + 1, 0, &out), ERROR_BAD_ARGUMENT);
    static const struct {
        uint64_t offset, from, size;
    } bad[] = {{0, 0, 0},
               {1, 0, STD_PAGE},
               {0, 1, STD_PAGE},
               {0, 0, 100},
               {0, 0, 9 * STD_PAGE},
               {8 * STD_PAGE, 0, STD_PAGE},
               {0, 8 * STD_PAGE, STD_PAGE},
               {~0xFFFull, 0, 2 * STD_PAGE},
               {0, ~0xFFFull, 2 * STD_PAGE},
               {0, 0, ~0xFFFull}};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++)
        EXPECT_STATUS(tess_pager_supply(p, m, bad[i].offset, s, bad[i].from, bad[i].size), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_supply(p, other.memory, 0, s, 0, STD_PAGE), ERROR_REFUSED);
    EXPECT_STATUS(tess_pager_supply(p, s, 0, s, 0, STD_PAGE), ERROR_REFUSED);
    EXPECT_STATUS(tess_pager_supply(p, m, 0, m, STD_PAGE, STD_PAGE), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_pager_supply(p, m, 0, other.memory, 0, STD_PAGE), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_pager_supply(p, m, 0, guest.image, 0, STD_PAGE), ERROR_MISSING_RIGHT);
    handle_t run = make(2, MEMORY_CONTIGUOUS);
    EXPECT_STATUS(tess_pager_supply(p, m, 0, run, 0, STD_PAGE), ERROR_UNSUPPORTED);
    handle_destroy(run);
    EXPECT_STATUS(tess_pager_fail(p, m, 0, STD_PAGE, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_fail(p, m, 0, STD_PAGE, 5), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_fail(p, m, 0, STD_PAGE, -4096), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_fail(p, m, 1, STD_PAGE, -1), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_fail(p, other.memory, 0, STD_PAGE, -1), ERROR_REFUSED);
    EXPECT_STATUS(tess_pager_evict(p, m, 0, STD_PAGE, 2, &kept), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_evict(p, m, 0, 1, 0, &kept), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_evict(p, other.memory, 0, STD_PAGE, 0, &kept), ERROR_REFUSED);
    EXPECT_STATUS(tess_pager_dirty(p, m, 0, STD_PAGE, 2, &first, &size), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_dirty(p, m, ~0xFFFull, 2 * STD_PAGE, 0, &first, &size), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_pager_dirty(p, s, 0, STD_PAGE, 0, &first, &size), ERROR_REFUSED);
    /* A pinned page is nobody's to move. */
    handle_t ring;
    EXPECT_OK(tess_untyped_create_ring(std_self.untyped, s, 1, 2, 0, 0, 0, &ring));
    EXPECT_STATUS(tess_pager_supply(p, m, 0, s, 0, STD_PAGE), ERROR_BUSY);
    handle_drop(ring);
    /* What clients may not do with such memory. */
    supply(&paged, 1, 1, 11);
    EXPECT_STATUS(tess_vspace_map(std_self.vspace, m, 0, STD_PAGE, 0, MAP_READ, &at), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_vspace_map(std_self.vspace, m, 0, STD_PAGE, 0, MAP_READ | MAP_MAY_FAULT | MAP_INHERIT_COPY, &at),
                  ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_set_inherit(std_self.vspace, paged.at, STD_PAGE, INHERIT_COPY), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_memory_commit(m, 0, STD_PAGE), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_memory_decommit(m, STD_PAGE, STD_PAGE), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_memory_clone(m, std_self.untyped, 0, STD_PAGE, &out), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_untyped_create_ring(std_self.untyped, m, 1, 2, 0, 0, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_thread(std_self.untyped, std_self.process, m, STD_PAGE, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_EQUAL(*word(&paged, 1), 11);
    paged_drop(&other);
    paged_drop(&paged);
}

/* They do not wait. */
static void system_calls(void)
{
    struct paged paged;
    uint64_t value = 1, done;
    uint32_t woken;
    if (!paged_make(&paged, 4))
        return;
    EXPECT_STATUS(tess_memory_read(paged.memory, 0, (uint64_t)&value, 8), ERROR_NOT_PRESENT);
    EXPECT_STATUS(tess_memory_write(paged.memory, 0, (uint64_t)&value, 8), ERROR_NOT_PRESENT);
    EXPECT_STATUS(tess_memory_read(guest.image, 0, paged.at, 8), ERROR_NOT_PRESENT);
    EXPECT_STATUS(tess_memory_write(paged.staging, 0, paged.at, 8), ERROR_NOT_PRESENT);
    EXPECT_STATUS(tess_vspace_read(std_self.vspace, paged.at, (uint64_t)&value, 8, &done), ERROR_NOT_PRESENT);
    EXPECT_STATUS(tess_vspace_futex_wait(std_self.vspace, paged.at, 0, 1, DEADLINE_NOW), ERROR_NOT_PRESENT);
    EXPECT_OK(tess_vspace_futex_wake(std_self.vspace, paged.at, 1, 1, &woken));
    expect_no_request(paged.pager);
    supply(&paged, 0, 2, 50);
    EXPECT_OK(tess_memory_read(paged.memory, 0, (uint64_t)&value, 8));
    EXPECT_EQUAL(value, 50);
    value = 51;
    EXPECT_OK(tess_memory_write(paged.memory, 0, (uint64_t)&value, 8));
    EXPECT_OK(tess_memory_read(guest.image, 0, paged.at + STD_PAGE, 8));
    uint64_t first, size;
    EXPECT_OK(tess_pager_dirty(paged.pager, paged.memory, 0, 4 * STD_PAGE, 0, &first, &size));
    EXPECT(first == 0 && size == 2 * STD_PAGE); /* both were written to */
    EXPECT_STATUS(tess_memory_read(guest.image, 0, paged.at + STD_PAGE, STD_PAGE + 1), ERROR_NOT_PRESENT);
    paged_drop(&paged);
}

/* However many wait for a page, it is asked for once; those of other pages are asked for each. */
static void coalesced(void)
{
    struct paged paged;
    struct client clients[12];
    bool is_asked[3] = {};
    if (!paged_make(&paged, 8))
        return;
    for (uint32_t i = 0; i < 12; i++)
        client_start(&clients[i], &paged, 2 * (i % 3), 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct request got = request_of(paged.pager);
        uint64_t index = got.offset / (2 * STD_PAGE);
        EXPECT(index < 3 && !is_asked[index]);
        is_asked[index % 3] = true;
    }
    expect_no_request(paged.pager);
    supply(&paged, 0, 8, 70);
    for (uint32_t i = 0; i < 12; i++)
        client_end(&clients[i], 70 + 2 * (i % 3));
    /* Pages of two memories: each with its key. */
    handle_t second;
    uint64_t at;
    EXPECT_OK(tess_pager_create_memory(paged.pager, std_self.untyped, STD_PAGE, 43, &second));
    EXPECT_OK(tess_vspace_map(std_self.vspace, second, 0, STD_PAGE, 0, MAPPED, &at));
    struct paged view = {.at = at};
    client_start(&clients[0], &view, 0, 0);
    struct request got = request_of(paged.pager);
    EXPECT(got.key == 43 && got.offset == 0);
    EXPECT_OK(tess_pager_supply(paged.pager, second, 0, paged.staging, 0, STD_PAGE));
    client_end(&clients[0], 0);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, STD_PAGE));
    handle_destroy(second);
    paged_drop(&paged);
}

/* ---- Failure, and every end ---- */

struct prober {
    struct client client;
    struct personality *personality;
    uint64_t address;
    struct tess_upcall_frame *frame;
};

static void probes(void *context)
{
    struct prober *prober = context;
    if (EXPECT_OK(personality_take(prober->personality, 0, tess_thread_block()->thread)))
        atomic_store(&prober->client.seen, personality_probe(prober->frame, prober->address));
    atomic_store(&prober->client.is_done, true);
}

static struct personality personality;

static void prober_start(struct prober *prober, uint64_t address)
{
    *prober = (struct prober){.personality = &personality, .address = address};
    EXPECT_OK(personality_create(&personality, 1));
    prober->frame = personality_frame(&personality, 0);
    thread_start(&prober->client.thread, probes, prober);
    thread_wait_until_waiting(prober->client.thread.thread);
}

static void prober_end(struct prober *prober, uint64_t seen, uint32_t cause, int64_t code)
{
    thread_join(&prober->client.thread);
    EXPECT_EQUAL(atomic_load(&prober->client.seen), seen);
    EXPECT_EQUAL(prober->frame->user[PERSONALITY_FAULTS], cause != 0);
    if (cause != 0) {
        EXPECT_EQUAL((uint32_t)prober->frame->user[PERSONALITY_CAUSE], cause);
        EXPECT_EQUAL(prober->frame->user[PERSONALITY_ADDRESS], prober->address);
    }
    if (cause == UPCALL_PAGER)
        EXPECT_EQUAL(prober->frame->foreign.cause == UPCALL_PAGER ? (int64_t)prober->frame->foreign.code : code, code);
    personality_destroy(&personality);
}

static void failed(void)
{
    struct paged paged;
    struct prober prober;
    if (!paged_make(&paged, 8) || !EXPECT_OK(personality_map()))
        return;
    prober_start(&prober, paged.at + 2 * STD_PAGE);
    expect_request(&paged, 2, 0);
    EXPECT_OK(tess_pager_fail(paged.pager, paged.memory, 3 * STD_PAGE, STD_PAGE, ERROR_IO_ERROR)); /* nobody's */
    EXPECT_OK(tess_pager_fail(paged.pager, paged.memory, 0, 3 * STD_PAGE, ERROR_IO_ERROR));
    prober_end(&prober, ~0ull, UPCALL_PAGER, ERROR_IO_ERROR);
    /* Asked again, and then it comes. */
    prober_start(&prober, paged.at + 2 * STD_PAGE);
    expect_request(&paged, 2, 0);
    supply(&paged, 2, 1, 77);
    prober_end(&prober, 77, 0, 0);
    /* The memory becomes too small for what is waited for. */
    prober_start(&prober, paged.at + 6 * STD_PAGE);
    expect_request(&paged, 6, 0);
    EXPECT_OK(tess_memory_resize(paged.memory, 4 * STD_PAGE));
    prober_end(&prober, ~0ull, UPCALL_PAGE, 0);
    EXPECT_STATUS(tess_pager_supply(paged.pager, paged.memory, 6 * STD_PAGE, paged.staging, 0, STD_PAGE), ERROR_BAD_ARGUMENT);
    EXPECT_EQUAL(*word(&paged, 2), 77);
    personality_unmap();
    paged_drop(&paged);
}

static void pager_dies(void)
{
    struct paged paged;
    struct prober prober;
    if (!EXPECT_OK(personality_map()))
        return;
    for (uint32_t how = 0; how < 3 && paged_make(&paged, 8); how++) {
        supply(&paged, 1, 1, 5);
        EXPECT_EQUAL(*word(&paged, 1), 5);
        prober_start(&prober, paged.at);
        if (how != 1)
            expect_request(&paged, 0, 0);
        if (how == 2)
            handle_destroy(paged.memory);
        else if (how == 1)
            handle_destroy(paged.pager);
        else
            handle_drop(paged.pager);
        prober_end(&prober, ~0ull, UPCALL_PAGER, ERROR_PEER_DIED);
        if (how != 2) {
            EXPECT_EQUAL(*word(&paged, 1), 5); /* what is there stays */
            *word(&paged, 1) = 6;
            uint64_t value;
            EXPECT_STATUS(tess_memory_read(paged.memory, 0, (uint64_t)&value, 8), ERROR_NOT_PRESENT);
            handle_drop(paged.memory);
        } else {
            handle_drop(paged.pager);
        }
        /* Later accesses fail at once. */
        EXPECT_OK(personality_create(&personality, 1));
        prober = (struct prober){.personality = &personality, .address = paged.at, .frame = personality_frame(&personality, 0)};
        thread_start(&prober.client.thread, probes, &prober);
        prober_end(&prober, ~0ull, UPCALL_PAGER, ERROR_PEER_DIED);
        EXPECT_OK(tess_vspace_unmap(std_self.vspace, paged.at, 8 * STD_PAGE));
        handle_destroy(paged.staging);
    }
    personality_unmap();
}

/* Those who wait for a request hear of the pager's end; one that waits gets what is asked for. */
struct taker {
    struct std_thread thread;
    handle_t pager;
    struct request got;
    status_t status;
};

static void takes(void *context)
{
    struct taker *taker = context;
    taker->status = tess_pager_request(taker->pager, &taker->got.key, &taker->got.offset, &taker->got.size, &taker->got.access, patience());
}

static void takers(void)
{
    struct paged paged;
    struct client client;
    struct taker taker[2] = {};
    if (!paged_make(&paged, 8))
        return;
    for (uint32_t i = 0; i < 2; i++) {
        taker[i].pager = paged.pager;
        thread_start(&taker[i].thread, takes, &taker[i]);
        thread_wait_until_waiting(taker[i].thread.thread);
    }
    client_start(&client, &paged, 5, 1);
    thread_join(&taker[0].thread);
    EXPECT(taker[0].status == OK && taker[0].got.offset == 5 * STD_PAGE && taker[0].got.access == UPCALL_WRITE);
    EXPECT(thread_is_waiting(taker[1].thread.thread));
    supply(&paged, 5, 1, 1);
    client_end(&client, 1);
    handle_destroy(paged.pager);
    thread_join(&taker[1].thread);
    EXPECT_STATUS(taker[1].status, ERROR_PEER_DIED);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, paged.at, 8 * STD_PAGE));
    handle_destroy(paged.memory);
    handle_destroy(paged.staging);
}

/* std_arg(1): which page it touches. */
int32_t role_paged(void)
{
    uint64_t at;
    if (tess_vspace_map(std_self.vspace, std_handle_needed("shared"), 0, 8 * STD_PAGE, 0, MAPPED, &at) != OK)
        return 1;
    return (int32_t)*(volatile uint64_t *)(at + (uint64_t)(std_arg(1)[0] - '0') * STD_PAGE);
}

/* Clients in other processes: killed while they wait; one that faults in the end; one that gets its page. */
static void clients(void)
{
    struct paged paged;
    struct child child[3];
    if (!paged_make(&paged, 8))
        return;
    for (uint32_t i = 0; i < 3; i++) {
        static const char *const pages[] = {"1", "1", "2"};
        struct child_args args = {
            .role = "paged", .argument = pages[i], .handles = {{"shared", paged.memory, RIGHTS_ALL, false}}, .handle_count = 1};
        if (!child_start(&child[i], &args))
            return;
        thread_wait_until_waiting(child[i].spawned.thread);
    }
    EXPECT_OK(tess_process_kill(child[0].spawned.process, 3));
    child_expect(&child[0], EXIT_KILLED, 3);
    child_end(&child[0]);
    expect_request(&paged, 1, 0);
    expect_request(&paged, 2, 0);
    expect_no_request(paged.pager);
    EXPECT_OK(tess_pager_fail(paged.pager, paged.memory, 2 * STD_PAGE, STD_PAGE, -1234));
    uint32_t cause = 99;
    int32_t status;
    struct tess_crash_record crash = {};
    EXPECT_OK(tess_process_wait(child[2].spawned.process, &cause, &status, patience()));
    EXPECT_EQUAL(cause, EXIT_FAULT);
    EXPECT_OK(tess_process_crash_info(child[2].spawned.process, (uint64_t)&crash));
    EXPECT_EQUAL(crash.fault_kind, UPCALL_PAGER);
    EXPECT_EQUAL((int64_t)crash.code, -1234);
    child_end(&child[2]);
    supply(&paged, 1, 1, 9);
    child_expect(&child[1], EXIT_NORMAL, 9);
    child_end(&child[1]);
    paged_drop(&paged);
}

/* With upcall code an interrupt comes through, and the access is made again; without, it waits for the next wait. */
struct sleeper {
    struct client client;
    handle_t event;
    status_t status;
};

static void touches_and_waits(void *context)
{
    struct sleeper *sleeper = context;
    uint64_t bits;
    touches(&sleeper->client);
    sleeper->status = tess_event_wait(sleeper->event, 1, &bits, patience());
}

static void interrupted(void)
{
    struct paged paged;
    struct prober prober;
    struct sleeper sleeper = {};
    if (!paged_make(&paged, 8) || !EXPECT_OK(personality_map()))
        return;
    prober_start(&prober, paged.at);
    expect_request(&paged, 0, 0);
    EXPECT_OK(tess_thread_interrupt(prober.client.thread.thread));
    expect_request(&paged, 0, 0); /* made again */
    EXPECT_EQUAL(prober.frame->user[PERSONALITY_INTERRUPTS], 1);
    EXPECT_OK(tess_pager_fail(paged.pager, paged.memory, 0, 8 * STD_PAGE, ERROR_INTERRUPTED)); /* "what did you want?" */
    expect_request(&paged, 0, 0);
    supply(&paged, 0, 1, 66);
    prober_end(&prober, 66, 0, 0);
    personality_unmap();

    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &sleeper.event));
    sleeper.client.word = word(&paged, 4);
    thread_start(&sleeper.client.thread, touches_and_waits, &sleeper);
    thread_wait_until_waiting(sleeper.client.thread.thread);
    EXPECT_OK(tess_thread_interrupt(sleeper.client.thread.thread));
    expect_request(&paged, 4, 0);
    EXPECT(thread_is_waiting(sleeper.client.thread.thread));
    expect_no_request(paged.pager);
    EXPECT_OK(tess_thread_suspend(sleeper.client.thread.thread));
    supply(&paged, 4, 1, 44);
    sleep_ns(NS_PER_MS);
    EXPECT(!atomic_load(&sleeper.client.is_done));
    EXPECT_OK(tess_thread_resume(sleeper.client.thread.thread));
    client_end(&sleeper.client, 44);
    EXPECT_STATUS(sleeper.status, ERROR_INTERRUPTED);
    handle_destroy(sleeper.event);
    paged_drop(&paged);
}

/* ---- Memory runs out ---- */

static void exhausted(void)
{
    handle_t untyped, memory;
    struct paged paged;
    if (!paged_make(&paged, 64))
        return;
    EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 24 * STD_PAGE, &untyped));
    EXPECT_OK(tess_pager_create_memory(paged.pager, untyped, 64 * STD_PAGE, 1, &memory));
    for (uint64_t i = 0; i < 64; i++)
        put(paged.staging, i, i + 1);
    EXPECT_STATUS(tess_pager_supply(paged.pager, memory, 0, paged.staging, 0, 64 * STD_PAGE), ERROR_NO_MEMORY);
    uint64_t moved = committed(memory), limit, used, objects, kept;
    EXPECT(moved < 24);
    EXPECT_EQUAL(committed(paged.staging), 64 - moved);
    for (uint64_t i = 0; i < 64; i++)
        EXPECT_EQUAL(get(i < moved ? memory : paged.staging, i), i + 1);
    EXPECT_OK(tess_untyped_info(untyped, &limit, &used, &objects));
    EXPECT(used >= moved && used <= 24);
    EXPECT_OK(tess_pager_evict(paged.pager, memory, 0, 64 * STD_PAGE, 0, &kept));
    EXPECT_EQUAL(committed(memory), 0);
    EXPECT_OK(tess_pager_supply(paged.pager, memory, 48 * STD_PAGE, paged.staging, 48 * STD_PAGE, 16 * STD_PAGE));
    handle_destroy(memory);
    handle_destroy(untyped);
    paged_drop(&paged);
}

/* ---- Clean and dirty ---- */

static void expect_dirty(const struct paged *paged, uint64_t from, uint32_t flags, uint64_t first, uint64_t count)
{
    uint64_t offset, size = 99;
    EXPECT_OK(tess_pager_dirty(paged->pager, paged->memory, from * STD_PAGE, (paged->pages - from) * STD_PAGE, flags, &offset, &size));
    EXPECT_EQUAL(size, count * STD_PAGE);
    if (size != 0)
        EXPECT_EQUAL(offset, first * STD_PAGE);
}

static void dirty(void)
{
    struct paged paged;
    uint64_t second, kept;
    if (!paged_make(&paged, 200))
        return;
    EXPECT_OK(tess_vspace_map(std_self.vspace, paged.memory, 0, 200 * STD_PAGE, 0, MAPPED, &second));
    struct paged other = {.at = second};
    supply(&paged, 0, 200, 1000);
    for (uint64_t i = 0; i < 200; i++)
        EXPECT_EQUAL(*word(&paged, i), 1000 + i);
    expect_dirty(&paged, 0, 0, 0, 0);
    *word(&paged, 2) = 1;
    *word(&other, 3) = 1;
    *word(&paged, 5) = 1;
    for (uint64_t i = 100; i < 200; i++)
        *word(&other, i) = 2;
    expect_dirty(&paged, 0, 0, 2, 2);
    expect_dirty(&paged, 3, 0, 3, 1);
    expect_dirty(&paged, 4, PAGER_CLEAN, 5, 1);
    expect_dirty(&paged, 4, PAGER_CLEAN, 100, 64);
    expect_dirty(&paged, 4, PAGER_CLEAN, 164, 36);
    expect_dirty(&paged, 4, 0, 0, 0);
    /* Through each mapping again: both lost the right to write. */
    *word(&paged, 5) = 3;
    expect_dirty(&paged, 4, PAGER_CLEAN, 5, 1);
    *word(&other, 5) = 4;
    *word(&paged, 5) = 5;
    expect_dirty(&paged, 4, PAGER_CLEAN, 5, 1);
    EXPECT_EQUAL(*word(&other, 5), 5);
    expect_dirty(&paged, 4, 0, 0, 0);
    /* Dirty pages stay unless they are to go as well. */
    EXPECT_OK(tess_pager_evict(paged.pager, paged.memory, 0, 200 * STD_PAGE, 0, &kept));
    EXPECT_EQUAL(kept, 2);
    EXPECT_EQUAL(committed(paged.memory), 2);
    EXPECT_EQUAL(*word(&paged, 3), 1);
    EXPECT_OK(tess_pager_evict(paged.pager, paged.memory, 0, 200 * STD_PAGE, PAGER_DIRTY, &kept));
    EXPECT_EQUAL(committed(paged.memory), 0);
    expect_dirty(&paged, 0, 0, 0, 0);
    struct client client;
    client_start(&client, &paged, 3, 0);
    expect_request(&paged, 3, 0);
    supply(&paged, 3, 1, 33);
    client_end(&client, 33);
    /* A mapping that became writable again does not write to clean pages unseen. */
    EXPECT_OK(tess_vspace_protect(std_self.vspace, paged.at, 200 * STD_PAGE, MAP_READ));
    EXPECT_OK(tess_vspace_protect(std_self.vspace, paged.at, 200 * STD_PAGE, MAP_READ | MAP_WRITE));
    *word(&paged, 3) = 34;
    expect_dirty(&paged, 0, 0, 3, 1);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, second, 200 * STD_PAGE));
    paged_drop(&paged);
}

/* ---- Everything at once: counters in pages that are written back, evicted and brought again. None ever goes back. ---- */

constexpr uint64_t BUSY_PAGES = 24;
constexpr uint32_t WRITERS = 3;

struct busy {
    struct paged paged;
    struct std_ring ring;
    uint64_t disk[BUSY_PAGES][WRITERS];
    _Atomic bool is_over, is_stopped;
    _Atomic uint64_t requests, evictions, writes;
    _Atomic uint32_t next_writer;
};
static struct busy busy;

static void place(uint32_t index) { EXPECT_OK(tess_thread_set_affinity(tess_thread_block()->thread, 1ull << (index % guest.cpu_count))); }

static void counts_up(void *)
{
    uint32_t self = atomic_fetch_add(&busy.next_writer, 1);
    uint64_t seed = 77 + self, mine[BUSY_PAGES] = {};
    place(self);
    while (!atomic_load(&busy.is_over)) {
        uint64_t page = random_next(&seed) % BUSY_PAGES;
        volatile uint64_t *at = word(&busy.paged, page) + self;
        uint64_t value = *at;
        if (value != mine[page]) {
            test_fail("page %lu: %lu became %lu", page, mine[page], value);
            return;
        }
        if (random_next(&seed) % 4 == 0)
            continue;
        mine[page] = value + 1;
        *at = value + 1;
        atomic_fetch_add_explicit(&busy.writes, 1, memory_order_relaxed);
    }
}

static void bring(uint64_t page)
{
    EXPECT_OK(tess_memory_write(busy.paged.staging, page * STD_PAGE, (uint64_t)busy.disk[page], sizeof(busy.disk[page])));
    EXPECT_OK(tess_pager_supply(busy.paged.pager, busy.paged.memory, page * STD_PAGE, busy.paged.staging, page * STD_PAGE, STD_PAGE));
}

static void submit_request(void)
{
    struct tess_submission submission = {.op = OP_PAGER_REQUEST, .cookie = 1, .handle = busy.paged.pager, .aux = DEADLINE_INFINITE};
    EXPECT_OK(std_ring_submit(&busy.ring, &submission));
}

/* The pager: requests through a ring, as a file system would. Between them it writes back and evicts. */
static void serves(void *)
{
    uint64_t seed = 4242, first, size, kept;
    submit_request();
    while (!atomic_load(&busy.is_stopped) && test_has_passed()) {
        struct tess_completion completion;
        status_t status = std_ring_wait(&busy.ring, &completion, time_after_ns(200 * NS_PER_US));
        if (status == OK && completion.status == OK) {
            EXPECT_EQUAL(completion.words[0], KEY);
            bring(completion.words[1] / STD_PAGE);
            atomic_fetch_add(&busy.requests, 1);
            submit_request();
        }
        if (random_next(&seed) % 4 != 0)
            continue;
        for (uint64_t at = 0; at < BUSY_PAGES * STD_PAGE; at = first + size) {
            EXPECT_OK(tess_pager_dirty(busy.paged.pager, busy.paged.memory, at, BUSY_PAGES * STD_PAGE - at, PAGER_CLEAN, &first, &size));
            if (size == 0)
                break;
            for (uint64_t page = first / STD_PAGE; page < (first + size) / STD_PAGE; page++)
                EXPECT_OK(tess_memory_read(busy.paged.memory, page * STD_PAGE, (uint64_t)busy.disk[page], sizeof(busy.disk[page])));
        }
        uint64_t from = random_next(&seed) % BUSY_PAGES, count = 1 + random_next(&seed) % (BUSY_PAGES - from);
        EXPECT_OK(tess_pager_evict(busy.paged.pager, busy.paged.memory, from * STD_PAGE, count * STD_PAGE, 0, &kept));
        atomic_fetch_add(&busy.evictions, count - kept);
    }
}

static void no_write_lost(void)
{
    struct std_thread writers[WRITERS], server;
    memset(&busy, 0, sizeof(busy));
    if (!paged_make(&busy.paged, BUSY_PAGES) ||
        !EXPECT_OK(std_ring_open(&busy.ring, &(struct std_ring_sizes){.sq_entries = 4, .cq_entries = 8, .operation_slots = 2})))
        return;
    thread_start(&server, serves, nullptr);
    for (uint32_t i = 0; i < WRITERS; i++)
        thread_start(&writers[i], counts_up, nullptr);
    for (uint64_t end = time_after_ns(3 * NS_PER_S / 2); time_now_ns() < end && test_has_passed();)
        sleep_ns(10 * NS_PER_MS);
    atomic_store(&busy.is_over, true);
    for (uint32_t i = 0; i < WRITERS; i++)
        thread_join(&writers[i]);
    atomic_store(&busy.is_stopped, true);
    thread_join(&server);
    EXPECT(atomic_load(&busy.requests) > 10 && atomic_load(&busy.evictions) > 10);
    test_note("%lu requests, %lu evictions, %lu writes", atomic_load(&busy.requests), atomic_load(&busy.evictions),
              atomic_load(&busy.writes));
    std_ring_close(&busy.ring);
    paged_drop(&busy.paged);
}

/* A clone of an address space shares paged memory, and waits for the same pager. */
static void cloned(void)
{
    struct paged paged;
    handle_t space, clone;
    uint64_t at, value = 0, done;
    if (!paged_make(&paged, 8))
        return;
    EXPECT_OK(tess_untyped_create_vspace(std_self.untyped, &space));
    EXPECT_OK(tess_vspace_map(space, paged.memory, 0, 8 * STD_PAGE, 0, MAPPED, &at));
    EXPECT_OK(tess_vspace_clone(space, std_self.untyped, &clone));
    EXPECT_STATUS(tess_vspace_read(clone, at, (uint64_t)&value, 8, &done), ERROR_NOT_PRESENT);
    supply(&paged, 0, 1, 8);
    EXPECT_OK(tess_vspace_read(clone, at, (uint64_t)&value, 8, &done));
    EXPECT_EQUAL(value, 8);
    value = 9;
    EXPECT_OK(tess_vspace_write(clone, at, (uint64_t)&value, 8, &done));
    EXPECT_OK(tess_vspace_read(space, at, (uint64_t)&value, 8, &done));
    EXPECT_EQUAL(value, 9);
    expect_dirty(&paged, 0, 0, 0, 1);
    handle_destroy(clone);
    handle_destroy(space);
    paged_drop(&paged);
}

/* More wait than are looked at at once, two for each page: each page is asked for once, to takers that wait and such that come. */
static void crowd(void)
{
    constexpr uint32_t PAGES = 45, CROWD = 2 * PAGES;
    static struct client clients[CROWD];
    struct paged paged;
    bool was_asked[PAGES] = {};
    if (!paged_make(&paged, PAGES))
        return;
    for (uint32_t i = 0; i < CROWD; i++)
        client_start(&clients[i], &paged, i % PAGES, 0);
    for (uint32_t i = 0; i < PAGES; i++) {
        struct request got = request_of(paged.pager);
        uint64_t page = got.offset / STD_PAGE;
        EXPECT(page < PAGES && !was_asked[page % PAGES]);
        was_asked[page % PAGES] = true;
    }
    expect_no_request(paged.pager);
    supply(&paged, 0, PAGES, 1000);
    for (uint32_t i = 0; i < CROWD; i++)
        client_end(&clients[i], 1000 + i % PAGES);
    paged_drop(&paged);
}

void pager_tests(void)
{
    static const struct test tests[] = {
        {"pager.supplied", supplied},   {"pager.refused", refused}, {"pager.system_calls", system_calls},
        {"pager.coalesced", coalesced}, {"pager.failed", failed},   {"pager.pager_dies", pager_dies},
        {"pager.takers", takers},       {"pager.clients", clients}, {"pager.interrupted", interrupted},
        {"pager.exhausted", exhausted}, {"pager.dirty", dirty},     {"pager.no_write_lost", no_write_lost},
        {"pager.cloned", cloned},       {"pager.crowd", crowd},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
