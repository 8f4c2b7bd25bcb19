/* machine and what it makes: device memory, interrupts, ports, dma. Nothing here touches a device that anybody uses. */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/dma.h>
#include <tess/stub/interrupt.h>
#include <tess/stub/ioports.h>
#include <tess/stub/machine.h>
#include <tess/stub/memory.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

/* Registers that may be read without effect: HPET or I/O APIC on x86_64, the console's elsewhere. */
static uint64_t registers(void) { return guest.platform.arch == 1 ? 0xFEC00000 : align_down(guest.platform.console_base, STD_PAGE); }

static void platform(void)
{
    struct tess_platform platform;
    memset(&platform, 0xEE, sizeof(platform));
    EXPECT_OK(tess_machine_platform(guest.machine, (uint64_t)&platform));
    EXPECT_EQUAL(platform.version, 1);
    EXPECT(platform.arch >= 1 && platform.arch <= 3);
    EXPECT(platform.pci_host_count <= 4 && platform.irq_source_count > 0);
    EXPECT_STATUS(tess_machine_platform(guest.machine, 0), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_machine_platform(guest.machine, (uint64_t)device_tests), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_machine_platform(guest.machine, ~0ull - 100), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_machine_power(guest.machine, 3), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_machine_power(guest.machine, ~0u), ERROR_BAD_ARGUMENT);
}

static void device_memory(void)
{
    handle_t memory, out;
    uint64_t at, size, committed, value = 0;
    uint32_t flags, is_device;
    static const struct {
        uint64_t physical, size;
    } bad[] = {{1, STD_PAGE}, {0xFEC00000, 0}, {0xFEC00000, 1}, {1ull << 52, STD_PAGE}, {~0xFFFull, 2 * STD_PAGE}, {0, ~0xFFFull}};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++)
        EXPECT_STATUS(tess_machine_device_memory(guest.machine, std_self.untyped, bad[i].physical, bad[i].size, &out), ERROR_BAD_ARGUMENT);
    /* RAM is never given as device memory, at no place of it. */
    static const uint64_t ram_base[] = {0, 0x100000, 0x40000000, 0x80000000};
    uint64_t ram = ram_base[guest.platform.arch];
    for (uint64_t offset = 0; offset < 48 << 20; offset += 1 << 20)
        EXPECT_STATUS(tess_machine_device_memory(guest.machine, std_self.untyped, ram + offset, STD_PAGE, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_machine_device_memory(guest.machine, std_self.untyped, ram - STD_PAGE, 2 * STD_PAGE, &out), ERROR_BAD_ARGUMENT);
    if (!EXPECT_OK(tess_machine_device_memory(guest.machine, std_self.untyped, registers(), STD_PAGE, &memory)))
        return;
    EXPECT_OK(tess_memory_info(memory, &size, &committed, &flags, &is_device));
    EXPECT_EQUAL(is_device, 1);
    EXPECT_EQUAL(size, STD_PAGE);
    EXPECT_STATUS(tess_memory_read(memory, 0, (uint64_t)&value, 8), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_memory_write(memory, 0, (uint64_t)&value, 8), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_memory_commit(memory, 0, STD_PAGE), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_memory_decommit(memory, 0, STD_PAGE), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, MAP_READ | MAP_EXEC, &at), ERROR_MISSING_RIGHT);
    EXPECT(tess_untyped_create_ring(std_self.untyped, memory, 1, 2, 0, 0, 0, &out) != OK);
    EXPECT(tess_untyped_create_thread(std_self.untyped, std_self.process, memory, 0, 0, &out) != OK);
    if (!EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &at)))
        return;
    (void)*(volatile uint32_t *)at;
    /* The kernel does not touch devices for a user: a buffer there is refused. */
    EXPECT_STATUS(tess_machine_platform(guest.machine, at), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, STD_PAGE));
    handle_drop(memory);
}

static void waits_for_interrupt(void *context) { EXPECT_STATUS(tess_interrupt_wait(*(handle_t *)context, patience()), ERROR_PEER_DIED); }

static void interrupts(void)
{
    handle_t interrupt, second, out;
    uint32_t source = guest.platform.irq_source_count - 1; /* nobody's on the machines tested */
    EXPECT_STATUS(tess_machine_interrupt(guest.machine, std_self.untyped, guest.platform.irq_source_count, 0, &out), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_machine_interrupt(guest.machine, std_self.untyped, ~0u, 0, &out), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_machine_interrupt(guest.machine, std_self.untyped, source, 4, &out), ERROR_BAD_ARGUMENT);
    if (!EXPECT_OK(tess_machine_interrupt(guest.machine, std_self.untyped, source, INTERRUPT_LEVEL, &interrupt)) ||
        !EXPECT_OK(tess_machine_interrupt(guest.machine, std_self.untyped, source, INTERRUPT_LEVEL, &second)))
        return;
    EXPECT_STATUS(tess_interrupt_wait(interrupt, DEADLINE_NOW), ERROR_TIMED_OUT);
    EXPECT_OK(tess_interrupt_ack(interrupt));
    EXPECT_STATUS(tess_interrupt_wait(interrupt, time_after_ns(NS_PER_MS)), ERROR_TIMED_OUT);
    EXPECT_OK(tess_interrupt_mask(interrupt));
    EXPECT_OK(tess_interrupt_ack(second));
    struct std_ring ring;
    struct tess_completion completion;
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 2, .watch_slots = 2};
    EXPECT_OK(std_ring_open(&ring, &sizes));
    EXPECT_OK(tess_ring_watch(ring.handle, interrupt, 1, 3, WATCH_MULTI));
    struct std_thread thread;
    thread_start(&thread, waits_for_interrupt, &interrupt);
    thread_wait_until_waiting(thread.thread);
    handle_destroy(interrupt);
    thread_join(&thread);
    EXPECT_OK(std_ring_wait(&ring, &completion, patience()));
    EXPECT_STATUS(completion.status, ERROR_PEER_DIED);
    std_ring_close(&ring);
    handle_drop(second);
}

static void ports(void)
{
    handle_t range, out;
    uint32_t value;
    EXPECT_STATUS(tess_machine_ioports(guest.machine, std_self.untyped, 65536, 1, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_machine_ioports(guest.machine, std_self.untyped, 0, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_machine_ioports(guest.machine, std_self.untyped, 65535, 2, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_machine_ioports(guest.machine, std_self.untyped, 1, ~0u, &out), ERROR_BAD_ARGUMENT);
    if (guest.platform.arch != 1) {
        EXPECT_STATUS(tess_machine_ioports(guest.machine, std_self.untyped, 0x80, 1, &out), ERROR_UNSUPPORTED);
        return;
    }
    /* CMOS (0x70, 0x71): two ports, nothing beside them. */
    if (!EXPECT_OK(tess_machine_ioports(guest.machine, std_self.untyped, 0x70, 2, &range)))
        return;
    static const uint32_t bad[][2] = {{0, 0}, {0, 3}, {0, 8}, {0, 4}, {1, 2}, {2, 1}, {~0u, 1}, {0, ~0u}};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        EXPECT_STATUS(tess_ioports_in(range, bad[i][0], bad[i][1], &value), ERROR_BAD_ARGUMENT);
        EXPECT_STATUS(tess_ioports_out(range, bad[i][0], bad[i][1], 0), ERROR_BAD_ARGUMENT);
    }
    EXPECT_OK(tess_ioports_out(range, 0, 1, 0x0A));
    EXPECT_OK(tess_ioports_in(range, 1, 1, &value)); /* status register A of the clock: a divider that is never 0 */
    EXPECT(value != 0 && value < 256);
    handle_drop(range);
}

static void dma(void)
{
    handle_t dma, memory, sparse;
    uint64_t address, second, pages;
    if (!EXPECT_OK(tess_machine_dma(guest.machine, std_self.untyped, 0, &dma)) ||
        !EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 8 * STD_PAGE, MEMORY_CONTIGUOUS, &memory)) ||
        !EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 64 * STD_PAGE, 0, &sparse)))
        return;
    EXPECT_STATUS(tess_dma_map(dma, memory, 1, STD_PAGE, &address), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_dma_map(dma, memory, 0, 0, &address), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_dma_map(dma, memory, STD_PAGE, 8 * STD_PAGE, &address), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_dma_map(dma, memory, ~0xFFFull, 2 * STD_PAGE, &address), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_dma_map(dma, memory, 0, 8 * STD_PAGE, &address));
    EXPECT(address != 0 && is_aligned(address, STD_PAGE));
    EXPECT_OK(tess_dma_map(dma, memory, 2 * STD_PAGE, STD_PAGE, &second));
    EXPECT_EQUAL(second, address + 2 * STD_PAGE);
    EXPECT_OK(tess_dma_map(dma, sparse, 5 * STD_PAGE, STD_PAGE, &second)); /* one page is always a run; it is committed */
    EXPECT_STATUS(tess_memory_decommit(sparse, 5 * STD_PAGE, STD_PAGE), ERROR_BUSY);
    EXPECT_OK(tess_dma_unmap(dma, second));
    EXPECT_STATUS(tess_dma_unmap(dma, second), ERROR_NOT_FOUND);
    EXPECT_OK(tess_memory_decommit(sparse, 5 * STD_PAGE, STD_PAGE));
    EXPECT_STATUS(tess_dma_map(dma, guest.clock_page, 0, STD_PAGE, &address), ERROR_MISSING_RIGHT);
    handle_destroy(memory); /* its pages stay until they are unpinned */
    EXPECT_OK(tess_dma_release(dma, &pages));
    EXPECT_EQUAL(pages, 9);
    EXPECT_OK(tess_dma_release(dma, &pages));
    EXPECT_EQUAL(pages, 0);
    EXPECT_OK(tess_dma_map(dma, sparse, 0, STD_PAGE, &second));
    handle_drop(dma); /* death unpins, too */
    handle_drop(sparse);
}

/* Whether bus mastering of the first function is on: the host bridge, whose bit exists and which masters nothing. */
static bool is_master(volatile uint16_t *configuration) { return (configuration[2] & 4) != 0; }

/* A dma object of the function, with a page pinned; false when that failed. */
static bool pins_a_page(handle_t memory, handle_t *out_dma)
{
    uint64_t address;
    return EXPECT_OK(tess_machine_dma(guest.machine, std_self.untyped, guest.platform.pci_hosts[0].ecam_base, out_dma)) &&
           EXPECT_OK(tess_dma_map(*out_dma, memory, 0, STD_PAGE, &address));
}

/* Objects are destroyed a moment after their last handle is gone. */
static bool becomes_silent(volatile uint16_t *configuration)
{
    uint64_t end = patience();
    while (is_master(configuration) && time_now_ns() < end)
        sleep_ns(NS_PER_MS);
    return !is_master(configuration);
}

/* Who dies with pages pinned leaves a function that cannot write to them any more. */
static void dma_guard(void)
{
    handle_t dma, newer = HANDLE_NONE, registers, memory;
    uint64_t base = guest.platform.pci_hosts[0].ecam_base, address, pages;
    EXPECT_STATUS(tess_machine_dma(guest.machine, std_self.untyped, base + 4, &dma), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_machine_dma(guest.machine, std_self.untyped, base - STD_PAGE, &dma), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_machine_dma(guest.machine, std_self.untyped, ~0xFFFull, &dma), ERROR_BAD_ARGUMENT);
    if (!EXPECT(guest.platform.pci_host_count > 0) ||
        !EXPECT_OK(tess_machine_device_memory(guest.machine, std_self.untyped, base, STD_PAGE, &registers)) ||
        !EXPECT_OK(tess_vspace_map(std_self.vspace, registers, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &address)) ||
        !EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory)))
        return;
    volatile uint16_t *configuration = (volatile uint16_t *)address;
    configuration[2] |= 4;
    EXPECT(is_master(configuration));

    /* Released by the bus manager: it has seen to the function. */
    EXPECT(pins_a_page(memory, &dma));
    EXPECT_OK(tess_dma_release(dma, &pages));
    handle_drop(dma);
    /* An older guard's death does not touch a function that has a newer one. */
    EXPECT(pins_a_page(memory, &dma) && pins_a_page(memory, &newer));
    handle_drop(dma);
    struct account now;
    account_begin(&now); /* both are destroyed when nothing is dying */
    EXPECT(is_master(configuration));
    handle_drop(newer);
    EXPECT(becomes_silent(configuration));

    EXPECT_OK(tess_vspace_unmap(std_self.vspace, address, STD_PAGE));
    handle_drop(registers);
    handle_drop(memory);
}

void device_tests(void)
{
    static const struct test tests[] = {
        {"machine.platform", platform},
        {"machine.device_memory", device_memory},
        {"interrupt.all", interrupts},
        {"ioports.all", ports},
        {"dma.all", dma},
        {"dma.guard", dma_guard},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
