/*
 * Which CPU may hold which translations: identifiers of address spaces (ASID, PCID), loading a space, shootdown.
 *
 * A space keeps its identifier for life, and a CPU that goes on to another space keeps the translations it has. Bit c of a space's
 * cpu_mask says that what CPU c holds under the identifier is this space's, and up to date as soon as the requests it has been sent
 * are served. Without the bit the CPU drops whatever it holds under the identifier before it loads the space; so an identifier goes
 * to another space at once, whose mask is empty. Spaces for which there is no identifier left share 0, which is emptied at every load.
 *
 * Who removes translations holds vspace->lock. It interrupts the CPUs that have the space loaded, or are just loading one; from
 * the mask of all others it takes the bit. A request lies on the sender's stack; its address goes to the sender's own word of every
 * target's inbox, and the sender waits, serving its own inbox meanwhile. The handler takes no lock, so a target that spins on a lock
 * the sender holds still answers (spinlock_wait calls smp_poll).
 */
#include <arch/arch.h>
#include <kernel/trace_events.h>
#include <kernel/vspace.h>

struct shootdown {
    struct vspace *vspace;
    vaddr_t start;
    uint64_t count_pages;
    _Atomic uint32_t waiting;
};

constexpr uint64_t FLUSH_ALL_ABOVE_PAGES = 32;
constexpr uint32_t ASIDS_MAX = 65536;

/* ---- Identifiers ---- */

static struct spinlock asid_lock;
static uint64_t asids_used[ASIDS_MAX / 64] GUARDED_BY(&asid_lock);
static uint32_t asid_cursor GUARDED_BY(&asid_lock); /* word where the search goes on */

uint32_t tlb_asid_alloc(void)
{
    uint32_t count = min_u64(arch_asid_count(), ASIDS_MAX), words = (count + 63) / 64, asid = 0;
    spinlock_acquire(&asid_lock);
    asids_used[0] |= 1; /* 0 is the one that is shared */
    for (uint32_t i = 0; i < words && asid == 0; i++) {
        uint32_t word = asid_cursor < words ? asid_cursor : 0;
        asid = asids_used[word] != UINT64_MAX ? word * 64 + (uint32_t)__builtin_ctzll(~asids_used[word]) : 0;
        if (asid == 0)
            asid_cursor = word + 1;
    }
    if (asid >= count)
        asid = 0;
    asids_used[asid / 64] |= 1ull << asid % 64;
    spinlock_release(&asid_lock);
    return asid;
}

void tlb_asid_free(uint32_t asid)
{
    spinlock_acquire(&asid_lock);
    asids_used[asid / 64] &= ~(1ull << asid % 64);
    spinlock_release(&asid_lock);
}

/* ---- Loading a space ---- */

/* Stands in cpu->active_vspace while the CPU goes from one space to another and may use either. */
static struct vspace *switching(void) { return (struct vspace *)1; }

static uint64_t bit_of(const struct cpu *cpu) { return 1ull << cpu->index % 64; }

static _Atomic uint64_t *mask_of(struct vspace *vspace, const struct cpu *cpu) { return &vspace->cpu_mask[cpu->index / 64]; }

/* The bit comes first: a shootdown that misses it was over before the CPU dropped what it held. */
static void load_emptied(struct vspace *vspace, struct cpu *cpu)
{
    if ((atomic_load_explicit(mask_of(vspace, cpu), memory_order_relaxed) & bit_of(cpu)) == 0)
        atomic_fetch_or(mask_of(vspace, cpu), bit_of(cpu));
    arch_vspace_switch_emptied(vspace->token);
}

void vspace_switch(struct cpu *cpu, struct vspace *vspace)
{
    peekable_set(cpu->active_vspace, switching());
    atomic_thread_fence(memory_order_seq_cst); /* pairs with must_tell(): it sees this, or we see that it took the bit */
    if ((atomic_load_explicit(mask_of(vspace, cpu), memory_order_relaxed) & bit_of(cpu)) != 0 && vspace->asid != 0)
        arch_vspace_switch(vspace->token);
    else
        load_emptied(vspace, cpu);
    peekable_set(cpu->active_vspace, vspace);
}

void vspace_leave(struct cpu *cpu)
{
    peekable_set(cpu->active_vspace, switching());
    arch_vspace_switch_emptied(arch_vspace_token(kernel_root, 0));
    peekable_set(cpu->active_vspace, nullptr);
}

bool vspace_is_loaded_elsewhere(struct vspace *vspace)
{
    bool is_loaded = false;
    for (uint32_t i = 0; i < cpu_count; i++) {
        struct vspace *active = __atomic_load_n(&cpus[i]->active_vspace, __ATOMIC_SEQ_CST);
        if (cpus[i] == arch_cpu() || (active != vspace && active != switching()))
            continue;
        is_loaded = true;
        smp_kick(i);
    }
    return is_loaded;
}

/* ---- Shootdown ---- */

static void flush_local(vaddr_t start, uint64_t count_pages)
{
    if (count_pages > FLUSH_ALL_ABOVE_PAGES) {
        arch_tlb_flush_all_local();
        return;
    }
    for (uint64_t i = 0; i < count_pages; i++)
        arch_tlb_flush_page_local(start + (i << PAGE_SHIFT));
}

/* On a CPU of the mask: it forgets the pages, or, when the space is not loaded, everything before it loads it again. */
static void forget_here(struct cpu *cpu, struct vspace *vspace, vaddr_t start, uint64_t count_pages)
{
    if (cpu->active_vspace == vspace)
        flush_local(start, count_pages);
    else
        atomic_fetch_and(mask_of(vspace, cpu), ~bit_of(cpu));
}

void smp_poll(void)
{
    struct cpu *cpu = arch_cpu();
    if (!atomic_exchange_explicit((_Atomic uint32_t *)&cpu->tlb_pending, 0, memory_order_acquire))
        return;
    for (uint32_t i = 0; i < cpu_count; i++) {
        _Atomic uint64_t *word = (_Atomic uint64_t *)&cpu->tlb_requests[i];
        if (atomic_load_explicit(word, memory_order_relaxed) == 0)
            continue;
        struct shootdown *request = (struct shootdown *)atomic_exchange_explicit(word, 0, memory_order_acquire);
        if (request == nullptr)
            continue;
        forget_here(cpu, request->vspace, request->start, request->count_pages);
        /* Release: the flush is done before the sender goes on; the request is not touched afterwards. */
        atomic_fetch_sub_explicit(&request->waiting, 1, memory_order_release);
    }
}

/* An idle CPU uses no user translation before it leaves idle: it is told to flush then, and not woken. Freed page tables are another
 * matter (SHOOTDOWN_ALL): hardware may walk them on its own. */
static bool leave_to_idle(struct cpu *cpu)
{
    if (!atomic_load(&cpu->is_tlb_idle))
        return false;
    atomic_store(&cpu->is_tlb_stale, true);
    /* Sequentially consistent, as in smp_tlb_idle_end(): it sees the flag, or we see that it left. */
    return atomic_load(&cpu->is_tlb_idle);
}

void smp_tlb_idle_begin(void) { atomic_store(&arch_cpu()->is_tlb_idle, true); }

void smp_tlb_idle_end(void)
{
    struct cpu *cpu = arch_cpu();
    atomic_store(&cpu->is_tlb_idle, false);
    if (atomic_exchange(&cpu->is_tlb_stale, false))
        arch_tlb_flush_kernel_local(); /* of all identifiers: another space may have been loaded since the sender looked */
}

static struct vspace *active_of(const struct cpu *cpu) { return __atomic_load_n(&cpu->active_vspace, __ATOMIC_SEQ_CST); }

/* Takes the bit of a CPU that has another space loaded. False: it has this one, or is just loading one; if it began to load this one
 * after the look, it has seen that its bit was gone, or is found here. */
static bool take_from(struct vspace *vspace, struct cpu *cpu)
{
    struct vspace *active = active_of(cpu);
    if (active == vspace || active == switching())
        return false;
    atomic_fetch_and(mask_of(vspace, cpu), ~bit_of(cpu));
    active = active_of(cpu);
    if (active != vspace && active != switching())
        return true;
    atomic_fetch_or(mask_of(vspace, cpu), bit_of(cpu));
    return false;
}

/* Whether a CPU of the mask must be interrupted. */
static bool must_tell(struct vspace *vspace, struct cpu *cpu, uint64_t count_pages)
{
    if (take_from(vspace, cpu))
        return false;
    return count_pages == SHOOTDOWN_ALL || !leave_to_idle(cpu);
}

/* No other CPU holds anything of the space. */
static bool is_only_here(struct vspace *vspace, const struct cpu *self)
{
    for (uint32_t word = 0; word * 64 < cpu_count; word++) {
        uint64_t mask = atomic_load_explicit(&vspace->cpu_mask[word], memory_order_relaxed);
        for (; mask != 0; mask &= mask - 1) {
            struct cpu *cpu = cpus[word * 64 + (uint32_t)__builtin_ctzll(mask)];
            if (cpu != self && !take_from(vspace, cpu))
                return false;
        }
    }
    return true;
}

static void request_send(struct cpu *self, uint32_t target, struct shootdown *request)
{
    struct cpu *cpu = cpus[target];
    atomic_store_explicit((_Atomic uint64_t *)&cpu->tlb_requests[self->index], (uint64_t)request, memory_order_release);
    /* An interrupt that was sent and not yet served will find this request too. */
    if (atomic_exchange_explicit((_Atomic uint32_t *)&cpu->tlb_pending, 1, memory_order_acq_rel) == 0)
        arch_ipi_send(target);
}

[[clang::noinline]] static void shootdown_everywhere(struct cpu *self, struct vspace *vspace, vaddr_t start, uint64_t count_pages)
{
    struct shootdown request = {.vspace = vspace, .start = start, .count_pages = count_pages};
    uint32_t targets[CPU_MAX];
    uint32_t count = 0;
    for (uint32_t word = 0; word * 64 < cpu_count; word++) {
        uint64_t mask = atomic_load_explicit(&vspace->cpu_mask[word], memory_order_relaxed);
        while (mask != 0) {
            uint32_t cpu = word * 64 + (uint32_t)__builtin_ctzll(mask);
            mask &= mask - 1;
            if (cpus[cpu] == self)
                forget_here(self, vspace, start, count_pages);
            else if (must_tell(vspace, cpus[cpu], count_pages))
                targets[count++] = cpu;
        }
    }
    if (count == 0)
        return;
    trace_shootdown(self, trace_thread_id(self), start, count_pages);
    atomic_store_explicit(&request.waiting, count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++)
        request_send(self, targets[i], &request);
    while (atomic_load_explicit(&request.waiting, memory_order_acquire) != 0) {
        smp_poll();
        arch_cpu_relax();
    }
}

void tlb_shootdown(struct vspace *vspace, vaddr_t start, uint64_t count_pages)
{
    struct cpu *self = arch_cpu();
    /* The entries were changed before the mask is read; a CPU sets its bit before it loads the table. */
    atomic_thread_fence(memory_order_seq_cst);
    bool is_known_here = cpu_count <= 64 && atomic_load_explicit(&vspace->cpu_mask[0], memory_order_relaxed) == bit_of(self);
    if (is_known_here || (ARCH_TLB_BROADCAST && is_only_here(vspace, self)))
        forget_here(self, vspace, start, count_pages);
    else if (ARCH_TLB_BROADCAST)
        arch_tlb_flush_broadcast(vspace->token, start, count_pages);
    else
        shootdown_everywhere(self, vspace, start, count_pages);
}
