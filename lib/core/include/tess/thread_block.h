/* Where a thread finds its message page: through the TLS register (struct tess_thread_block). Code whose TLS register is somebody else's brings a
 * header of this name with a tess_message_page() of its own (personality/linux). */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

static inline struct tess_thread_block *tess_thread_block(void)
{
    struct tess_thread_block *block;
#if defined(__x86_64__)
    __asm__("movq %%fs:0, %0" : "=r"(block)); /* first member: its own address */
#elif defined(__aarch64__)
    __asm__("mrs %0, tpidr_el0" : "=r"(block));
#elif defined(__riscv)
    __asm__("mv %0, tp" : "=r"(block));
#endif
    return block;
}

static inline struct tess_message_page *tess_message_page(void) { return (struct tess_message_page *)tess_thread_block()->message_page; }
