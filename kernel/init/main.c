/* From the boot code to the first process: kernel_main on the boot CPU, kernel_secondary_main on the others. */
#include <arch/arch.h>
#include <kernel/cell.h>
#include <kernel/clock.h>
#include <kernel/futex.h>
#include <kernel/init.h>
#include <kernel/invocation.h>
#include <kernel/log.h>
#include <kernel/machine.h>
#include <kernel/page_cache.h>
#include <kernel/page_table.h>
#include <kernel/sched.h>
#include <kernel/trace.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>
#include <tess/string.h>

constexpr uint64_t STACK_PAGES = 4;
constexpr uint64_t STACK_STRIDE = 8 * PAGE_SIZE; /* guard pages below, and above up to the next */

struct cpu *cpus[CPU_MAX];
uint32_t cpu_count = 1;
paddr_t kernel_root;
static vaddr_t mmio_next = MMIO_BASE;
static struct cpu early_cpu;

static_assert(offsetof(struct cpu, self) == 0 && offsetof(struct cpu, current) == CPU_OFFSET_CURRENT &&
              offsetof(struct cpu, stack_top) == CPU_OFFSET_STACK_TOP && offsetof(struct cpu, arch_scratch) == CPU_OFFSET_SCRATCH &&
              offsetof(struct cpu, exit_work) == CPU_OFFSET_EXIT_WORK && offsetof(struct cpu, epoch) == CPU_OFFSET_EPOCH);
static_assert(offsetof(struct thread, frame) == 0);

/* Everything a CPU has of its own, in one allocation. */
struct cpu_block {
    struct cpu cpu;
    struct run_queue run_queue;
    struct timer_queue timer_queue;
    struct reap_list reap_list;
    struct invocation invocation;
    struct page_cache page_cache;
};
static_assert(sizeof(struct cpu_block) <= PAGE_SIZE);

bool boot_info_add_range(struct boot_info *bi, paddr_t base, uint64_t size, enum boot_range_kind kind)
{
    if (bi->range_count >= BOOT_RANGES_MAX) {
        kprintf("boot: memory map has too many ranges, %lx + %lx dropped", base, size);
        return false;
    }
    bi->ranges[bi->range_count++] = (struct boot_range){base, size, kind};
    return true;
}

static paddr_t boot_page(const char *what)
{
    paddr_t page = page_alloc(0);
    if (page == 0)
        panic("not enough memory for %s", what);
    page_zero(phys_to_virt(page));
    return page;
}

void *mmio_map(paddr_t base, uint64_t size)
{
    paddr_t first = base & ~(PAGE_SIZE - 1);
    uint64_t length = (base + size - first + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    /* Same offset within 2 MiB as the physical address, so that large pages fit. */
    constexpr uint64_t large = 2 << 20;
    vaddr_t va = (mmio_next & ~(large - 1)) + (first & (large - 1));
    if (va < mmio_next)
        va += large;
    mmio_next = va + length;
    page_table_map_range(kernel_root, va, first, length, PROT_READ | PROT_WRITE | PROT_DEVICE);
    arch_tlb_flush_kernel_local(); /* the walker may have cached that there was nothing */
    return (void *)(va + (base - first));
}

/* Maps RAM [start, end) at its direct-map address; the kernel's text and constants read-only there too. */
static void map_direct(const struct boot_info *bi, paddr_t start, paddr_t end)
{
    paddr_t fixed_end = bi->kernel_start + (uint64_t)(kernel_rodata_end - kernel_image_start);
    struct {
        paddr_t start, end;
        uint32_t prot;
    } parts[3] = {
        {start, min_u64(end, bi->kernel_start), PROT_READ | PROT_WRITE},
        {max_u64(start, bi->kernel_start), min_u64(end, fixed_end), PROT_READ},
        {max_u64(start, fixed_end), end, PROT_READ | PROT_WRITE},
    };
    for (uint32_t i = 0; i < 3; i++)
        if (parts[i].start < parts[i].end)
            page_table_map_range(kernel_root, DIRECT_MAP_BASE + parts[i].start, parts[i].start, parts[i].end - parts[i].start,
                                 parts[i].prot);
}

static void map_image(const struct boot_info *bi, const char *start, const char *end, uint32_t prot)
{
    if (start != end)
        page_table_map_range(kernel_root, (vaddr_t)start, bi->kernel_start + (uint64_t)(start - kernel_image_start),
                             (uint64_t)(end - start), prot);
}

static void build_kernel_space(const struct boot_info *bi)
{
    kernel_root = boot_page("the kernel's page table");
    for (uint32_t i = 0; i < bi->range_count; i++) {
        const struct boot_range *range = &bi->ranges[i];
        if (range->kind != BOOT_RAM)
            continue;
        paddr_t start = range->base & ~(PAGE_SIZE - 1);
        paddr_t end = min_u64((range->base + range->size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1), DIRECT_MAP_SIZE);
        if (start < end)
            map_direct(bi, start, end);
    }
    map_image(bi, kernel_image_start, kernel_text_end, PROT_READ | PROT_EXEC);
    map_image(bi, kernel_text_end, kernel_rodata_end, PROT_READ);
    map_image(bi, kernel_rodata_end, kernel_image_end, PROT_READ | PROT_WRITE);
}

static bool timer_less(const struct tree_node *a, const struct tree_node *b)
{
    return container_of(a, struct timer, node)->deadline_ns < container_of(b, struct timer, node)->deadline_ns;
}

static struct cpu *cpu_create(uint32_t index, uint64_t hw_id)
{
    struct cpu_block *block = phys_to_virt(boot_page("a CPU's data"));
    struct cpu *cpu = &block->cpu;
    cpu->self = cpu;
    cpu->index = index;
    cpu->hw_id = hw_id;
    cpu->run_queue = &block->run_queue;
    cpu->timer_queue = &block->timer_queue;
    cpu->reap_list = &block->reap_list;
    cpu->invocation = &block->invocation;
    cpu->page_cache = &block->page_cache;
    cpu->lock_contended = phys_to_virt(boot_page("a CPU's counters"));
    run_queue_init(&block->run_queue, index);
    tree_init(&block->timer_queue.timers, timer_less);
    block->timer_queue.programmed_ns = block->timer_queue.slice_end_ns = UINT64_MAX;
    cpu->tlb_requests = phys_to_virt(boot_page("a CPU's inbox"));
    cpu->arch = phys_to_virt(boot_page("a CPU's tables"));
    vaddr_t stack = STACK_BASE + index * STACK_STRIDE + STACK_STRIDE / 2;
    for (uint64_t i = 0; i < STACK_PAGES; i++)
        page_table_map_range(kernel_root, stack + i * PAGE_SIZE, boot_page("a kernel stack"), PAGE_SIZE, PROT_READ | PROT_WRITE);
    cpu->stack_top = stack + STACK_PAGES * PAGE_SIZE;
    cpus[index] = cpu;
    return cpu;
}

static void start_secondaries(void)
{
    for (uint32_t i = 0; i < cpu_count; i++) {
        if (cpus[i] == arch_cpu())
            continue;
        if (!arch_cpu_start(cpus[i], kernel_root)) {
            kprintf("cpu %u does not start", i);
            continue;
        }
        uint64_t limit = arch_time_ns() + 1'000'000'000;
        while (!atomic_load(&cpus[i]->is_online) && arch_time_ns() < limit)
            arch_cpu_relax();
        if (!atomic_load(&cpus[i]->is_online))
            kprintf("cpu %u did not come up within 1 s", i);
    }
}

static const struct boot_info *boot;

/* On the boot CPU's own stack, with final tables. */
static void continue_boot(void)
{
    struct cpu *cpu = arch_cpu();
    arch_cpu_init(cpu);
    arch_console_remap();
    arch_irq_init(boot);
    arch_irq_cpu_init();
    arch_time_init(boot);
    stack_guard_init(boot); /* here no function is under way that returns */
    arch_timer_cpu_init();
    atomic_store(&cpu->is_online, true);
    page_init_late(boot);
    clock_init_page();
    dma_init(boot);
    for (uint32_t i = 0; i < boot->cpu_count; i++)
        if (i != boot->boot_cpu)
            (void)cpu_create(i, boot->cpus[i].hw_id);
    cpu_count = boot->cpu_count;
    arch_tlb_flush_kernel_local();
    run_queue_init_clock();
    start_secondaries();
    untyped_init_root();
    clock_init();
    log_init();
    futex_init();
    system_init();
    trace_init();
    cell_init();
    machine_init(boot);
    kprintf("memory: %lu KiB RAM, %lu KiB free, %u CPUs", page_ram_count() * 4, page_free_count() * 4, cpu_count);
    quiesce_enter(cpu);
    first_process_start(boot);
    sched_start();
}

void kernel_main(const struct boot_info *bi)
{
    if (lock_site_count() > LOCK_SITES_MAX)
        panic("more lock sites than counters");
    boot = bi;
    early_cpu.self = &early_cpu;
    arch_cpu_set_self(&early_cpu);
    arch_console_init(bi);
    kprintf("Tessera");
    page_init(bi);
    build_kernel_space(bi);
    struct cpu *cpu = cpu_create(bi->boot_cpu, bi->cpus[bi->boot_cpu].hw_id);
    arch_paging_enable(kernel_root);
    arch_cpu_set_self(cpu);
    arch_stack_reset(continue_boot);
}

void kernel_secondary_main(struct cpu *cpu)
{
    arch_irq_cpu_init();
    arch_timer_cpu_init();
    atomic_store(&cpu->is_online, true);
    sched_start();
}
