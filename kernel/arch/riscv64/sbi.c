/* Calls into the machine-mode firmware: RISC-V Supervisor Binary Interface specification 1.0. */
#include "rv.h"

enum : uint64_t {
    SBI_LEGACY_PUTCHAR = 1,
    SBI_LEGACY_SHUTDOWN = 8,
    SBI_BASE = 0x10,
    SBI_TIME = 0x54494D45,
    SBI_IPI = 0x735049,
    SBI_RFENCE = 0x52464E43,
    SBI_HSM = 0x48534D,
    SBI_SRST = 0x53525354,
    SBI_DBCN = 0x4442434E,
};
enum : uint64_t { BASE_PROBE_EXTENSION = 3, DBCN_WRITE_BYTE = 2 };
enum : uint64_t { SRST_SHUTDOWN = 0, SRST_COLD_REBOOT = 1, SRST_REASON_NONE = 0, SRST_REASON_FAILURE = 1 };

static struct sbi_result sbi_call(uint64_t extension, uint64_t function, uint64_t arg0, uint64_t arg1, uint64_t arg2)
{
    register uint64_t a0 __asm__("a0") = arg0;
    register uint64_t a1 __asm__("a1") = arg1;
    register uint64_t a2 __asm__("a2") = arg2;
    register uint64_t a6 __asm__("a6") = function;
    register uint64_t a7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
    return (struct sbi_result){.error = (int64_t)a0, .value = a1};
}

static bool sbi_has(uint64_t extension)
{
    struct sbi_result result = sbi_call(SBI_BASE, BASE_PROBE_EXTENSION, extension, 0, 0);
    return result.error == 0 && result.value != 0;
}

void rv_sbi_putc(char c)
{
    /* SBI 2.0 has the debug console and may lack the legacy call; before that it was the other way round. */
    static enum : uint8_t { UNKNOWN, LEGACY, DEBUG } console;
    if (console == UNKNOWN) {
        console = sbi_has(SBI_DBCN) ? DEBUG : LEGACY;
    }
    if (console == DEBUG) {
        sbi_call(SBI_DBCN, DBCN_WRITE_BYTE, (uint8_t)c, 0, 0);
    } else {
        sbi_call(SBI_LEGACY_PUTCHAR, 0, (uint8_t)c, 0, 0);
    }
}

void rv_sbi_set_timer(uint64_t deadline) { sbi_call(SBI_TIME, 0, deadline, 0, 0); }

void rv_sbi_send_ipi(uint64_t hart_id) { sbi_call(SBI_IPI, 0, 1, hart_id, 0); }

void rv_sbi_remote_fence_i_all(void) { sbi_call(SBI_RFENCE, 0, 0, UINT64_MAX, 0); /* a mask base of -1 means every hart */ }

bool rv_sbi_hart_start(uint64_t hart_id, paddr_t entry, uint64_t opaque) { return sbi_call(SBI_HSM, 0, hart_id, entry, opaque).error == 0; }

void rv_sbi_system_reset(bool is_reboot, bool is_failure)
{
    sbi_call(SBI_SRST, 0, is_reboot ? SRST_COLD_REBOOT : SRST_SHUTDOWN, is_failure ? SRST_REASON_FAILURE : SRST_REASON_NONE, 0);
    if (!is_reboot) {
        sbi_call(SBI_LEGACY_SHUTDOWN, 0, 0, 0, 0);
    }
}
