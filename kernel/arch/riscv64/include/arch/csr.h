/* Supervisor control registers (RISC-V Privileged, chapter 4), and the only inline assembly that touches them. */
#pragma once
#include <stdint.h>

#define csr_read(name)                                                                                                                     \
    ({                                                                                                                                     \
        uint64_t csr_value;                                                                                                                \
        __asm__ volatile("csrr %0, " #name : "=r"(csr_value)::"memory");                                                                   \
        csr_value;                                                                                                                         \
    })
#define csr_write(name, value) __asm__ volatile("csrw " #name ", %0" ::"rK"((uint64_t)(value)) : "memory")
#define csr_set(name, bits) __asm__ volatile("csrs " #name ", %0" ::"rK"((uint64_t)(bits)) : "memory")
#define csr_clear(name, bits) __asm__ volatile("csrc " #name ", %0" ::"rK"((uint64_t)(bits)) : "memory")

constexpr uint64_t SSTATUS_SIE = 1ull << 1;
constexpr uint64_t SSTATUS_SPIE = 1ull << 5;
constexpr uint64_t SSTATUS_SPP = 1ull << 8;
constexpr uint64_t SSTATUS_FS = 3ull << 13;
constexpr uint64_t SSTATUS_FS_INITIAL = 1ull << 13;
constexpr uint64_t SSTATUS_VS = 3ull << 9;
constexpr uint64_t SSTATUS_VS_INITIAL = 1ull << 9;
constexpr uint64_t SSTATUS_SUM = 1ull << 18;
constexpr uint64_t SSTATUS_MXR = 1ull << 19;

/* sie and sip */
constexpr uint64_t INTERRUPT_SOFTWARE = 1ull << 1;
constexpr uint64_t INTERRUPT_TIMER = 1ull << 5;
constexpr uint64_t INTERRUPT_EXTERNAL = 1ull << 9;

/* scause */
constexpr uint64_t CAUSE_INTERRUPT = 1ull << 63;
enum : uint64_t {
    CAUSE_FETCH_MISALIGNED = 0,
    CAUSE_FETCH_ACCESS = 1,
    CAUSE_ILLEGAL = 2,
    CAUSE_BREAKPOINT = 3,
    CAUSE_LOAD_MISALIGNED = 4,
    CAUSE_LOAD_ACCESS = 5,
    CAUSE_STORE_MISALIGNED = 6,
    CAUSE_STORE_ACCESS = 7,
    CAUSE_USER_ECALL = 8,
    CAUSE_FETCH_PAGE = 12,
    CAUSE_LOAD_PAGE = 13,
    CAUSE_STORE_PAGE = 15,
};

constexpr uint64_t SCOUNTEREN_CY_TM_IR = 7;

constexpr uint64_t SATP_MODE_SV39 = 8ull << 60;
constexpr uint64_t SATP_PPN_MASK = (1ull << 44) - 1;
