/*
 * The one system call, for user code. Register map: abi/README.md and kernel/arch/include/arch/arch.h. All registers that are
 * no results are kept. Words 4..11 and handles (words 8..11) lie in the thread's message page, which the block that the TLS
 * register points at (struct tess_thread_block) names.
 */
#pragma once
#include <stdint.h>
#include <tess/abi.h>
#include <tess/thread_block.h>

struct tess_regs {
    uint64_t op; /* in: OP_*; out: op of the message or reply */
    handle_t handle;
    uint64_t aux;     /* in: deadline (absolute ns) or reply token; out: badge */
    uint64_t word[4]; /* in and out */
};

static inline status_t tess_invoke(struct tess_regs *regs)
{
#if defined(__x86_64__)
    register uint64_t op __asm__("rax") = regs->op;
    register uint64_t handle __asm__("rdi") = regs->handle;
    register uint64_t aux __asm__("rsi") = regs->aux;
    register uint64_t word0 __asm__("rdx") = regs->word[0];
    register uint64_t word1 __asm__("r10") = regs->word[1];
    register uint64_t word2 __asm__("r8") = regs->word[2];
    register uint64_t word3 __asm__("r9") = regs->word[3];
    __asm__ volatile("syscall"
                     : "+r"(op), "+r"(handle), "+r"(aux), "+r"(word0), "+r"(word1), "+r"(word2), "+r"(word3)
                     :
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register uint64_t op __asm__("x0") = regs->op;
    register uint64_t handle __asm__("x1") = regs->handle;
    register uint64_t aux __asm__("x2") = regs->aux;
    register uint64_t word0 __asm__("x3") = regs->word[0];
    register uint64_t word1 __asm__("x4") = regs->word[1];
    register uint64_t word2 __asm__("x5") = regs->word[2];
    register uint64_t word3 __asm__("x6") = regs->word[3];
    __asm__ volatile("svc #0" : "+r"(op), "+r"(handle), "+r"(aux), "+r"(word0), "+r"(word1), "+r"(word2), "+r"(word3) : : "memory");
#elif defined(__riscv)
    register uint64_t op __asm__("a0") = regs->op;
    register uint64_t handle __asm__("a1") = regs->handle;
    register uint64_t aux __asm__("a2") = regs->aux;
    register uint64_t word0 __asm__("a3") = regs->word[0];
    register uint64_t word1 __asm__("a4") = regs->word[1];
    register uint64_t word2 __asm__("a5") = regs->word[2];
    register uint64_t word3 __asm__("a6") = regs->word[3];
    __asm__ volatile("ecall" : "+r"(op), "+r"(handle), "+r"(aux), "+r"(word0), "+r"(word1), "+r"(word2), "+r"(word3) : : "memory");
#endif
    regs->op = handle;
    regs->aux = aux;
    regs->word[0] = word0;
    regs->word[1] = word1;
    regs->word[2] = word2;
    regs->word[3] = word3;
    return (status_t)op;
}

/* Deletes handles that came with a reply nobody asked them for (lib/std). */
void std_handles_discard(const handle_t *handles, uint32_t count);

/*
 * What a server answered is as hostile as any input: an OK reply must have exactly the sizes of its method, any other reply no
 * handles. The kernel sets op to 0 with errors of its own.
 */
static inline status_t tess_reply_check(const struct tess_regs *regs, status_t status, uint32_t words, uint32_t handles)
{
    uint32_t came = op_handles(regs->op);
    if (status == OK && op_words(regs->op) == words && came == handles) {
        return OK;
    }
    if (came != 0) {
        std_handles_discard(&tess_message_page()->words[MESSAGE_HANDLE_WORD], came > MESSAGE_HANDLES ? MESSAGE_HANDLES : came);
    }
    return status < 0 ? status : ERROR_BAD_FORMAT;
}
