/*
 * The address space: regions (which memory is mapped where) in a tree, page tables filled on demand.
 * Order: vspace->lock, then memory->lock, then untyped->lock. TLB shootdowns are waited for with vspace->lock held.
 */
#pragma once
#include <arch/arch.h>
#include <kernel/memory.h>
#include <tess/tree.h>

struct region {
    struct tree_node tree_node;   /* vspace->regions by start */
    struct list_node memory_node; /* memory->regions; guarded by memory->lock */
    vaddr_t start, end;
    struct memory *memory; /* counted; nullptr = its memory is gone: scratch page; or there never was one: a guard */
    uint64_t link_number;  /* order of linking to memory->regions; parts of a split region share it */
    uint64_t offset_pages;
    uint32_t prot, max_prot; /* PROT_* */
    uint8_t inherit;         /* INHERIT_* */
    bool may_fault;          /* MAP_MAY_FAULT: no scratch page */
    struct vspace *vspace;
};

struct vspace {
    struct object object;
    struct spinlock lock;
    struct tree regions GUARDED_BY(&lock);
    paddr_t root;
    paddr_t scratch; /* page shown where a memory is gone; 0 = no such place was touched */
    uint64_t mapped_pages GUARDED_BY(&lock);
    vaddr_t full_up_to GUARDED_BY(&lock);    /* below, nothing is free where mappings without an address go */
    uint64_t large_count GUARDED_BY(&lock);  /* translations of 2 MiB: what works on page tables drops them first (region.h) */
    uint64_t orphan_count GUARDED_BY(&lock); /* regions whose memory is gone */
    bool is_destroyed;                       /* set once, under lock; peek() */
    bool is_replacing GUARDED_BY(&lock);     /* a MAP_REPLACE is under way in [replace_start, replace_end): vspace_settle() */
    vaddr_t replace_start, replace_end GUARDED_BY(&lock);
    uint32_t asid;                           /* its translations' identifier in every TLB; 0 = shared (smp/tlb.c) */
    uint64_t token;                          /* what arch_vspace_switch() loads */
    _Atomic uint64_t cpu_mask[CPU_MAX / 64]; /* CPUs that may hold translations (smp/tlb.c) */
};

extern const struct object_class vspace_class;

[[nodiscard]] status_t vspace_create(struct untyped *untyped, struct vspace **out_vspace);
/* Kernel-internal form of vspace.map; prot and max_prot are PROT_* without PROT_USER. address 0 = anywhere. flags: MAP_FIXED, MAP_REPLACE,
 * MAP_MAY_FAULT. */
[[nodiscard]] status_t vspace_map_memory(struct vspace *vspace, struct memory *memory, uint64_t offset, uint64_t size, vaddr_t address,
                                         uint32_t flags, uint32_t prot, uint32_t max_prot, uint32_t inherit, vaddr_t *out_address);
/* A region like `model` without memory: what is gone (it shows scratch), or a guard. */
[[nodiscard]] status_t vspace_map_bare(struct vspace *vspace, const struct region *model, uint32_t flags, vaddr_t *out_address);
/* Lets interrupts in during long work: the lock is dropped for that. */
void vspace_pause(struct vspace *vspace) REQUIRES(&vspace->lock);
/* Waits for the end of a MAP_REPLACE, with pauses: what it replaces is unmapped in parts, and nobody is to see that. Until the lock is dropped
 * none begins. */
void vspace_wait_replaced(struct vspace *vspace) REQUIRES(&vspace->lock);
static inline void vspace_settle(struct vspace *vspace) REQUIRES(&vspace->lock)
{
    if (__builtin_expect(vspace->is_replacing, false))
        vspace_wait_replaced(vspace);
}
/* An access to this address hits a guard: a region that allows none. */
bool vspace_is_guard(struct vspace *vspace, vaddr_t address);
/* Resolves a user access; OK, BAD_ADDRESS, NO_MEMORY, RESTART: the page is being changed by another CPU, make the access again; of a
 * mapping that may fault NOT_PRESENT: a pager has the page, or PEER_DIED: the memory is gone. */
[[nodiscard]] status_t vspace_fault(struct vspace *vspace, vaddr_t address, uint32_t access);
/* What an aligned 32-bit word of user memory is: memory and byte offset in it; and where it can be reached while the lock is held, or
 * nullptr when its page is not mapped with `access` now (vspace_fault() brings it). BAD_ADDRESS: no such access is allowed. RESTART: a MAP_REPLACE
 * is under way there. */
[[nodiscard]] status_t vspace_word_locked(struct vspace *vspace, vaddr_t address, uint32_t access, struct memory **out_memory,
                                          uint64_t *out_offset, uint32_t **out_word) REQUIRES(&vspace->lock);
/* memory_kill: takes the memory out of every mapping. */
void vspace_orphan_regions(struct memory *memory);
/* memory.decommit: takes pages [first, first + count) out of every mapping and gives them back. BUSY while pinned. With `out_kept` (of
 * paged memory) only clean pages; how many dirty ones stay. */
[[nodiscard]] status_t vspace_decommit(struct memory *memory, uint64_t first, uint64_t count, uint64_t *out_kept);

/* smp/tlb.c */
extern paddr_t kernel_root;
bool vspace_is_loaded_elsewhere(struct vspace *vspace);
void vspace_switch(struct cpu *cpu, struct vspace *vspace); /* loads it on this CPU, where another one is loaded */
void vspace_leave(struct cpu *cpu);                         /* only the kernel's half is loaded then */
uint32_t tlb_asid_alloc(void);
void tlb_asid_free(uint32_t asid);

/* Copies between kernel memory and a user's address space through the direct map: the kernel never dereferences a user address.
 * Faults on anonymous memory are resolved in place. BAD_ADDRESS or NO_MEMORY; a partial copy may have happened. */
[[nodiscard]] status_t user_copy_in(struct vspace *vspace, void *to, vaddr_t from, uint64_t size);
[[nodiscard]] status_t user_copy_out(struct vspace *vspace, vaddr_t to, const void *from, uint64_t size);

/* Makes all CPUs forget [start, start + count pages); vspace->lock is held. */
constexpr uint64_t SHOOTDOWN_ALL = UINT64_MAX >> PAGE_SHIFT; /* as count_pages: everything, also cached page-table levels */
void tlb_shootdown(struct vspace *vspace, vaddr_t start, uint64_t count_pages);
/* Round waiting in idle: shootdowns then leave a note instead of an interrupt. */
void smp_tlb_idle_begin(void);
void smp_tlb_idle_end(void);
/* Serves requests of other CPUs; called by interrupt and by waiting loops. Takes no lock. */
void smp_poll(void);
/* Asks another CPU to reschedule. */
void smp_kick(uint32_t cpu_index);
