/* The arena (arena.h): runs of 1 << n pages and pieces of 16 << n bytes, each kind in a free list of its own; what was split stays so. */
#include <linux/arena.h>
#include <linux/process.h>
#include <tess/string.h>
#include <tess/util.h>

constexpr uint64_t PAGE = 4096;
constexpr uint32_t SMALL_SHIFT = 4, SMALL_KINDS = 8, RUN_KINDS = 16;

static void *pop(void **list)
{
    void **found = *list;
    if (found != nullptr) {
        *list = *found;
    }
    return found;
}

static void push(void **list, void *memory)
{
    *(void **)memory = *list;
    *list = memory;
}

static void *take_pages(struct linux_process *process, uint32_t kind)
{
    void *found = pop(&process->free_pages[kind]);
    uint64_t size = PAGE << kind;
    if (found == nullptr && size <= LINUX_ARENA_SIZE - process->arena_next) {
        found = (void *)(LINUX_ARENA_BASE + process->arena_next);
        process->arena_next += size;
    }
    return found;
}

static void *take_small(struct linux_process *process, uint32_t kind)
{
    uint64_t size = 1ull << (SMALL_SHIFT + kind);
    if (process->free_small[kind] == nullptr) {
        uint8_t *page = take_pages(process, 0);
        for (uint64_t at = 0; page != nullptr && at < PAGE; at += size) {
            push(&process->free_small[kind], page + at);
        }
    }
    return pop(&process->free_small[kind]);
}

static uint32_t small_kind(size_t size) { return size <= 16 ? 0 : log2_ceil(size) - SMALL_SHIFT; }
static uint32_t run_kind(size_t size) { return log2_ceil((size + PAGE - 1) / PAGE); }

void *linux_allocate_raw(size_t size)
{
    struct linux_process *process = linux_process();
    bool is_small = size <= 2048;
    if (!is_small && (size > LINUX_ARENA_SIZE || run_kind(size) >= RUN_KINDS)) {
        return nullptr;
    }
    static_assert(1u << (SMALL_SHIFT + SMALL_KINDS - 1) == 2048);
    linux_lock(&process->arena_lock);
    void *found = is_small ? take_small(process, small_kind(size)) : take_pages(process, run_kind(size));
    linux_unlock(&process->arena_lock);
    return found;
}

void *linux_allocate(size_t size)
{
    void *found = linux_allocate_raw(size);
    if (found != nullptr) {
        memset(found, 0, size);
    }
    return found;
}

void linux_free(void *memory, size_t size)
{
    if (memory == nullptr) {
        return;
    }
    struct linux_process *process = linux_process();
    linux_lock(&process->arena_lock);
    push(size <= 2048 ? &process->free_small[small_kind(size)] : &process->free_pages[run_kind(size)], memory);
    linux_unlock(&process->arena_lock);
}
