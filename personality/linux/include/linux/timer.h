/* Timers that send signals (timer.c). */
#pragma once
#include <stdint.h>

constexpr uint32_t LINUX_TIMERS = 33; /* ITIMER_REAL, then 32 of timer_create */

struct linux_process;
struct linux_timer {
    uint64_t deadline; /* of the kernel's clock; 0 = not armed */
    uint64_t interval; /* ns; 0 = once */
    uint64_t value;    /* of the siginfo */
    uint32_t signal, notify, tid, overrun;
    bool is_used, is_wall;
};

/* The timers' thread: entry code, and what it calls. */
extern const char linux_timer_entry[];
[[noreturn]] void linux_timer_main(void);
/* In a fork's child; after exec (where the thread has ended, and ITIMER_REAL goes on). */
void linux_timers_forget(struct linux_process *process, bool is_fork);
