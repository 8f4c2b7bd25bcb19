/* Attacks that are the same on every machine. */
#include <intruder.h>
#include <std/thread.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/endpoint.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

static const uint64_t forbidden[] = {
    0,
    8,
    4088,
    0x7000000000,
    USER_END - 8,
    USER_END,
    1ull << 46,
    0x7FFFFFFFFFF8,
    0x800000000000,
    0x123456789ABCDEF0,
    0xFFFF800000000000,
    0xFFFF000000000000,
    0xFFFFFFC000000000,
    0xFFFFFFFF80000000,
    0xFFFFFFFF80100000,
    0xFFFFFFFFFFFFFFF8,
};
constexpr uint32_t FORBIDDEN = sizeof(forbidden) / sizeof(forbidden[0]);
typedef void (*code_fn)(void);
static uint8_t data[64];

static int32_t read_memory(uint64_t i)
{
    uint64_t value = *(volatile uint64_t *)forbidden[i];
    return value == 0 ? STATUS_BREACH : STATUS_BREACH + 1;
}

static int32_t write_memory(uint64_t i)
{
    *(volatile uint64_t *)forbidden[i] = 0x4141414141414141;
    return STATUS_BREACH;
}

static int32_t jump(uint64_t i)
{
    ((code_fn)forbidden[i])();
    return STATUS_BREACH;
}

static int32_t execute_data(uint64_t)
{
    ((code_fn)(uint64_t)data)();
    return STATUS_BREACH;
}

static int32_t execute_stack(uint64_t)
{
    uint64_t words[8] = {};
    __asm__ volatile("" : : "r"(words) : "memory");
    ((code_fn)(uint64_t)words)();
    return STATUS_BREACH;
}

static int32_t write_text(uint64_t)
{
    *(volatile uint32_t *)(uint64_t)write_text = 0;
    return STATUS_BREACH;
}

static int32_t write_clock(uint64_t)
{
    *(volatile uint64_t *)std_bootstrap()->clock_page = 0;
    return STATUS_BREACH;
}

/* The kernel must refuse what the program could not do itself. */
static int32_t kernel_pointers(uint64_t)
{
    handle_t memory;
    if (tess_untyped_create_memory(std_self.untyped, 2 * STD_PAGE, 0, &memory) != OK)
        return STATUS_BREACH;
    for (uint32_t i = 0; i < FORBIDDEN; i++)
        if (tess_memory_read(memory, 0, forbidden[i], 64) != ERROR_BAD_ADDRESS ||
            tess_memory_write(memory, 0, forbidden[i], 64) != ERROR_BAD_ADDRESS)
            return STATUS_BREACH;
    /* Its own code is not writable for the kernel either; ranges that begin well and end badly. */
    if (tess_memory_read(memory, 0, (uint64_t)kernel_pointers, 64) != ERROR_BAD_ADDRESS ||
        tess_memory_read(memory, 0, USER_END - 4096, ~0ull) == OK || tess_memory_write(memory, ~0ull - 8, (uint64_t)data, 64) == OK ||
        tess_memory_write(memory, 8192 - 8, (uint64_t)data, 64) == OK)
        return STATUS_BREACH;
    return STATUS_SAFE;
}

static int32_t write_and_execute(uint64_t)
{
    handle_t memory;
    uint64_t at;
    if (tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory) != OK ||
        tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE | MAP_EXEC, &at) == OK ||
        tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, MAP_WRITE | MAP_EXEC, &at) == OK ||
        tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &at) != OK ||
        tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_WRITE | MAP_EXEC) == OK ||
        tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, USER_END, MAP_READ | MAP_FIXED, &at) == OK ||
        tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0xFFFFFFFF80000000, MAP_READ | MAP_FIXED, &at) == OK ||
        tess_vspace_map(std_self.vspace, memory, 0, ~0ull << 12, USER_END - STD_PAGE, MAP_READ | MAP_FIXED, &at) == OK)
        return STATUS_BREACH;
    return STATUS_SAFE;
}

/* A handle with fewer rights gives no more, whatever is tried with it. */
static int32_t rights(uint64_t)
{
    handle_t memory, weak, again;
    uint64_t at;
    if (tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory) != OK ||
        std_handle_copy(memory, MEMORY_RIGHT_READ | RIGHT_COPY | RIGHT_MINT, &weak) != OK ||
        std_handle_mint(weak, RIGHTS_ALL, 0, &again) != OK || tess_memory_write(again, 0, (uint64_t)data, 8) != ERROR_MISSING_RIGHT ||
        tess_vspace_map(std_self.vspace, again, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &at) != ERROR_MISSING_RIGHT ||
        tess_vspace_map(std_self.vspace, again, 0, STD_PAGE, 0, MAP_READ, &at) != OK ||
        tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_WRITE) == OK ||
        tess_cspace_destroy(std_self.cspace, again) != ERROR_MISSING_RIGHT ||
        tess_cspace_revoke(std_self.cspace, again) != ERROR_MISSING_RIGHT)
        return STATUS_BREACH;
    /* httpd's endpoint: no server of it, and no other badge. */
    uint64_t words[MESSAGE_WORDS] = {};
    if (raw_call(OP_ENDPOINT_RECEIVE, shared->http, DEADLINE_NOW, words) != ERROR_MISSING_RIGHT ||
        std_handle_mint(shared->http, RIGHTS_ALL, 77, &again) == OK || tess_cspace_destroy(std_self.cspace, shared->http) == OK)
        return STATUS_BREACH;
    return STATUS_SAFE;
}

[[gnu::noinline]] static int32_t recurse(uint64_t depth)
{
    volatile uint8_t block[400];
    block[0] = (uint8_t)depth;
    return depth == 0 ? 0 : recurse(depth - 1) + block[0];
}

static int32_t deep_recursion(uint64_t) { return recurse(1ull << 40) + STATUS_BREACH; }

/* Makes objects until there is no memory; then again after giving a few back. */
static int32_t exhaust(uint64_t type)
{
    handle_t made[160];
    uint32_t count = 0;
    for (uint32_t round = 0; round < 3; round++) {
        status_t status = OK;
        while (count < ARRAY_LENGTH(made)) {
            uint64_t words[MESSAGE_WORDS] = {STD_PAGE * 16, MEMORY_COMMITTED};
            switch (type) {
            case 0: status = raw_call(OP_UNTYPED_CREATE_MEMORY, std_self.untyped, 0, words); break;
            case 1: status = raw_call(OP_UNTYPED_CREATE_VSPACE, std_self.untyped, 0, words); break;
            case 2: status = raw_call(OP_UNTYPED_CREATE_ENDPOINT, std_self.untyped, 0, words); break;
            case 3:
                words[0] = 4096;
                status = raw_call(OP_UNTYPED_CREATE_CSPACE, std_self.untyped, 0, words);
                break;
            case 4: status = raw_call(OP_UNTYPED_CREATE_UNTYPED, std_self.untyped, 0, words); break;
            default:
                words[0] = 3;
                status = raw_call(OP_UNTYPED_CREATE_CSPACE, std_self.untyped, 0, words);
                break;
            }
            if (status != OK)
                break;
            made[count++] = words[0];
        }
        if (status != OK && status != ERROR_NO_MEMORY && status != ERROR_NO_HANDLES)
            return STATUS_BREACH;
        while (count > 10 * round)
            std_handle_delete(made[--count]);
    }
    return STATUS_SAFE;
}

/* Pages on demand, more than the untyped has: dies alone. */
static int32_t exhaust_pages(uint64_t)
{
    void *pages;
    if (std_pages_alloc(64 << 20, &pages) != OK)
        return STATUS_SAFE;
    for (uint64_t i = 0; i < 64 << 20; i += STD_PAGE)
        ((volatile uint8_t *)pages)[i] = 1;
    return STATUS_BREACH;
}

static void spin(void *)
{
    for (;;)
        __asm__ volatile("" : : : "memory");
}

/* Threads that never stop, as many as there is room for. */
static int32_t thread_bomb(uint64_t)
{
    static struct std_thread threads[64];
    for (uint32_t i = 0; i < ARRAY_LENGTH(threads); i++)
        if (std_thread_start(&threads[i], spin, nullptr, STD_PAGE) != OK)
            break;
    spin(nullptr);
    return STATUS_BREACH;
}

/* Threads started with registers that no compiler makes. */
static int32_t wild_start(uint64_t i)
{
    handle_t memory, thread;
    uint64_t sp = (uint64_t)data + sizeof(data);
    if (tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory) != OK ||
        tess_untyped_create_thread(std_self.untyped, std_self.process, memory, 0, 0, &thread) != OK)
        return STATUS_SAFE;
    uint64_t value = forbidden[i / 3];
    (void)tess_thread_start(thread, i % 3 == 0 ? value : (uint64_t)spin, i % 3 == 1 ? value : sp, 0, 0, i % 3 == 2 ? value : 0);
    time_sleep_until(time_after_ns(2 * NS_PER_MS));
    return STATUS_SAFE;
}

/* What the kernel uses while a call runs is taken away: message page, stack, table. */
static int32_t pull_away(uint64_t i)
{
    uint64_t words[MESSAGE_WORDS] = {1, 2, 3, 4, 5, 6, 7, 8, shared->http, shared->http, shared->http, shared->http};
    if (i == 0) {
        (void)tess_vspace_unmap(std_self.vspace, tess_thread_block()->message_page, STD_PAGE);
        struct tess_regs regs = {.op = op_make(43, 1, 8, 4, 15), .handle = shared->http, .aux = time_after_ns(NS_PER_MS)};
        (void)tess_invoke(&regs);
        return STATUS_SAFE;
    }
    if (i == 1) {
        (void)raw_call(op_make(43, 1, 8, 4, 15), shared->http, time_after_ns(NS_PER_MS), words);
        (void)tess_cspace_delete(std_self.cspace, std_self.cspace);
        (void)tess_cspace_delete(std_self.cspace, std_self.cspace);
        return STATUS_SAFE;
    }
    (void)tess_vspace_unmap(std_self.vspace, 0x1000, USER_END - 0x1000);
    return STATUS_BREACH; /* there is no code left to return to */
}

const struct attack attacks[] = {
    {"read", read_memory, FORBIDDEN, ENDS_FAULT},
    {"write", write_memory, FORBIDDEN, ENDS_FAULT},
    {"jump", jump, FORBIDDEN, ENDS_FAULT},
    {"execute data", execute_data, 1, ENDS_FAULT},
    {"execute the stack", execute_stack, 1, ENDS_FAULT},
    {"write code", write_text, 1, ENDS_FAULT},
    {"write the clock page", write_clock, 1, ENDS_FAULT},
    {"pointers for the kernel", kernel_pointers, 1, ENDS_SAFE},
    {"write and execute", write_and_execute, 1, ENDS_SAFE},
    {"rights", rights, 1, ENDS_SAFE},
    {"deep recursion", deep_recursion, 1, ENDS_FAULT},
    {"exhaustion", exhaust, 6, ENDS_SAFE},
    {"exhaustion by pages", exhaust_pages, 1, ENDS_FAULT},
    {"thread bomb", thread_bomb, 2, ENDS_KILLED},
    {"wild start", wild_start, 3 * FORBIDDEN, ENDS_ANYHOW},
    {"pull away", pull_away, 3, ENDS_ANYHOW},
    {"garbage in rings", ring_garbage, 4, ENDS_ANYHOW},
    {},
};
