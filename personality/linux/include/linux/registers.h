/* The program's registers in the frame, by what they mean. What else differs between the architectures is in src/ARCH. */
#pragma once
#include <linux/thread.h>
#include <tess/string.h>

#if defined(__x86_64__)
typedef struct tess_registers_x86_64 linux_registers;
#define LINUX_REGISTER_PC rip
#define LINUX_REGISTER_SP rsp
#define LINUX_REGISTER_RESULT rax
#define LINUX_REGISTER_TLS fs_base
constexpr uint64_t LINUX_CALL_INSTRUCTION = 2;
#elif defined(__aarch64__)
typedef struct tess_registers_aarch64 linux_registers;
#define LINUX_REGISTER_PC pc
#define LINUX_REGISTER_SP sp
#define LINUX_REGISTER_RESULT x[0]
#define LINUX_REGISTER_TLS tls
constexpr uint64_t LINUX_CALL_INSTRUCTION = 4;
#else
typedef struct tess_registers_riscv64 linux_registers;
#define LINUX_REGISTER_PC pc
#define LINUX_REGISTER_SP sp
#define LINUX_REGISTER_RESULT a[0]
#define LINUX_REGISTER_TLS tp
constexpr uint64_t LINUX_CALL_INSTRUCTION = 4;
#endif

static inline linux_registers *linux_registers_of(struct tess_upcall_frame *frame) { return (linux_registers *)frame->foreign.registers; }

/* The number of the call that is being made: in the frame until its result is. */
static inline uint64_t linux_call_number(struct tess_upcall_frame *frame)
{
#if defined(__x86_64__)
    return linux_registers_of(frame)->rax;
#elif defined(__aarch64__)
    return linux_registers_of(frame)->x[8];
#else
    return linux_registers_of(frame)->a[7];
#endif
}

static inline void linux_call_set_number(linux_registers *registers, uint64_t number)
{
#if defined(__x86_64__)
    registers->rax = number;
#elif defined(__aarch64__)
    registers->x[8] = number;
#else
    registers->a[7] = number;
#endif
}

/* Makes the frame linux_frame() of the running code, before the kernel knows it. */
static inline void linux_frame_adopt([[maybe_unused]] struct tess_upcall_frame *frame)
{
#if defined(__riscv)
    __asm__ volatile("mv tp, %0" : : "r"(frame));
#endif
}
