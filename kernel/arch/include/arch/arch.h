/*
 * The architecture contract: everything the portable kernel asks of kernel/arch/<arch>/, and nothing else crosses.
 * Functions marked [inline] are defined `static inline` in <arch/impl.h> of the architecture (kernel/arch/<arch>/include/arch/impl.h),
 * which this header includes last, so that they see everything declared here. All run with interrupts off unless said otherwise. None may block, none allocates.
 */
#pragma once
#include <arch/frame.h> /* struct arch_frame: all user general registers, pc, sp, flags, TLS pointer. No FPU state. */
#include <kernel/boot_info.h>
#include <kernel/cpu.h>
#include <kernel/types.h>

/* ---- Boot -------------------------------------------------------------------------------------------------------
 * The entry stub (boot CPU) reaches C with: the kernel image mapped at KERNEL_BASE, an early direct map at DIRECT_MAP_BASE that
 * covers at least the first 4 GiB of physical addresses (x86_64) or the first 256 GiB (others), interrupts off, a stack in bss.
 * It zeroes .bss, fills `boot_info` and calls kernel_main(). Image layout symbols come from the architecture's linker script:
 * kernel_image_start, kernel_text_end, kernel_rodata_end, kernel_data_end, kernel_image_end (all page aligned; text | rodata |
 * data | bss in that order, so that the final tables can map them RX, RO, RW, RW). The image is linked at KERNEL_BASE plus
 * its offset from kernel_image_start and is loaded 2 MiB aligned.
 */
extern char kernel_image_start[], kernel_text_end[], kernel_rodata_end[], kernel_data_end[], kernel_image_end[];

[[noreturn]] void kernel_main(const struct boot_info *boot_info);
/* Secondary CPUs arrive here, on cpu->stack_top, with final page tables and arch_cpu() == cpu, after arch_cpu_init(cpu). */
[[noreturn]] void kernel_secondary_main(struct cpu *cpu);

/* Makes arch_cpu() work on the boot CPU before anything else does (called first thing by kernel_main with a static struct). */
void arch_cpu_set_self(struct cpu *cpu);
/* Per-CPU set-up: descriptor tables, vector base, system-call entry, SMEP/SMAP/UMIP/PAN/SUM off, FPU off, user counter access.
 * cpu->stack_top is valid. The boot CPU calls it after final page tables are active. */
void arch_cpu_init(struct cpu *cpu);
/* Starts secondary `cpu` (INIT-SIPI-SIPI, PSCI CPU_ON, SBI HSM) and returns when it has been told to start; the caller waits on
 * cpu->is_online with a time limit. `root` is the kernel page table root. Memory below 1 MiB for the x86_64 trampoline is
 * reserved by arch_boot (it adds a BOOT_RESERVED range). */
bool arch_cpu_start(struct cpu *cpu, paddr_t root);
/* [inline] static inline struct cpu *arch_cpu(void); */
/* Loads the register of arch_frame_set_upcall_address() for the current thread, in which it must be set already. */
void arch_upcall_address_load(const struct arch_frame *frame);

/* ---- Console, panic, power ------------------------------------------------------------------------------------- */
void arch_console_init(const struct boot_info *bi); /* early: physical UART through the early direct map or ports */
void arch_console_remap(void);                      /* after final tables: device mapping made with mmio_map() */
void arch_console_putc(char c);                     /* polled; waits for room a bounded time */
enum arch_poweroff {
    ARCH_POWEROFF,
    ARCH_REBOOT,
    ARCH_EXIT_FAILURE /* panic: makes QEMU exit with a non-zero code where the machine can */
};
[[noreturn]] void arch_power(enum arch_poweroff how);
[[noreturn]] void arch_halt(void); /* this CPU, for ever, interrupts off */

/* ---- Time: one monotonic counter, one one-shot timer per CPU ---------------------------------------------------- */
void arch_time_init(const struct boot_info *bi); /* boot CPU; calibrates in at most 2 ms where it must */
void arch_timer_cpu_init(void);                  /* every CPU */
/* [inline] static inline uint64_t arch_counter(void);            raw counter, also readable by user code */
/* [inline] static inline uint64_t arch_time_ns(void);            ns = counter * time_mult >> TIME_SHIFT (128-bit), 0 at the entry */
/* [inline] static inline uint64_t arch_counter_ns(uint64_t ticks);  the length of so many ticks */
constexpr uint32_t TIME_SHIFT = 32;
extern uint64_t time_mult;                 /* defined in kernel/time/clock.c, set by arch_time_init */
extern uint64_t time_counter_base;         /* there too; set by the entry stub: the counter at the kernel's first instruction */
void arch_timer_set(uint64_t deadline_ns); /* fires irq_timer() at or soon after; a past deadline fires at once; UINT64_MAX = off */

/* ---- Interrupts -------------------------------------------------------------------------------------------------
 * Sources: x86_64 GSI number; aarch64 INTID (SPI = 32 + n); riscv64 PLIC source. */
void arch_irq_init(const struct boot_info *bi); /* boot CPU: controller, everything masked */
void arch_irq_cpu_init(void);                   /* every CPU, boot CPU too */
uint32_t arch_irq_source_count(void);
bool arch_irq_configure(uint32_t source, bool is_level, bool is_active_low,
                        uint32_t cpu_index); /* leaves it masked; false = no such source */
void arch_irq_mask(uint32_t source);
void arch_irq_unmask(uint32_t source);
void arch_ipi_send(uint32_t cpu_index); /* runs irq_ipi() there; may be coalesced */
/* Upcalls from the architecture's interrupt entry into the portable kernel: */
void irq_timer(void);
void irq_ipi(void);
void irq_device(uint32_t source); /* the architecture has masked the source and finished (EOI) the interrupt */
/* Waits for an interrupt with interrupts enabled, atomically (sti;hlt / wfi), handles it (from kernel mode), returns with
 * interrupts off. Also returns for spurious wake-ups. Sets nothing in cpu. */
void arch_idle(void);
/* Takes interrupts that wait, if there are any, and returns with interrupts off. No lock is held. */
void arch_irq_poll(void);
/* [inline] static inline void arch_cpu_relax(void);  pause / yield hint */

/* ---- Entry from user mode ---------------------------------------------------------------------------------------
 * The entry code saves ALL user registers into arch_cpu()->current->frame (struct thread begins with its struct arch_frame),
 * switches to cpu->stack_top, and calls one of the following; each returns the thread to resume, whose frame is then restored
 * (general registers, pc, sp, flags, TLS pointer).
 * On return to user mode no kernel address or other thread's data may be left in any register.
 */
/* A system call has two steps. For the first, kernel_syscall_quick(), the entry code saves only what C functions clobber, and the
 * register of op and status not at all. Its result:
 *   OK, and exit_work is 0: the entry code leaves the epoch (stores 0 in cpu->epoch, after everything before), restores what it
 *     saved, and nothing but the result registers has changed.
 *   OK or an error: kernel_syscall_end() says what to do: return with its result, zero or negative (the epoch is left), or the next.
 *   greater than 0: an enum syscall_next; the entry code saves the rest, so that the frame is whole, and goes on to the second step.
 * pc of a system call is AFTER the instruction; arch_frame_rewind_syscall() moves it back and puts op where it was, so that the call
 * is made again. */
enum syscall_next : int32_t {
    SYSCALL_RUN = 1, /* it may wait: not made yet */
    SYSCALL_MESSAGE, /* the same, and it is a method of an endpoint or a call */
    SYSCALL_LEAVE,   /* made; others may run now */
    SYSCALL_AGAIN,   /* a part was done: others may run, and then the call is made again */
};
status_t kernel_syscall_quick(uint64_t op, handle_t handle);
int64_t kernel_syscall_end(status_t status);
struct thread *kernel_syscall(struct thread *current, enum syscall_next next);
enum fault_kind : uint32_t {
    FAULT_PAGE = 1, /* address valid; is_write / is_execute say which access */
    FAULT_ILLEGAL,  /* undefined or privileged instruction, unknown system-call number is NOT this */
    FAULT_BREAKPOINT,
    FAULT_ALIGNMENT,
    FAULT_ARITHMETIC,
    FAULT_FPU,
    FAULT_GENERAL,   /* anything else (x86_64 #GP, #SS, bus errors) */
    FAULT_NO_MEMORY, /* the kernel's own: a page fault for which there was no page */
    FAULT_GUARD,     /* and one in a guard */
    FAULT_PAGER,     /* one of a page that its pager failed; code: the status */
};
struct fault {
    enum fault_kind kind;
    bool is_write, is_execute;
    vaddr_t address; /* faulting address (FAULT_PAGE, FAULT_ALIGNMENT), else 0 */
    uint64_t code;   /* architecture's raw code (vector<<32|error, ESR_EL1, scause), for reports */
};
/* A system call from code up to thread->native_limit that is not the short case of an upcall: a system call for the upcall code or a
 * handler, or upcall_return. The frame is whole. The short case is the architecture's own: it does in a few instructions what
 * syscall/upcall.c says in C. */
struct thread *kernel_foreign_syscall(struct thread *current);
struct thread *kernel_user_fault(struct thread *current, const struct fault *fault);
struct thread *kernel_user_irq(struct thread *current); /* after arch dispatched the interrupt from user mode via irq_*() */
/* A fault in kernel mode: the architecture fills a frame with what it has and calls this. */
[[noreturn]] void kernel_fault(const struct arch_frame *frame, const struct fault *fault);
/* Leaves the boot or idle context into `thread` (resets the CPU stack to stack_top). */
[[noreturn]] void arch_resume(struct thread *thread);
/* Runs fn() on a fresh CPU stack (top), never returns; used to enter the idle loop from anywhere. */
[[noreturn]] void arch_stack_reset(void (*fn)(void));

/* <arch/frame.h> gives, all static inline:
 *   void     arch_frame_init(struct arch_frame *f, uint64_t pc, uint64_t sp, uint64_t arg0, uint64_t arg1, uint64_t tls);
 *            user mode, interrupts on, all other registers zero
 *   System-call register map (abi/README): op, handle, deadline, word0..3 in; status, op, badge, word0..3 out.
 *     x86_64  : rax=op/status  rdi=handle/op  rsi=deadline/badge  rdx r10 r8 r9 = words   (syscall; clobbers rcx r11)
 *     aarch64 : x0=op/status   x1=handle/op   x2=deadline/badge   x3 x4 x5 x6 = words     (svc #0)
 *     riscv64 : a0=op/status   a1=handle/op   a2=deadline/badge   a3 a4 a5 a6 = words     (ecall)
 *   uint64_t arch_frame_op(f), arch_frame_handle(f), arch_frame_deadline(f), arch_frame_word(f, i)        i = 0..3
 *   const uint64_t *arch_frame_words(f)   all four
 *   int64_t  arch_frame_status(f)
 *   void     arch_frame_set_status(f, int64_t), arch_frame_set_op(f, v), arch_frame_set_badge(f, v), arch_frame_set_word(f, i, v)
 *   void     arch_frame_rewind_syscall(f, op)
 *   uint64_t arch_frame_pc(f), arch_frame_sp(f), arch_frame_fp(f)
 *   void     arch_frame_set_tls(f, v)
 *   void     arch_frame_set_pc(f, v)      v < USER_TOP
 *   The registers of struct tess_registers_<arch>, as an array (constexpr uint32_t ARCH_REGISTERS: how many):
 *   void     arch_frame_get_registers(f, registers)
 *   bool     arch_frame_set_registers(f, registers): whatever they are; false = refused by arch_frame_sanitize, nothing changed
 *   void     arch_frame_enter_upcall(f, pc, sp, address): what thread.set_upcall says of the registers upcall code begins with
 *   void     arch_frame_set_upcall_address(f, address): GS base or TPIDRRO_EL0, where there is such a register
 *   bool     arch_frame_sanitize(f): after untrusted registers were written: forces user mode, interrupts on, canonical pc; false = refused
 */

/* ---- FPU --------------------------------------------------------------------------------------------------------
 * A thread without FPU area runs with the FPU disabled (FAULT_FPU on use). */
uint32_t arch_fpu_size(void);            /* bytes of the save area, 64-byte aligned, at most 4096 - 64; probed once */
uint32_t arch_vector_size(void);         /* bytes of a register of a vector set whose length software must ask for (SVE, V); 0 = none */
void arch_fpu_init(void *area);          /* initial state */
void arch_fpu_save(void *area);          /* from the CPU; FPU stays enabled */
void arch_fpu_restore(const void *area); /* enables the FPU and loads */
void arch_fpu_disable(void);
void arch_fpu_sanitize(void *area); /* whatever it holds, arch_fpu_restore() takes it */

/* ---- Paging ------------------------------------------------------------------------------------------------------
 * The walk is portable (mm/page_table.c); an architecture gives its shape and its entry format, [inline] in <arch/impl.h>:
 *   constexpr uint32_t ARCH_PT_LEVELS;             4 (x86_64) or 3; level 0 maps 4 KiB, 1 maps 2 MiB, 2 maps 1 GiB; 512 entries each
 *   constexpr bool ARCH_TLB_BROADCAST;             the hardware tells other CPUs (arch_tlb_flush_broadcast)
 *   uint64_t arch_pte_table(paddr_t table);        entry that points to a next-level table (usable for user and kernel mappings)
 *   uint64_t arch_pte_leaf(paddr_t pa, uint32_t prot, uint32_t level);   prot = PROT_* below
 *   bool     arch_pte_is_present(uint64_t e), arch_pte_is_leaf(uint64_t e, uint32_t level);
 *   paddr_t  arch_pte_address(uint64_t e);
 *   uint32_t arch_pte_prot(uint64_t e);            PROT_* of a leaf
 *   uint64_t arch_pte_read_only(uint64_t e);       a leaf without PROT_WRITE
 * Accessed and dirty bits are set in new leaves (no hardware update needed). Kernel leaves (no PROT_USER) are global.
 * x86_64 may lack 1 GiB pages: arch_has_page_level(2) says so. */
enum : uint32_t {
    PROT_READ = 1,
    PROT_WRITE = 2,
    PROT_EXEC = 4,
    PROT_USER = 8,
    PROT_DEVICE = 16, /* strongly ordered device memory (UC, nGnRnE, PMA decides on riscv64) */
};
bool arch_has_page_level(uint32_t level);
void arch_paging_enable(paddr_t kernel_root); /* boot CPU: from early to final tables; drops the identity map */
/* Fills a new user root (zeroed page) with whatever kernel entries the hardware needs (x86_64: entry 511; riscv64: upper half;
 * aarch64: nothing, TTBR1). Kernel root-level entries never change after boot. */
void arch_root_init(void *user_root, const void *kernel_root);
void arch_root_clear(void *user_root); /* makes these entries zero again */
/* Identifiers that keep the translations of several address spaces apart in a TLB (ASID, PCID), 0 included; 1 = there are none. */
uint32_t arch_asid_count(void);
uint64_t arch_vspace_token(paddr_t root, uint32_t asid); /* what the next two load: user half and identifier; root may be kernel_root */
void arch_vspace_switch(uint64_t token);                 /* what the TLB holds under its identifier stays; not for identifier 0 */
void arch_vspace_switch_emptied(uint64_t token);         /* all that is dropped, before anything can be looked up in it */
void arch_tlb_flush_page_local(vaddr_t va);
void arch_tlb_flush_all_local(void);    /* all entries of the identifier that is loaded, but global ones */
void arch_tlb_flush_kernel_local(void); /* global ones too */
/* On all CPUs, where the hardware can (ARCH_TLB_BROADCAST); elsewhere smp/tlb.c interrupts the CPUs concerned. */
void arch_tlb_flush_broadcast(uint64_t token, vaddr_t start, uint64_t count_pages);
void arch_icache_sync(const void *direct_map_address,
                      uint64_t size); /* after the kernel wrote code for user space (memory.write, first exec map) */

/* ---- Registers for x86_64 I/O ports; false elsewhere ------------------------------------------------------------ */
bool arch_port_in(uint16_t port, uint32_t width_bytes, uint32_t *out_value);
bool arch_port_out(uint16_t port, uint32_t width_bytes, uint32_t value);

/* ---- Randomness: false when the CPU has no instruction for it --------------------------------------------------- */
bool arch_random(uint64_t *out_value);

/* ---- Services of the portable kernel to the architecture -------------------------------------------------------- */
void *mmio_map(paddr_t base, uint64_t size);                         /* boot only, after final tables: PROT_DEVICE mapping at MMIO_BASE.. */
[[gnu::format(printf, 1, 2)]] void kprintf(const char *format, ...); /* boot and panic messages to log and console */
[[noreturn, gnu::format(printf, 1, 2)]] void panic(const char *format, ...);

#include <arch/impl.h>
