/*
 * poll, ppoll, select, pselect6. Each file is asked what holds, and for the words to sleep on. One word: the thread waits on it; several: a ring
 * of its own does, with one operation for each; more than POLL_WORDS_MAX: it looks again every few milliseconds.
 */
#include <linux/arena.h>
#include <linux/call.h>
#include <linux/errno.h>
#include <linux/queue.h>
#include <linux/signal.h>
#include <linux/time.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/util.h>

constexpr uint32_t FDS_MAX = 4096, POLL_WORDS_MAX = 256, READY_ALWAYS = LINUX_POLLIN | LINUX_POLLOUT | LINUX_POLLRDNORM | LINUX_POLLWRNORM;
constexpr uint64_t AGAIN_NS = 5'000'000;

struct poll_entry { /* struct pollfd */
    int32_t fd;
    uint16_t events, returned;
};
struct poll_words {
    uint32_t count;
    bool is_too_many;
    struct {
        _Atomic uint32_t *word;
        uint32_t value;
    } words[POLL_WORDS_MAX];
};

/* How many are ready. With `words` also what to sleep on. The files stay referenced: *out_files, if not nullptr. */
static uint32_t look(struct poll_entry *entries, uint32_t count, struct poll_words *words, struct linux_file **files)
{
    uint32_t ready = 0;
    words->count = 0;
    words->is_too_many = false;
    for (uint32_t i = 0; i < count; i++) {
        struct linux_poll_wait wait = {};
        struct linux_file *file;
        uint32_t wanted = entries[i].events | LINUX_POLLERR | LINUX_POLLHUP;
        entries[i].returned = 0;
        files[i] = nullptr;
        if (entries[i].fd < 0)
            continue;
        if (linux_file_get((uint64_t)entries[i].fd, &file) != 0) {
            entries[i].returned = LINUX_POLLNVAL;
            ready++;
            continue;
        }
        files[i] = file; /* its words stay mapped while we sleep, whoever closes the descriptor */
        uint32_t holds = file->operations->poll == nullptr ? READY_ALWAYS : file->operations->poll(file, wanted, &wait);
        entries[i].returned = (uint16_t)(holds & wanted);
        ready += entries[i].returned != 0;
        for (uint32_t k = 0; k < wait.count; k++) {
            if (words->count == POLL_WORDS_MAX) {
                words->is_too_many = true;
                break;
            }
            words->words[words->count].word = wait.words[k].word;
            words->words[words->count++].value = wait.words[k].value;
        }
    }
    return ready;
}

static void let_go(struct linux_file **files, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (files[i] != nullptr)
            linux_file_put(files[i]);
    }
}

/* ---- Sleeping on several words ---- */

static uint32_t power_of_two(uint32_t count)
{
    uint32_t size = 2;
    while (size < count)
        size *= 2;
    return size;
}

static int64_t sleep_with(handle_t ring, struct tess_ring_header *header, const struct poll_words *words, uint64_t deadline)
{
    struct tess_submission *submissions = (struct tess_submission *)((uint8_t *)header + 128); /* struct ring_header */
    uint32_t submitted, available;
    for (uint32_t i = 0; i < words->count; i++)
        submissions[i] = (struct tess_submission){.op = OP_VSPACE_FUTEX_WAIT,
                                                  .cookie = 1,
                                                  .handle = linux_process()->vspace,
                                                  .aux = DEADLINE_INFINITE,
                                                  .words = {(uint64_t)words->words[i].word, words->words[i].value, UINT32_MAX}};
    __atomic_store_n(&header->sq_tail, words->count, __ATOMIC_RELEASE);
    status_t status = tess_ring_enter(ring, words->count, 1, &submitted, &available, deadline);
    return status == OK ? 0 : status == ERROR_TIMED_OUT ? -LINUX_ETIMEDOUT : linux_error(status);
}

/* The ring goes with its handle, and with it what still waits. */
static int64_t sleep_on_many(const struct poll_words *words, uint64_t deadline)
{
    const struct linux_process *process = linux_process();
    uint32_t entries = power_of_two(words->count);
    uint64_t size = 128 + 2 * sizeof(struct tess_submission) * entries;
    handle_t memory, ring;
    void *address;
    int64_t result = linux_error(tess_untyped_create_memory(process->untyped, size, 0, &memory));
    if (result != 0)
        return result;
    result = linux_shared_map(memory, (size + 4095) & ~4095ull, &address);
    if (result == 0) {
        result = linux_error(tess_untyped_create_ring(process->untyped, memory, entries, entries, 0, 0, words->count, &ring));
        if (result == 0) {
            result = sleep_with(ring, address, words, deadline);
            status_t status = tess_cspace_destroy(process->cspace, ring);
            status = status == OK ? tess_cspace_delete(process->cspace, ring) : status;
            (void)status;
        }
        linux_shared_unmap(address, size);
    }
    status_t status = tess_cspace_delete(process->cspace, memory);
    (void)status;
    return result;
}

static int64_t sleep_on(const struct poll_words *words, uint64_t deadline)
{
    if (words->is_too_many)
        deadline = min_u64(deadline, linux_deadline_after(AGAIN_NS));
    int64_t result;
    if (words->count == 1) {
        result = linux_word_sleep(words->words[0].word, words->words[0].value, deadline);
    } else if (words->count > 1 && !words->is_too_many) {
        result = sleep_on_many(words, deadline);
    } else {
        status_t status = tess_thread_sleep(linux_self()->handle, deadline);
        result = status == ERROR_TIMED_OUT ? -LINUX_ETIMEDOUT : linux_error(status);
    }
    return words->is_too_many && result == -LINUX_ETIMEDOUT ? 0 : result;
}

/* How many are ready; 0 when the deadline came first. */
static int64_t poll_entries(struct poll_entry *entries, uint32_t count, uint64_t deadline)
{
    struct poll_words *words = linux_allocate(sizeof(*words));
    struct linux_file **files = linux_allocate((count + 1) * sizeof(*files));
    int64_t result = words == nullptr || files == nullptr ? -LINUX_ENOMEM : 0;
    while (result == 0) {
        result = look(entries, count, words, files);
        bool is_over = deadline != DEADLINE_INFINITE && linux_clock_monotonic() >= deadline;
        if (result == 0 && !is_over)
            result = sleep_on(words, deadline);
        else
            is_over = true;
        let_go(files, count);
        if (is_over || result < 0)
            break;
    }
    linux_free(words, sizeof(*words));
    linux_free(files, (count + 1) * sizeof(*files));
    /* A time that came while it slept: what is ready now is known already to be nothing. */
    return result == -LINUX_ETIMEDOUT ? 0 : result == -LINUX_ERESTARTSYS ? -LINUX_ERESTARTNOHAND : result;
}

static int64_t poll_user(uint64_t fds, uint64_t count, uint64_t deadline)
{
    if (count > FDS_MAX)
        return -LINUX_EINVAL;
    uint64_t size = count * sizeof(struct poll_entry);
    struct poll_entry *entries = linux_allocate(size + 8);
    if (entries == nullptr)
        return -LINUX_ENOMEM;
    int64_t result = linux_copy_from_user(entries, fds, size);
    if (result == 0)
        result = poll_entries(entries, (uint32_t)count, deadline);
    if (result >= 0) {
        int64_t copied = linux_copy_to_user(fds, entries, size);
        result = copied != 0 ? copied : result;
    }
    linux_free(entries, size + 8);
    return result;
}

int64_t linux_sys_poll(uint64_t fds, uint64_t count, uint64_t timeout)
{
    int32_t ms = (int32_t)timeout;
    return poll_user(fds, count, ms < 0 ? DEADLINE_INFINITE : linux_deadline_after((uint64_t)ms * 1'000'000));
}

/* A time limit of ppoll and pselect6: 0 or an error. */
static int64_t limit_from_user(uint64_t timeout, uint64_t *out_deadline)
{
    uint64_t ns;
    *out_deadline = DEADLINE_INFINITE;
    int64_t result = timeout == 0 ? 0 : linux_time_from_user(timeout, &ns);
    if (timeout != 0 && result == 0)
        *out_deadline = linux_deadline_after(ns);
    return result;
}

/* What is left of it goes back to the program, as Linux does. */
static void limit_to_user(uint64_t timeout, uint64_t deadline)
{
    uint64_t now = linux_clock_monotonic(), left = deadline > now ? deadline - now : 0;
    const uint64_t value[2] = {left / 1'000'000'000, left % 1'000'000'000};
    if (timeout != 0 && linux_copy_to_user(timeout, value, sizeof(value)) != 0)
        return; /* it may lie in constants */
}

static int64_t take_mask(uint64_t mask, uint64_t size)
{
    uint64_t value;
    if (mask == 0)
        return 0;
    if (size != 8)
        return -LINUX_EINVAL;
    int64_t result = linux_load_user_u64(&value, mask);
    if (result == 0)
        linux_signal_mask_for_call(linux_self(), value);
    return result;
}

int64_t linux_sys_ppoll(uint64_t fds, uint64_t count, uint64_t timeout, uint64_t mask, uint64_t mask_size)
{
    uint64_t deadline;
    int64_t result = limit_from_user(timeout, &deadline);
    result = result == 0 ? take_mask(mask, mask_size) : result;
    if (result != 0)
        return result;
    result = poll_user(fds, count, deadline);
    limit_to_user(timeout, deadline);
    return result;
}

/* ---- select ---- */

constexpr uint32_t SELECT_WORDS = 1024 / 64; /* FD_SETSIZE */
constexpr uint32_t READ_BITS = LINUX_POLLIN | LINUX_POLLRDNORM | LINUX_POLLHUP | LINUX_POLLERR,
                   WRITE_BITS = LINUX_POLLOUT | LINUX_POLLWRNORM | LINUX_POLLERR;

static int64_t select_files(uint64_t limit, const uint64_t sets[3], uint64_t deadline)
{
    uint64_t bits[3][SELECT_WORDS] = {};
    int32_t count = (int32_t)limit;
    if (count < 0)
        return -LINUX_EINVAL;
    count = count > 1024 ? 1024 : count;
    uint64_t size = ((uint64_t)count + 63) / 64 * 8;
    for (uint32_t i = 0; i < 3; i++) {
        if (sets[i] != 0 && linux_copy_from_user(bits[i], sets[i], size) != 0)
            return -LINUX_EFAULT;
    }
    struct poll_entry *entries = linux_allocate(1024 * sizeof(*entries));
    if (entries == nullptr)
        return -LINUX_ENOMEM;
    uint32_t used = 0;
    for (int32_t fd = 0; fd < count; fd++) {
        uint32_t place = (uint32_t)fd / 64, events = 0;
        uint64_t bit = 1ull << fd % 64;
        events |= (bits[0][place] & bit) != 0 ? LINUX_POLLIN | LINUX_POLLRDNORM : 0;
        events |= (bits[1][place] & bit) != 0 ? LINUX_POLLOUT | LINUX_POLLWRNORM : 0;
        events |= (bits[2][place] & bit) != 0 ? LINUX_POLLPRI : 0;
        if (events != 0)
            entries[used++] = (struct poll_entry){.fd = fd, .events = (uint16_t)events};
    }
    int64_t result = poll_entries(entries, used, deadline), ready = 0;
    uint64_t wanted[3][SELECT_WORDS];
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t k = 0; k < SELECT_WORDS; k++) {
            wanted[i][k] = bits[i][k];
            bits[i][k] = 0;
        }
    }
    for (uint32_t i = 0; i < used && result >= 0; i++) {
        uint32_t place = (uint32_t)entries[i].fd / 64, returned = entries[i].returned;
        uint64_t bit = 1ull << entries[i].fd % 64;
        if (returned == LINUX_POLLNVAL)
            result = -LINUX_EBADF;
        bits[0][place] |= (returned & READ_BITS) != 0 ? wanted[0][place] & bit : 0;
        bits[1][place] |= (returned & WRITE_BITS) != 0 ? wanted[1][place] & bit : 0;
        bits[2][place] |= (returned & LINUX_POLLPRI) != 0 ? wanted[2][place] & bit : 0;
        ready += (bits[0][place] & bit) != 0;
        ready += (bits[1][place] & bit) != 0;
        ready += (bits[2][place] & bit) != 0;
    }
    linux_free(entries, 1024 * sizeof(*entries));
    for (uint32_t i = 0; i < 3 && result >= 0; i++) {
        if (sets[i] != 0 && linux_copy_to_user(sets[i], bits[i], size) != 0)
            return -LINUX_EFAULT;
    }
    return result < 0 ? result : ready;
}

int64_t linux_sys_select(uint64_t count, uint64_t read, uint64_t write, uint64_t except, uint64_t timeout)
{
    uint64_t value[2], deadline = DEADLINE_INFINITE;
    if (timeout != 0) {
        if (linux_copy_from_user(value, timeout, sizeof(value)) != 0)
            return -LINUX_EFAULT;
        if ((int64_t)value[0] < 0 || value[1] >= 1'000'000)
            return -LINUX_EINVAL;
        deadline = linux_deadline_after(value[0] > 1u << 31 ? UINT64_MAX / 2 : value[0] * 1'000'000'000 + value[1] * 1000);
    }
    const uint64_t sets[3] = {read, write, except};
    int64_t result = select_files(count, sets, deadline);
    if (timeout != 0) {
        uint64_t now = linux_clock_monotonic(), left = deadline > now ? deadline - now : 0;
        const uint64_t rest[2] = {left / 1'000'000'000, left % 1'000'000'000 / 1000};
        if (linux_copy_to_user(timeout, rest, sizeof(rest)) != 0)
            return result;
    }
    return result;
}

int64_t linux_sys_pselect6(uint64_t count, uint64_t read, uint64_t write, uint64_t except, uint64_t timeout, uint64_t mask)
{
    uint64_t deadline, pair[2] = {};
    int64_t result = limit_from_user(timeout, &deadline);
    if (result == 0 && mask != 0)
        result = linux_copy_from_user(pair, mask, sizeof(pair)); /* address and size of the signal mask */
    result = result == 0 ? take_mask(pair[0], pair[1]) : result;
    if (result != 0)
        return result;
    const uint64_t sets[3] = {read, write, except};
    result = select_files(count, sets, deadline);
    limit_to_user(timeout, deadline);
    return result;
}
