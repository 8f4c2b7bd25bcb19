/*
 * Random calls: known methods and unknown ones, right and wrong sizes; handles of ours, of objects made on the way, stale,
 * changed in one bit and invented; words that are sizes, flags, handles, addresses of ours, of the kernel and of nobody.
 */
#include <hostile.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>

constexpr uint32_t POOL = 64;
constexpr uint32_t CALLS_OF_ONE_CHILD = 25'000;
constexpr uint32_t REPORT_EVERY = 256;

static struct {
    uint64_t seed;
    handle_t endpoint;
    handle_t pool[POOL]; /* of objects made on the way, dead or alive */
    uint32_t pool_next;
    handle_t own[6]; /* self.* */
    uint64_t buffer; /* some pages of ours */
} h;

uint64_t seed_of_argument(void)
{
    uint64_t value = 0;
    for (const char *c = std_arg(1); c != nullptr && *c >= '0' && *c <= '9'; c++)
        value = value * 10 + (uint64_t)(*c - '0');
    return value * 0x9E3779B97F4A7C15ull | 1;
}

void report_calls(handle_t endpoint, uint64_t count)
{
    struct tess_regs regs = {.op = op_make(INTERFACE_TEST, REPORT_METHOD, 2, 0, 0),
                             .handle = endpoint,
                             .aux = time_after_ns(NS_PER_S),
                             .word = {REPORT_WORD, count}};
    status_t status = tess_invoke(&regs);
    (void)status;
}

static uint64_t any(uint64_t limit) { return random_next(&h.seed) % limit; }

static handle_t pick_handle(void)
{
    switch (any(16)) {
    case 0: return random_next(&h.seed);
    case 1: return h.pool[any(POOL)] ^ 1ull << any(64);
    case 2: return any(64) | (1 + any(4)) << 32; /* low slots, young generations: the handles a guesser would try */
    case 3: return h.endpoint;
    case 4:
    case 5:
    case 6: return h.own[any(6)];
    default: return h.pool[any(POOL)];
    }
}

static uint64_t pick_word(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     7,
                                     8,
                                     255,
                                     511,
                                     512,
                                     513,
                                     4095,
                                     4096,
                                     4097,
                                     1 << 20,
                                     1ull << 31,
                                     1ull << 32,
                                     1ull << 38,
                                     (1ull << 38) - 4096,
                                     1ull << 39,
                                     1ull << 40,
                                     1ull << 47,
                                     1ull << 63,
                                     0xFFFFFFFF80000000,
                                     0xFFFF800000000000,
                                     0xFFFFFFC000000000,
                                     ~0ull,
                                     ~0xFFFull,
                                     ~7ull,
                                     0x7FFFFFFF,
                                     0xFFFFFFFF};
    switch (any(8)) {
    case 0: return random_next(&h.seed);
    case 1: return edges[any(ARRAY_LENGTH(edges))];
    case 2: return any(16);
    case 3: return any(64) * STD_PAGE;
    case 4: return h.buffer + any(16 * STD_PAGE);
    case 5: return h.buffer + any(16) * STD_PAGE;
    default: return pick_handle();
    }
}

static uint64_t pick_op(void)
{
    uint64_t op = shapes[any(shape_count)];
    switch (any(12)) {
    case 0: return random_next(&h.seed);
    case 1: return op ^ 1ull << any(32);
    case 2: return op_make((uint32_t)any(48), (uint32_t)any(16), (uint32_t)any(13), (uint32_t)any(5), (uint32_t)any(16));
    default: return op;
    }
}

/* These end us or take away what we work with: allowed, but seldom, or little else would ever happen. */
static bool is_suicide(uint64_t op, handle_t handle, const uint64_t words[12])
{
    bool is_own = false, names_own = false;
    for (uint32_t i = 0; i < 6; i++) {
        is_own = is_own || handle == h.own[i];
        names_own = names_own || words[0] == h.own[i] || words[0] == h.endpoint;
    }
    uint32_t op16 = (uint32_t)op & 0xFFFF;
    if (op16 == (OP_PROCESS_EXIT & 0xFFFF) || op16 == (OP_PROCESS_KILL & 0xFFFF) || op16 == (OP_THREAD_EXIT & 0xFFFF) ||
        op16 == (OP_THREAD_SUSPEND & 0xFFFF))
        return is_own;
    if (op16 == (OP_CSPACE_DELETE & 0xFFFF) || op16 == (OP_CSPACE_DESTROY & 0xFFFF) || op16 == (OP_CSPACE_MOVE & 0xFFFF) ||
        op16 == (OP_CSPACE_REVOKE & 0xFFFF))
        return names_own;
    return op16 == (OP_VSPACE_UNMAP & 0xFFFF) || op16 == (OP_VSPACE_PROTECT & 0xFFFF) ? is_own && words[0] < h.buffer : false;
}

static uint64_t pick_deadline(void)
{
    switch (any(64)) {
    case 0: return time_after_ns(any(200'000));
    case 1: return any(1'000'000);
    case 2: return any(200) == 0 ? DEADLINE_INFINITE : DEADLINE_NOW;
    case 3: return any(20) == 0 ? random_next(&h.seed) >> any(64) : DEADLINE_NOW;
    default: return DEADLINE_NOW;
    }
}

static void one_call(void)
{
    struct tess_message_page *page = tess_message_page();
    struct tess_regs regs = {.op = pick_op(), .handle = pick_handle(), .aux = pick_deadline()};
    uint64_t words[12];
    for (uint32_t i = 0; i < 12; i++)
        words[i] = pick_word();
    if (is_suicide(regs.op, regs.handle, words) && any(400) != 0)
        return;
    memcpy(regs.word, words, sizeof(regs.word));
    memcpy(&page->words[4], &words[4], 8 * sizeof(uint64_t));
    if (tess_invoke(&regs) == OK && regs.word[0] >> 32 != 0 && regs.word[0] < 1ull << 48)
        h.pool[h.pool_next++ % POOL] = regs.word[0]; /* perhaps a new handle */
    for (uint32_t i = 0; i < op_handles(regs.op) && i < MESSAGE_HANDLES; i++)
        h.pool[h.pool_next++ % POOL] = page->words[MESSAGE_HANDLE_WORD + i];
    /* Make room now and then. */
    if (any(4) == 0) {
        status_t status = tess_cspace_delete(std_self.cspace, h.pool[any(POOL)]);
        (void)status;
    }
}

static void setup(void)
{
    void *pages = nullptr;
    h.seed = seed_of_argument();
    h.endpoint = std_handle_needed("endpoint");
    const handle_t own[] = {std_self.cspace, std_self.vspace, std_self.process, std_self.thread, std_self.untyped, std_self.cspace};
    memcpy(h.own, own, sizeof(own));
    if (std_pages_alloc(16 * STD_PAGE, &pages) != OK)
        std_exit(1);
    h.buffer = (uint64_t)pages;
}

int32_t role_calls(void)
{
    setup();
    for (uint32_t i = 1; i <= CALLS_OF_ONE_CHILD; i++) {
        one_call();
        if (i % REPORT_EVERY == 0)
            report_calls(h.endpoint, REPORT_EVERY);
    }
    return 0;
}
