/* Instructions that only the kernel may use, and user state that no compiler makes. One per run of the attack. */
#include <intruder.h>
#include <tess/string.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>

/* Kernel calls in the state that was made before. */
static bool calls_work(void)
{
    static uint8_t from[3000], to[3000];
    handle_t memory;
    for (uint32_t i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)(i * 7);
    if (tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory) != OK ||
        tess_memory_write(memory, 5, (uint64_t)from, sizeof(from)) != OK || tess_memory_read(memory, 5, (uint64_t)to, sizeof(to)) != OK)
        return false;
    for (uint32_t i = 0; i < sizeof(from); i++)
        if (from[i] != to[i])
            return false;
    return true;
}

/* Not formatted: each line of such a list would be indented deeper, and more with every run. */
/* clang-format off */
#if defined(__x86_64__)
#define PRIVILEGED(X) \
    X("hlt") X("cli") X("sti") X("clts") X("invd") X("wbinvd") X("swapgs") X("sysretq") X("int $0x20") X("int $0x08") X("int3") \
    X("ud2") X("int $0x80") X("sysenter") X("xorl %%eax, %%eax\nmovq %%rax, %%cr3") X("xorl %%eax, %%eax\nmovq %%rax, %%cr0") \
    X("movq %%cr4, %%rax") X("movq %%rax, %%dr7") X("movl $0xC0000082, %%ecx\nrdmsr") X("movl $0xC0000082, %%ecx\nwrmsr") \
    X("invlpg (%%rsp)") X("lgdt (%%rsp)") X("lidt (%%rsp)") X("lldt %%ax") X("ltr %%ax") X("lmsw %%ax") \
    X("movw $0x64, %%dx\ninb %%dx, %%al") X("movw $0xCF9, %%dx\nmovb $6, %%al\noutb %%al, %%dx") \
    X("movw $0xF4, %%dx\noutb %%al, %%dx") X("movl $8, %%eax\nmovw %%ax, %%ss") X("movl $16, %%eax\nmovw %%ax, %%ds") \
    X("pushq $8\nleaq 1f(%%rip), %%rax\npushq %%rax\nlretq\n1:") X("pushq $16\npushq %%rsp\npushq $2\npushq $8\npushq $0\niretq") \
    X("pushfq\norq $0x100, (%%rsp)\npopfq\nnop\nnop") X("movl $0, %%ecx\nxsetbv") X("addps %%xmm0, %%xmm0") X("fninit")
#elif defined(__aarch64__)
#define PRIVILEGED(X) \
    X("msr daifset, #15") X("msr spsel, #1") X("mrs x0, sctlr_el1") X("msr ttbr0_el1, xzr") X("msr ttbr1_el1, xzr") \
    X("msr vbar_el1, xzr") X("msr tcr_el1, xzr") X("msr elr_el1, xzr") X("tlbi vmalle1") X("eret") X("hvc #0") X("smc #0") \
    X("brk #7") X(".inst 0") X("ic iallu") X("mrs x0, esr_el1") X("msr cntp_ctl_el0, xzr") X("msr cntkctl_el1, xzr") \
    X("msr tpidr_el1, xzr") X("mrs x0, mpidr_el1") X("msr sp_el0, xzr") X(".inst 0x4E20D400") X("at s1e1r, x0") \
    X("msr pmcr_el0, xzr") X("hlt #0") X("dc isw, xzr") X("msr cpacr_el1, xzr") X("msr oslar_el1, xzr")
#else
#define PRIVILEGED(X) \
    X("csrr a0, sstatus") X("csrw sstatus, zero") X("csrw satp, zero") X("csrw stvec, zero") X("csrw sscratch, zero") \
    X("csrw sepc, zero") X("csrw sie, zero") X("sfence.vma") X("sret") X("mret") X("ebreak") X("unimp") X("csrr a0, mstatus") \
    X("csrw mtvec, zero") X("csrr a0, mhartid") X("csrw medeleg, zero") X("csrw stimecmp, zero") X(".word 0x00053007") \
    X(".word 0x02000053") X("csrw fcsr, zero") X("csrw scounteren, zero") X(".word 0xFFFFFFFF")
#endif
/* clang-format on */

#define CASE(text)                                                                                                                         \
    case __COUNTER__ - FIRST: __asm__ volatile(text : : : "memory" CLOBBERS); break;
#define ONE(text) +1
constexpr uint32_t PRIVILEGED_COUNT = 0 PRIVILEGED(ONE);

#if defined(__x86_64__)
#define CLOBBERS , "rax", "rcx", "rdx"
#elif defined(__aarch64__)
#define CLOBBERS , "x0"
#else
#define CLOBBERS , "a0"
#endif

static int32_t privileged(uint64_t i)
{
    enum { FIRST = __COUNTER__ + 1 };
    switch (i) {
        PRIVILEGED(CASE)
    default: break;
    }
    return STATUS_BREACH;
}

/* Waiting for an interrupt, reading counters: allowed or not, but it must do nothing. */
static int32_t harmless(uint64_t i)
{
#if defined(__x86_64__)
    if (i == 0)
        __asm__ volatile("rdtsc" : : : "rax", "rdx");
    else if (i == 1)
        __asm__ volatile("sgdt -16(%%rsp)" : : : "memory");
    else
        __asm__ volatile("rdpmc" : : : "rax", "rdx");
#elif defined(__aarch64__)
    if (i == 0)
        __asm__ volatile("wfi");
    else if (i == 1)
        __asm__ volatile("wfe");
    else
        __asm__ volatile("mrs x0, ctr_el0" : : : "x0");
#else
    if (i == 0)
        __asm__ volatile("wfi");
    else if (i == 1)
        __asm__ volatile("fence.i");
    else
        __asm__ volatile("csrr a0, cycle" : : : "a0");
#endif
    return STATUS_SAFE;
}

/* Odd state of the user side that the kernel must not inherit. */
static int32_t odd_state(uint64_t i)
{
#if defined(__x86_64__)
    switch (i) {
    case 0: { /* direction flag: the kernel's copies must go up all the same */
        uint64_t op = OP_CSPACE_INFO, handle = std_self.cspace;
        __asm__ volatile("std\nsyscall\ncld" : "+a"(op), "+D"(handle) : "S"(0ull) : "rcx", "r11", "rdx", "r8", "r9", "r10", "memory");
        break;
    }
    case 1: __asm__ volatile("pushfq\norq $0x40000, (%%rsp)\npopfq" : : : "memory", "cc"); break; /* alignment check */
    case 2: __asm__ volatile("pushfq\norq $0x4000, (%%rsp)\npopfq" : : : "memory", "cc"); break;  /* nested task */
    case 3: __asm__ volatile("xorl %%eax, %%eax\nmovw %%ax, %%ds\nmovw %%ax, %%es\nmovw %%ax, %%gs" : : : "rax", "memory"); break;
    case 4: __asm__ volatile("movl $0x23, %%eax\nmovw %%ax, %%gs" : : : "rax", "memory"); break;
    default: { /* trap flag over the system call */
        uint64_t op = OP_CSPACE_INFO, handle = std_self.cspace;
        __asm__ volatile("pushfq\norq $0x100, (%%rsp)\npopfq\nsyscall\n"
                         : "+a"(op), "+D"(handle)
                         : "S"(0ull)
                         : "rcx", "r11", "rdx", "r8", "r9", "r10", "memory");
        break;
    }
    }
#elif defined(__aarch64__)
    switch (i) {
    case 0: { /* no stack at all during a call */
        register uint64_t op __asm__("x0") = OP_CSPACE_INFO;
        register uint64_t handle __asm__("x1") = std_self.cspace;
        register uint64_t aux __asm__("x2") = 0;
        __asm__ volatile("mov x19, sp\nmov x20, #3\nmov sp, x20\nsvc #0\nmov sp, x19"
                         : "+r"(op), "+r"(handle), "+r"(aux)
                         :
                         : "x3", "x4", "x5", "x6", "x19", "x20", "memory");
        break;
    }
    case 1: __asm__ volatile("svc #77" : : : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "memory"); break;
    default: { /* a TLS register that names kernel memory */
        uint64_t tls;
        __asm__ volatile("mrs %0, tpidr_el0" : "=r"(tls));
        register uint64_t op __asm__("x0") = OP_CSPACE_INFO;
        register uint64_t handle __asm__("x1") = std_self.cspace;
        register uint64_t aux __asm__("x2") = 0;
        __asm__ volatile("mov x19, #-4096\nmsr tpidr_el0, x19\nsvc #0\nmsr tpidr_el0, %3"
                         : "+r"(op), "+r"(handle), "+r"(aux)
                         : "r"(tls)
                         : "x3", "x4", "x5", "x6", "x19", "memory");
        break;
    }
    }
#else
    register uint64_t op __asm__("a0") = OP_CSPACE_INFO;
    register uint64_t handle __asm__("a1") = std_self.cspace;
    register uint64_t aux __asm__("a2") = 0;
    switch (i) {
    case 0:
        __asm__ volatile("mv s2, sp\nli sp, 3\necall\nmv sp, s2"
                         : "+r"(op), "+r"(handle), "+r"(aux)
                         :
                         : "a3", "a4", "a5", "a6", "s2", "memory");
        break;
    case 1: /* tp and gp, which a kernel may take for its own */
        __asm__ volatile("mv s2, tp\nmv s3, gp\nli tp, -4096\nli gp, -8\necall\nmv tp, s2\nmv gp, s3"
                         : "+r"(op), "+r"(handle), "+r"(aux)
                         :
                         : "a3", "a4", "a5", "a6", "s2", "s3", "memory");
        break;
    default:
        __asm__ volatile("mv s2, tp\nli tp, 0\necall\nmv tp, s2"
                         : "+r"(op), "+r"(handle), "+r"(aux)
                         :
                         : "a3", "a4", "a5", "a6", "s2", "memory");
        break;
    }
#endif
    return calls_work() ? STATUS_SAFE : STATUS_BREACH;
}

const struct attack machine_attacks[] = {
    {"privileged instruction", privileged, PRIVILEGED_COUNT, ENDS_FAULT},
    {"instruction that waits or counts", harmless, 3, ENDS_ANYHOW},
    {"odd state", odd_state, 6, ENDS_ANYHOW},
    {},
};
