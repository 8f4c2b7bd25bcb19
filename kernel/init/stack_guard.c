/*
 * What stands between a function's arrays and its return address (-fstack-protector-strong): one number for the whole kernel, another
 * at each boot, with a zero byte that no string operation writes past.
 */
#include <arch/arch.h>
#include <kernel/init.h>

uintptr_t __stack_chk_guard = 0xAE1D5F2B4C9700;

uint64_t boot_random(const struct boot_info *bi)
{
    uint64_t number = 0;
    (void)arch_random(&number);
    number ^= arch_time_ns();
    for (uint32_t i = 0; i < bi->entropy_size; i++)
        number = (number ^ bi->entropy[i]) * 0x9E3779B97F4A7C15; /* 2^64 / golden ratio; Knuth, TAOCP 3, 6.4 */
    return number ^ number >> 32;
}

void stack_guard_init(const struct boot_info *bi) { __stack_chk_guard = boot_random(bi) & ~0xFFull; }
