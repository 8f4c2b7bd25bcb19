/* eventfd: a counter in a page of its own, shared by whoever inherits it; changed by compare-and-swap, slept on like a pipe. */
#include <linux/arena.h>
#include <linux/call.h>
#include <linux/errno.h>
#include <linux/queue.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

constexpr uint32_t EFD_SEMAPHORE = 1, MODE_ANONYMOUS = 0600;
constexpr uint64_t COUNTER_MAX = UINT64_MAX - 1, PAGE = 4096;

struct shared_counter {
    _Atomic uint64_t value;
    _Atomic uint32_t readable, writable; /* count changes; always slept on with the value seen before the counter was looked at */
};
struct event_file {
    struct linux_file file;
    struct shared_counter *shared;
    handle_t memory;
    bool is_semaphore;
};

static struct event_file *event_of(struct linux_file *file) { return (struct event_file *)file; }

static uint32_t seen(_Atomic uint32_t *word) { return __c11_atomic_load(word, __ATOMIC_SEQ_CST); }

static void changed(_Atomic uint32_t *word)
{
    __c11_atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
    linux_word_wake(word);
}

static int64_t event_read(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    struct event_file *event = event_of(file);
    if (offset != -1)
        return -LINUX_ESPIPE;
    if (size < 8)
        return -LINUX_EINVAL;
    for (;;) {
        uint32_t word = seen(&event->shared->readable);
        uint64_t value = __c11_atomic_load(&event->shared->value, __ATOMIC_SEQ_CST);
        if (value != 0) {
            uint64_t taken = event->is_semaphore ? 1 : value;
            if (!__c11_atomic_compare_exchange_strong(&event->shared->value, &value, value - taken, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                continue;
            changed(&event->shared->writable);
            int64_t result = linux_store_user_u64(buffer, taken);
            return result != 0 ? result : 8;
        }
        if ((*file->flags & LINUX_O_NONBLOCK) != 0)
            return -LINUX_EAGAIN;
        int64_t result = linux_word_sleep(&event->shared->readable, word, DEADLINE_INFINITE);
        if (result != 0)
            return result;
    }
}

static int64_t event_write(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    struct event_file *event = event_of(file);
    uint64_t added;
    if (offset != -1)
        return -LINUX_ESPIPE;
    if (size < 8)
        return -LINUX_EINVAL;
    int64_t result = linux_load_user_u64(&added, buffer);
    if (result != 0)
        return result;
    if (added > COUNTER_MAX)
        return -LINUX_EINVAL;
    for (;;) {
        uint32_t word = seen(&event->shared->writable);
        uint64_t value = __c11_atomic_load(&event->shared->value, __ATOMIC_SEQ_CST);
        if (value <= COUNTER_MAX - added) {
            if (!__c11_atomic_compare_exchange_strong(&event->shared->value, &value, value + added, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                continue;
            if (added > 0)
                changed(&event->shared->readable);
            return 8;
        }
        if ((*file->flags & LINUX_O_NONBLOCK) != 0)
            return -LINUX_EAGAIN;
        result = linux_word_sleep(&event->shared->writable, word, DEADLINE_INFINITE);
        if (result != 0)
            return result;
    }
}

static uint32_t event_poll(struct linux_file *file, uint32_t wanted, struct linux_poll_wait *wait)
{
    struct shared_counter *shared = event_of(file)->shared;
    linux_poll_add(wait, &shared->readable, seen(&shared->readable));
    linux_poll_add(wait, &shared->writable, seen(&shared->writable));
    uint64_t value = __c11_atomic_load(&shared->value, __ATOMIC_SEQ_CST);
    return wanted & ((value > 0 ? LINUX_POLLIN | LINUX_POLLRDNORM : 0) | (value < COUNTER_MAX ? LINUX_POLLOUT | LINUX_POLLWRNORM : 0));
}

static int64_t event_stat(struct linux_file *file, struct linux_stat_values *out)
{
    (void)file;
    *out = (struct linux_stat_values){.device = 14, .inode = 1, .mode = MODE_ANONYMOUS, .links = 1, .block_size = 4096};
    return 0;
}

static int64_t event_map_into(struct linux_file *file, handle_t vspace)
{
    struct event_file *event = event_of(file);
    uint64_t at;
    return linux_error(tess_vspace_map(vspace, event->memory, 0, PAGE, (uint64_t)event->shared,
                                       MAP_READ | MAP_WRITE | MAP_FIXED | MAP_INHERIT_SHARE, &at));
}

static void event_close(struct linux_file *file)
{
    struct event_file *event = event_of(file);
    linux_shared_unmap(event->shared, PAGE);
    status_t status = tess_cspace_delete(linux_process()->cspace, event->memory);
    (void)status;
    linux_free(event, sizeof(*event));
}

static const struct linux_file_operations operations = {
    .read = event_read, .write = event_write, .poll = event_poll, .stat = event_stat, .map_into = event_map_into, .close = event_close};

int64_t linux_sys_eventfd2(uint64_t value, uint64_t flags)
{
    const struct linux_process *process = linux_process();
    void *address = nullptr;
    if (((uint32_t)flags & ~(EFD_SEMAPHORE | LINUX_O_NONBLOCK | LINUX_O_CLOEXEC)) != 0)
        return -LINUX_EINVAL;
    struct event_file *event = linux_allocate(sizeof(*event));
    if (event == nullptr)
        return -LINUX_ENOMEM;
    int64_t result = linux_error(tess_untyped_create_memory(process->untyped, PAGE, 0, &event->memory));
    if (result == 0) {
        result = linux_shared_map(event->memory, PAGE, &address);
        if (result != 0) {
            status_t status = tess_cspace_delete(process->cspace, event->memory);
            (void)status;
        }
    }
    if (result != 0) {
        linux_free(event, sizeof(*event));
        return result;
    }
    event->shared = address;
    event->shared->value = (uint32_t)value;
    event->is_semaphore = ((uint32_t)flags & EFD_SEMAPHORE) != 0;
    event->file =
        (struct linux_file){.operations = &operations, .references = 1, .own_flags = LINUX_O_RDWR | ((uint32_t)flags & LINUX_O_NONBLOCK)};
    event->file.flags = &event->file.own_flags;
    return linux_file_install(&event->file, (uint32_t)flags & LINUX_O_CLOEXEC, 0);
}

int64_t linux_sys_eventfd(uint64_t value) { return linux_sys_eventfd2(value, 0); }
