/* Wall clock and the clock page. */
#pragma once
#include <kernel/invocation.h>
#include <kernel/memory.h>

struct clock {
    struct object object;
    struct spinlock lock; /* writers of the page */
};

extern struct clock clock_object;
void clock_init(void); /* after page_init and arch_time_init */
paddr_t clock_page_physical(void);
