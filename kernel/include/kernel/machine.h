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
struct log {
    struct object object;
};

extern struct machine machine_object;
extern struct system system_object;
extern struct log log_object;

void machine_init(const struct boot_info *bi);
void system_init(void);
[[nodiscard]] status_t interrupt_create(struct untyped *untyped, uint32_t source, uint32_t flags, struct interrupt **out_interrupt);
/* Maps the configuration space of all PCI functions: before other CPUs run. */
void dma_init(const struct boot_info *bi);
[[nodiscard]] status_t dma_create(struct untyped *untyped, paddr_t configuration, struct dma **out_dma);
uint64_t dma_pinned_pages(struct dma *dma);
