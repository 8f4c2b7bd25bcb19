/* The objects that stand for the hardware and the whole system: machine, system, ioports, and what they are made of. */
#pragma once
#include <kernel/boot_info.h>
#include <kernel/ipc.h>

struct machine {
    struct object object;
};
struct system {
    struct object object;
};
/* A ring of records: [head, tail) is kept, in bytes since boot. */
struct log {
    struct object object;
    struct spinlock lock;
    uint8_t *bytes;
    uint32_t size;
    bool has_echo GUARDED_BY(&lock); /* records go to the early console, too */
    uint64_t tail_position GUARDED_BY(&lock);
    uint64_t head_position GUARDED_BY(&lock);
    uint64_t head_sequence GUARDED_BY(&lock); /* of the record at head */
    uint64_t next_sequence GUARDED_BY(&lock);
    struct event *reader GUARDED_BY(&lock); /* counted */
    uint64_t reader_bits GUARDED_BY(&lock);
};

extern struct machine machine_object;
extern struct system system_object;
extern struct log log_object, audit_object;

void machine_init(const struct boot_info *bi);
void system_init(void);
[[nodiscard]] status_t interrupt_create(struct untyped *untyped, uint32_t source, uint32_t flags, struct interrupt **out_interrupt);
/* Maps the configuration space of all PCI functions: before other CPUs run. */
void dma_init(const struct boot_info *bi);
[[nodiscard]] status_t dma_create(struct untyped *untyped, paddr_t configuration, struct dma **out_dma);
uint64_t dma_pinned_pages(struct dma *dma);
