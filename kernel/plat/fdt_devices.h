/* The device half of fdt_parse(): plat/fdt_devices.c. Private to plat/fdt*.c. */
#pragma once
#include "fdt_tree.h"
#include <kernel/boot_info.h>

/* Records the interrupt controller, timer, power or PCI node under the cursor; does nothing for other nodes. Needs the
 * CPUs in bi (the PLIC's contexts are told apart by hart). */
void fdt_visit_device(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node);
/* Fills bi->console when the node is a UART we can drive. */
bool fdt_visit_console(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node);

/* Boot log of the portable kernel (<arch/arch.h>, which the host tests of these files cannot include). */
[[gnu::format(printf, 1, 2)]] void kprintf(const char *format, ...);
