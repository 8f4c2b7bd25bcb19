/* mm/vspace.c: what ranges and protection programs may ask for. */
#include <kernel/mm/vspace.c>
#include <proof.h>

static struct cpu this_cpu;
struct cpu *host_cpu = &this_cpu;

/* Every number. */
void proof_arguments(void)
{
    uint64_t address = nondet_u64(), size = nondet_u64();
    uint32_t flags = nondet_u32(), extra = nondet_u32(), prot = 0;
    if (is_user_range(address, size)) {
        PROVE(size != 0 && size <= USER_TOP && address >= PAGE_SIZE && address < USER_TOP && address + size > address &&
              address + size <= USER_TOP && address % PAGE_SIZE == 0 && size % PAGE_SIZE == 0);
        REACHED();
    }
    if (prot_of_flags(flags, extra, &prot)) {
        PROVE((prot & ~(uint32_t)(PROT_READ | PROT_WRITE | PROT_EXEC)) == 0 &&
              (prot & (PROT_WRITE | PROT_EXEC)) != (PROT_WRITE | PROT_EXEC));
        PROVE(prot == 0 || (prot & PROT_READ) != 0);
        REACHED();
    }
}
