/* The clock page (struct tess_clock_page) is written by the kernel under a sequence counter; the reader retries a bounded number
 * of times, so that even a damaged page cannot hang it. */
#include <std/program.h>
#include <std/time.h>
#include <stdatomic.h>
#include <tess/stub/thread.h>

constexpr uint32_t RETRIES = 1000;

static inline uint64_t counter_read(void)
{
#if defined(__x86_64__)
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
#elif defined(__aarch64__)
    uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#elif defined(__riscv)
    uint64_t value;
    __asm__ volatile("rdtime %0" : "=r"(value));
    return value;
#endif
}

static uint64_t read_clock(bool is_wall)
{
    const volatile struct tess_clock_page *page = (const volatile struct tess_clock_page *)std_bootstrap()->clock_page;
    if (page == nullptr) {
        return 0;
    }
    uint64_t result = 0;
    for (uint32_t i = 0; i < RETRIES; i++) {
        uint32_t before = page->sequence;
        /* The fences order our plain reads between the two of the sequence (a seqlock's read side). */
        atomic_thread_fence(memory_order_acquire);
        uint64_t base = page->counter_base, mult = page->mult, offset = page->wall_offset;
        uint32_t shift = page->shift;
        atomic_thread_fence(memory_order_acquire);
        uint64_t delta = counter_read() - base;
        result = (uint64_t)((unsigned __int128)delta * mult >> (shift & 127)) + (is_wall ? offset : 0);
        if ((before & 1) == 0 && page->sequence == before) {
            break;
        }
    }
    return result;
}

uint64_t time_now_ns(void) { return read_clock(false); }

uint64_t time_wall_ns(void) { return read_clock(true); }

uint64_t time_after_ns(uint64_t delta_ns)
{
    uint64_t now = time_now_ns();
    return delta_ns > DEADLINE_INFINITE - now ? DEADLINE_INFINITE : now + delta_ns;
}

void time_sleep_until(uint64_t deadline_ns)
{
    /* A thread can put only itself to sleep. */
    while (tess_thread_sleep(tess_thread_block()->thread, deadline_ns) == ERROR_INTERRUPTED) {
    }
}
