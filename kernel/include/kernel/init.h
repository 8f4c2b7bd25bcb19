/* Boot steps that live in files of their own. */
#pragma once
#include <kernel/boot_info.h>

/* init/first_process.c: loads `init` from the boot image and makes it ready. Panics with the reason when it cannot. */
void first_process_start(const struct boot_info *bi);
void page_init_late(const struct boot_info *bi);
void clock_init_page(void);
/* init/stack_guard.c: as good as what CPU and firmware give (arch_random, seeds of the device tree), and the time. */
uint64_t boot_random(const struct boot_info *bi);
/* Called by a function that never returns. */
void stack_guard_init(const struct boot_info *bi);
