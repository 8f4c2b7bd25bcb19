/* Order: entry, then pending bit, then the masks are read (by who interrupts): see struct linux_signal_page. */
#include <posixd/page.h>

static uint64_t bit_of(uint32_t signal) { return UINT64_C(1) << (signal - 1); }

void page_init(struct tess_linux_signal_page *page, uint32_t main_tid)
{
    for (uint32_t i = 0; i < LINUX_SIGNAL_THREADS; i++) {
        __atomic_store_n(&page->threads[i].blocked, UINT64_MAX, __ATOMIC_SEQ_CST);
        __atomic_store_n(&page->threads[i].tid, i == 0 ? main_tid : 0, __ATOMIC_SEQ_CST);
    }
}

uint32_t page_place_take(struct tess_linux_signal_page *page, uint64_t *used, uint32_t tid)
{
    if (~*used == 0)
        return PAGE_NO_PLACE;
    uint32_t place = (uint32_t)__builtin_ctzll(~*used);
    *used |= UINT64_C(1) << place;
    __atomic_store_n(&page->threads[place].blocked, UINT64_MAX, __ATOMIC_SEQ_CST);
    __atomic_store_n(&page->threads[place].pending, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&page->threads[place].tid, tid, __ATOMIC_SEQ_CST);
    return place;
}

void page_place_free(struct tess_linux_signal_page *page, uint64_t *used, uint32_t place)
{
    if (place < LINUX_SIGNAL_THREADS) {
        __atomic_store_n(&page->threads[place].tid, 0, __ATOMIC_SEQ_CST);
        *used &= ~(UINT64_C(1) << place);
    }
}

static bool queue(struct tess_linux_signal_page *page, uint32_t tid, uint32_t sequence, const struct posix_signal *signal)
{
    for (uint32_t i = 0; i < LINUX_SIGNAL_QUEUE; i++) {
        struct tess_linux_signal *entry = &page->queue[i];
        if (__atomic_load_n(&entry->state, __ATOMIC_ACQUIRE) == LINUX_SIGNAL_FREE) {
            entry->sequence = sequence;
            entry->tid = tid;
            entry->signal = signal->signal;
            entry->code = signal->code;
            entry->pid = signal->pid;
            entry->uid = signal->uid;
            entry->value = signal->value;
            __atomic_store_n(&entry->state, LINUX_SIGNAL_FULL, __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}

status_t page_send(struct tess_linux_signal_page *page, uint32_t tid, uint32_t place, uint32_t *sequence, const struct posix_signal *signal)
{
    bool has_place = tid != 0 && place < LINUX_SIGNAL_THREADS;
    uint64_t *pending = has_place ? &page->threads[place].pending : &page->pending, bit = bit_of(signal->signal);
    bool is_pending = (__atomic_load_n(pending, __ATOMIC_SEQ_CST) & bit) != 0;
    if (signal->signal < SIGNAL_REALTIME && is_pending)
        return OK; /* one of each is enough */
    /* A real-time signal of kill() comes without siginfo rather than not at all; one of sigqueue() is refused. */
    if (!queue(page, tid, (*sequence)++, signal) && signal->signal >= SIGNAL_REALTIME && signal->code < 0)
        return ERROR_NO_SPACE;
    __atomic_fetch_or(pending, bit, __ATOMIC_SEQ_CST);
    return OK;
}

void page_take_back(struct tess_linux_signal_page *page, uint32_t signal)
{
    constexpr uint64_t stops = UINT64_C(15) << (SIGNAL_STOP - 1); /* 19 to 22 */
    uint64_t bits = signal == SIGNAL_CONT ? stops : bit_of(SIGNAL_CONT);
    __atomic_fetch_and(&page->pending, ~bits, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < LINUX_SIGNAL_THREADS; i++)
        __atomic_fetch_and(&page->threads[i].pending, ~bits, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < LINUX_SIGNAL_QUEUE; i++) {
        struct tess_linux_signal *entry = &page->queue[i];
        uint32_t number = __atomic_load_n(&entry->signal, __ATOMIC_RELAXED), full = LINUX_SIGNAL_FULL;
        if (number - 1 < SIGNAL_MAX && (bit_of(number) & bits) != 0)
            __atomic_compare_exchange_n(&entry->state, &full, LINUX_SIGNAL_FREE, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
}

bool page_is_ignored(const struct tess_linux_signal_page *page, uint32_t signal)
{
    return (__atomic_load_n(&page->ignored, __ATOMIC_RELAXED) & bit_of(signal)) != 0;
}

bool page_is_blocked(const struct tess_linux_signal_page *page, uint32_t place, uint32_t signal)
{
    return place < LINUX_SIGNAL_THREADS && (__atomic_load_n(&page->threads[place].blocked, __ATOMIC_SEQ_CST) & bit_of(signal)) != 0;
}

uint32_t page_flags(const struct tess_linux_signal_page *page) { return __atomic_load_n(&page->flags, __ATOMIC_RELAXED); }
