/*
 * The architecture contract (arch/arch.h) in a host process, and the boot steps that init/main.c does elsewhere. A CPU's
 * interrupts are flags in `lines`, looked at between kernel entries and when idle.
 */
#include <arch/arch.h>
#include <host.h>
#include <kernel/cell.h>
#include <kernel/clock.h>
#include <kernel/futex.h>
#include <kernel/init.h>
#include <kernel/invocation.h>
#include <kernel/log.h>
#include <kernel/machine.h>
#include <kernel/page.h>
#include <kernel/page_cache.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tess/util.h>
#include <time.h>
#include <unistd.h>
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

constexpr paddr_t RAM_BASE = 1 << 20;
constexpr uint32_t FPU_BYTES = 512;

_Thread_local struct cpu *host_cpu;
struct cpu *cpus[CPU_MAX];
uint32_t cpu_count = 1;
paddr_t kernel_root;
char kernel_image_start[1]; /* as the linker script of a machine defines it */

static struct cpu early_cpu;
static struct {
    _Atomic bool ipi;
    _Atomic uint64_t deadline_ns;
    _Atomic uint32_t devices; /* asserted and routed to this CPU */
} lines[CPU_MAX];
static _Atomic uint32_t unmasked;
static _Atomic bool is_stopping;
static _Thread_local jmp_buf idle_exit;
bool host_time_is_virtual;
uint64_t host_virtual_ns;
static _Thread_local void (*idle_hook)(void);

struct cpu_block {
    struct cpu cpu;
    struct run_queue run_queue;
    struct timer_queue timer_queue;
    struct reap_list reap_list;
    struct invocation invocation;
    struct page_cache page_cache;
    uint64_t requests[CPU_MAX], lock_contended[LOCK_SITES_MAX];
};

void arch_fpu_sanitize(void *) {}
void arch_upcall_address_load(const struct arch_frame *) {}

/* ---- RAM ---- */

void host_ram(uint64_t count_pages)
{
    static uint64_t mapped;
    if (mapped == 0)
        for (uint32_t i = 0; i < CPU_MAX; i++)
            lines[i].deadline_ns = UINT64_MAX;
    if (count_pages << PAGE_SHIFT > mapped) {
        void *at = mmap(phys_to_virt(RAM_BASE), count_pages << PAGE_SHIFT, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        if (at != phys_to_virt(RAM_BASE))
            panic("host: no room for RAM");
        mapped = count_pages << PAGE_SHIFT;
    }
    ASAN_UNPOISON_MEMORY_REGION(phys_to_virt(RAM_BASE), mapped);
    early_cpu = (struct cpu){.self = &early_cpu};
    host_cpu = &early_cpu;
    static struct boot_info bi;
    bi = (struct boot_info){.version = BOOT_INFO_VERSION, .cpu_count = 1};
    bi.ranges[bi.range_count++] = (struct boot_range){RAM_BASE, count_pages << PAGE_SHIFT, BOOT_RAM};
    page_init(&bi);
}

paddr_t __real_page_alloc(uint32_t order);
paddr_t __wrap_page_alloc(uint32_t order);
void __real_page_free(paddr_t address, uint32_t order);
void __wrap_page_free(paddr_t address, uint32_t order);
paddr_t __real_page_alloc_run(uint64_t count);
paddr_t __wrap_page_alloc_run(uint64_t count);
void __real_page_free_run(paddr_t address, uint64_t count);
void __wrap_page_free_run(paddr_t address, uint64_t count);
void __real_untyped_cell_free(struct untyped *untyped, enum object_type type, void *cell, uint32_t size);
void __wrap_untyped_cell_free(struct untyped *untyped, enum object_type type, void *cell, uint32_t size);
void *__real_untyped_cell_alloc(struct untyped *untyped, enum object_type type, uint32_t size);
void *__wrap_untyped_cell_alloc(struct untyped *untyped, enum object_type type, uint32_t size);

status_t __real_page_cache_alloc(struct untyped *untyped, bool wants_zeroed, paddr_t *out_page);
status_t __wrap_page_cache_alloc(struct untyped *untyped, bool wants_zeroed, paddr_t *out_page);
void __real_page_cache_free(struct untyped *untyped, paddr_t page, bool is_zeroed);
void __wrap_page_cache_free(struct untyped *untyped, paddr_t page, bool is_zeroed);

/* A CPU may be held up anywhere: now and then one is, between a look-up and what follows from it. */
static void jitter(void)
{
    static _Thread_local uint32_t state = 1;
    state = state * 1664525 + 1013904223; /* Knuth, TAOCP 3.3.4, line 16 */
    if (cpu_count > 1 && !host_time_is_virtual && state >> 24 == 0)
        usleep(state >> 16 & 127);
}

paddr_t __wrap_page_alloc(uint32_t order)
{
    jitter();
    paddr_t page = __real_page_alloc(order);
    if (page != 0)
        ASAN_UNPOISON_MEMORY_REGION(phys_to_virt(page), PAGE_SIZE << order);
    return page;
}

void __wrap_page_free(paddr_t address, uint32_t order)
{
    ASAN_POISON_MEMORY_REGION(phys_to_virt(address), PAGE_SIZE << order);
    __real_page_free(address, order);
}

paddr_t __wrap_page_alloc_run(uint64_t count)
{
    paddr_t page = __real_page_alloc_run(count);
    if (page != 0)
        ASAN_UNPOISON_MEMORY_REGION(phys_to_virt(page), count << PAGE_SHIFT);
    return page;
}

void __wrap_page_free_run(paddr_t address, uint64_t count)
{
    ASAN_POISON_MEMORY_REGION(phys_to_virt(address), count << PAGE_SHIFT);
    __real_page_free_run(address, count);
}

status_t __wrap_page_cache_alloc(struct untyped *untyped, bool wants_zeroed, paddr_t *out_page)
{
    status_t status = __real_page_cache_alloc(untyped, wants_zeroed, out_page);
    if (status == OK)
        ASAN_UNPOISON_MEMORY_REGION(phys_to_virt(*out_page & ~PAGE_IS_ZERO), PAGE_SIZE);
    return status;
}

void __wrap_page_cache_free(struct untyped *untyped, paddr_t page, bool is_zeroed)
{
    for (const uint64_t *word = phys_to_virt(page), *end = word + PAGE_SIZE / 8; is_zeroed && word < end; word++)
        if (*word != 0)
            panic("a page given back as zeroed is not");
    ASAN_POISON_MEMORY_REGION(phys_to_virt(page), PAGE_SIZE);
    __real_page_cache_free(untyped, page, is_zeroed);
}

/* mm/untyped.c itself is not instrumented, so that its own words in free cells do not trip it. */
void *__wrap_untyped_cell_alloc(struct untyped *untyped, enum object_type type, uint32_t size)
{
    jitter();
    void *cell = __real_untyped_cell_alloc(untyped, type, size);
    if (cell != nullptr)
        ASAN_UNPOISON_MEMORY_REGION(cell, size);
    return cell;
}

void __wrap_untyped_cell_free(struct untyped *untyped, enum object_type type, void *cell, uint32_t size)
{
    ASAN_POISON_MEMORY_REGION(cell, size);
    jitter();
    __real_untyped_cell_free(untyped, type, cell, size);
}

/* ---- Boot ---- */

static bool timer_less(const struct tree_node *a, const struct tree_node *b)
{
    return container_of(a, struct timer, node)->deadline_ns < container_of(b, struct timer, node)->deadline_ns;
}

static void cpu_create(uint32_t index)
{
    struct cpu_block *block = calloc(1, sizeof(struct cpu_block));
    struct cpu *cpu = &block->cpu;
    cpu->self = cpu;
    cpu->index = index;
    cpu->run_queue = &block->run_queue;
    cpu->timer_queue = &block->timer_queue;
    cpu->reap_list = &block->reap_list;
    cpu->invocation = &block->invocation;
    cpu->page_cache = &block->page_cache;
    cpu->lock_contended = block->lock_contended;
    cpu->tlb_requests = block->requests;
    run_queue_init(&block->run_queue, index);
    tree_init(&block->timer_queue.timers, timer_less);
    block->timer_queue.programmed_ns = block->timer_queue.slice_end_ns = UINT64_MAX;
    atomic_store(&cpu->is_online, true);
    lines[index].deadline_ns = UINT64_MAX;
    cpus[index] = cpu;
}

void host_boot(uint64_t count_pages, uint32_t count_cpus)
{
    host_ram(count_pages);
    for (uint32_t i = 0; i < count_cpus; i++)
        cpu_create(i);
    cpu_count = count_cpus;
    host_cpu = cpus[0];
    time_mult = 1ull << TIME_SHIFT; /* the counter counts nanoseconds */
    run_queue_init_clock();
    kernel_root = page_alloc(0);
    page_zero(phys_to_virt(kernel_root));
    clock_init_page();
    untyped_init_root();
    clock_init();
    log_init();
    futex_init();
    system_init();
    static struct boot_info bi;
    cell_init();
    machine_init(&bi);
}

void host_settle(void)
{
    struct cpu *cpu = arch_cpu();
    if (cpu->active_vspace != nullptr)
        vspace_leave(cpu); /* an idle CPU's own loop does this, but it is not in that loop here */
    bool entered = cpu->epoch == 0;
    if (entered)
        quiesce_enter(cpu);
    if (!reap_all(arch_time_ns() + 20'000'000'000))
        panic("host: what was given up does not come back");
    if (entered)
        quiesce_leave(cpu);
}

/* ---- CPUs ---- */

void host_stop(void) { atomic_store(&is_stopping, true); }

bool host_take_interrupts(void)
{
    uint32_t index = host_cpu->index;
    bool any = false;
    if (atomic_load(&lines[index].ipi) && atomic_exchange(&lines[index].ipi, false)) {
        irq_ipi();
        any = true;
    }
    if (atomic_load(&lines[index].deadline_ns) <= arch_time_ns()) {
        atomic_store(&lines[index].deadline_ns, UINT64_MAX);
        irq_timer();
        any = true;
    }
    uint32_t devices = atomic_load(&lines[index].devices) != 0 ? atomic_exchange(&lines[index].devices, 0) : 0;
    for (uint32_t source = 0; source < HOST_IRQ_COUNT && devices != 0; source++)
        if ((devices >> source & 1) && (atomic_fetch_and(&unmasked, ~(1u << source)) >> source & 1)) {
            irq_device(source);
            any = true;
        }
    return any;
}

void arch_irq_poll(void) { (void)host_take_interrupts(); }

void arch_idle(void)
{
    if (host_take_interrupts())
        return;
    if (atomic_load(&is_stopping))
        longjmp(idle_exit, 1);
    if (idle_hook != nullptr)
        idle_hook();
    usleep(20);
}

/* As the entry code of the other architectures does. */
struct thread *host_call(struct thread *thread)
{
    struct arch_frame *frame = &thread->frame;
    int64_t result = kernel_syscall_quick(frame->op, frame->handle);
    if (result <= 0)
        result = kernel_syscall_end((status_t)result);
    if (result > 0)
        return kernel_syscall(thread, (enum syscall_next)result);
    arch_frame_set_status(frame, result);
    return thread;
}

struct thread *host_touch(struct thread *thread, vaddr_t address)
{
    return kernel_user_fault(thread, &(struct fault){.kind = FAULT_PAGE, .is_write = true, .address = address});
}

void host_cpu_run(uint32_t index, vaddr_t (*user)(struct thread *thread), void (*idle)(void))
{
    static _Atomic uint32_t left;
    host_cpu = cpus[index];
    idle_hook = idle;
    struct thread *volatile thread = nullptr;
    if (setjmp(idle_exit) == 0) {
        quiesce_enter(host_cpu);
        thread = sched_exit();
        while (!atomic_load(&is_stopping)) {
            if (host_take_interrupts()) {
                thread = kernel_user_irq(thread);
                continue;
            }
            /* A call to be made again is still in its registers. */
            vaddr_t address = thread->frame.restarts != 0 ? 0 : user(thread);
            thread->frame.restarts = 0;
            thread = address != 0 ? host_touch(thread, address) : host_call(thread);
        }
    }
    /* Others may wait for this CPU to flush. */
    atomic_fetch_add(&left, 1);
    while (atomic_load(&left) < cpu_count)
        smp_poll(), usleep(10);
}

void host_interrupt(uint32_t source) { atomic_fetch_or(&lines[source % cpu_count].devices, 1u << source); }

void arch_ipi_send(uint32_t cpu_index) { atomic_store(&lines[cpu_index].ipi, true); }
void arch_timer_set(uint64_t deadline_ns) { atomic_store(&lines[host_cpu->index].deadline_ns, deadline_ns); }
void arch_cpu_relax(void)
{
    static _Thread_local uint32_t count;
    if (++count % 64 == 0)
        usleep(1); /* fewer host CPUs than pretended ones: let the one waited for run */
}

uint64_t host_next_deadline(void)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < cpu_count; i++)
        next = min_u64(next, atomic_load(&lines[i].deadline_ns));
    return next;
}

uint64_t arch_time_ns(void)
{
    if (host_time_is_virtual)
        return host_virtual_ns += 5'000;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1'000'000'000 + (uint64_t)now.tv_nsec;
}

/* What the thread sanitizer reports and is meant. Everything else that is read without the lock of those who write it uses peek(). */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return /* The content of memory that programs share, rings above all; programs here write it without any order. A message page may
              be that of several threads. */
        "race:copy_part\nrace:^clone_copy$\nrace:memory_read\nrace:memory_write\nrace:untyped_create_ring\nrace:^ring_push$\nrace_top:ring_"
        "submit_all\n"
        "race_top:scribble\nrace_top:set_message\nrace_top:programs_user\nrace_top:message_write\nrace_top:message_read\n"
        /* Figures for people, one word each. */
        "race_top:process_describe\nrace_top:describe_handle\nrace_top:thread_info\nrace_top:memory_info\nrace_top:untyped_info\n"
        "race_top:cspace_info\nrace_top:system_cpu\nrace_top:system_info\nrace_top:page_free_count\n"
        /* The stress test's own looks. */
        "race_top:is_excluded\nrace_top:programs_have_ended\n"
        /* Is the tree of timers empty: lib/core knows no atomics. Only this CPU inserts; another one may just have removed the last. */
        "race_top:timer_program\n"
        /* A new page of slots: its readers come by its pointer, which orders them after what was written before (address dependency). */
        "race:^slots_grow$\n"
        /* The deadline of a wait that may be over by now: the sequence number tells. */
        "race_top:thread_wait_restored\n";
}

/* ---- What the host has nothing for ---- */

uint32_t arch_irq_source_count(void) { return HOST_IRQ_COUNT; }
bool arch_irq_configure(uint32_t source, bool, bool, uint32_t)
{
    atomic_fetch_and(&unmasked, ~(1u << source));
    return true;
}
void arch_irq_mask(uint32_t source) { atomic_fetch_and(&unmasked, ~(1u << source)); }
void arch_irq_unmask(uint32_t source) { atomic_fetch_or(&unmasked, 1u << source); }
bool arch_has_page_level(uint32_t level) { return level < ARCH_PT_LEVELS; }
void *mmio_map(paddr_t, uint64_t) { return nullptr; } /* for linking: there are no PCI functions here */
void arch_root_init(void *, const void *) {}
void arch_root_clear(void *) {}
uint32_t arch_asid_count(void) { return 3; } /* few: spaces share one, and reuse the others */
uint64_t arch_vspace_token(paddr_t root, uint32_t asid) { return root | asid; }
void arch_vspace_switch(uint64_t) {}
void arch_vspace_switch_emptied(uint64_t) {}
void arch_tlb_flush_page_local(vaddr_t) {}
void arch_tlb_flush_all_local(void) {}
void arch_tlb_flush_kernel_local(void) {}
void arch_tlb_flush_broadcast(uint64_t, vaddr_t, uint64_t) {}
void arch_icache_sync(const void *, uint64_t) {}
bool arch_port_in(uint16_t, uint32_t, uint32_t *) { return false; }
bool arch_port_out(uint16_t, uint32_t, uint32_t) { return false; }
uint32_t arch_vector_size(void) { return 0; }
uint32_t arch_fpu_size(void) { return FPU_BYTES; }
void arch_fpu_init(void *area) { memset(area, 0, FPU_BYTES); }
void arch_fpu_save(void *area) { memset(area, 1, FPU_BYTES); }
void arch_fpu_restore(const void *area) { (void)*(const volatile uint8_t *)area; }
void arch_fpu_disable(void) {}
void arch_console_putc(char) {}
[[noreturn]] void arch_resume(struct thread *) { panic("host: arch_resume"); }
[[noreturn]] void arch_stack_reset(void (*)(void)) { panic("host: arch_stack_reset"); }
[[noreturn]] void arch_power(enum arch_poweroff) { panic("host: arch_power"); }

void panic(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "KERNEL PANIC: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    abort();
}
