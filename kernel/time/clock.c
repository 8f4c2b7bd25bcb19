/* The conversion from the hardware counter to nanoseconds, and the page that shows it to user code. */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/clock.h>
#include <kernel/init.h>
#include <kernel/page.h>
#include <kernel/untyped.h>

uint64_t time_mult;
uint64_t time_counter_base;

static struct tess_clock_page *shown;
static paddr_t clock_page_address;
struct clock clock_object;

void clock_init_page(void)
{
    clock_page_address = page_alloc(0);
    if (clock_page_address == 0)
        panic("not enough memory for the clock page");
    shown = phys_to_virt(clock_page_address);
    page_zero(shown);
    shown->shift = TIME_SHIFT;
    shown->mult = time_mult;
    shown->counter_base = time_counter_base;
    shown->fpu_bytes = arch_fpu_size();
    shown->vector_bytes = arch_vector_size();
}

void clock_init(void) { object_init_static(&clock_object.object, OBJECT_CLOCK, sizeof(clock_object)); }

paddr_t clock_page_physical(void) { return clock_page_address; }

status_t clock_set(struct invocation *inv, struct clock *self, uint64_t wall_offset_ns)
{
    (void)inv;
    spinlock_acquire(&self->lock);
    _Atomic uint32_t *sequence = (_Atomic uint32_t *)&shown->sequence;
    uint32_t old = atomic_load_explicit(sequence, memory_order_relaxed);
    atomic_store_explicit(sequence, old + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* odd before the new value */
    shown->wall_offset = wall_offset_ns;
    atomic_store_explicit(sequence, old + 2, memory_order_release);
    spinlock_release(&self->lock);
    return OK;
}

status_t clock_page(struct invocation *inv, struct clock *self, handle_t *out_memory)
{
    (void)self;
    struct memory *memory;
    status_t status = memory_create_fixed(inv->cspace->object.untyped, MEMORY_KIND_FIXED, clock_page_address, 1, &memory);
    if (status != OK)
        return status;
    return invocation_give(inv, &memory->object, 0xFF | MEMORY_RIGHT_READ, out_memory);
}
