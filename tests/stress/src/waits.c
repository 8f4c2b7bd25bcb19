/* Jobs in which no wake-up may be lost: the waits have no deadline (these take the quick ways through the kernel), and the keeper says
 * whose step does not end. */
#include <std/ring.h>
#include <stress.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/interrupt.h>
#include <tess/stub/ioports.h>
#include <tess/stub/machine.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

/* ---- Calls from thread to thread ---- */

static void echoes(void *context)
{
    handle_t endpoint = *(handle_t *)context;
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = DEADLINE_INFINITE};
    status_t status = tess_invoke(&regs);
    while (status == OK) {
        uint64_t word = regs.word[0] + 1;
        regs =
            (struct tess_regs){.op = OP_ENDPOINT_REPLY_RECEIVE | 1ull << 16, .handle = endpoint, .aux = DEADLINE_INFINITE, .word = {word}};
        status = tess_invoke(&regs);
    }
    EXPECT(status == ERROR_PEER_DIED || status == ERROR_STALE_HANDLE);
}

void step_pairs(struct worker *worker)
{
    handle_t endpoint;
    struct std_thread thread;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    thread_start(&thread, echoes, &endpoint);
    if (any(worker, 2) != 0)
        EXPECT_OK(tess_thread_set_affinity(thread.thread, 1ull << any(worker, guest.cpu_count)));
    for (uint64_t i = 0; i < 50; i++) {
        struct tess_regs regs = {.op = op_make(INTERFACE_TEST, 1, 1, 0, 0), .handle = endpoint, .aux = DEADLINE_INFINITE, .word = {i * 7}};
        EXPECT_OK(tess_invoke(&regs));
        EXPECT_EQUAL(regs.word[0], i * 7 + 1);
    }
    handle_destroy(endpoint);
    thread_join(&thread);
}

/* ---- Events there and back ---- */

struct ball {
    handle_t there, back;
    uint32_t turns;
};

static void returns(void *context)
{
    struct ball *ball = context;
    uint64_t bits;
    for (uint32_t i = 0; i < ball->turns; i++) {
        EXPECT_OK(tess_event_wait(ball->there, 1, &bits, DEADLINE_INFINITE));
        EXPECT_OK(tess_event_set(ball->back, 2));
    }
}

void step_events(struct worker *worker)
{
    struct ball ball = {.turns = 20};
    struct std_thread thread;
    uint64_t bits;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &ball.there));
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &ball.back));
    thread_start(&thread, returns, &ball);
    for (uint32_t i = 0; i < ball.turns; i++) {
        EXPECT_OK(tess_event_set(ball.there, 1));
        EXPECT_OK(tess_event_wait(ball.back, 2, &bits, any(worker, 2) != 0 ? DEADLINE_INFINITE : time_after_ns(30 * NS_PER_S)));
    }
    thread_join(&thread);
    handle_drop(ball.there);
    handle_drop(ball.back);
}

/* ---- Interrupts: the console's UART says at will that its transmitter is empty; the kernel only polls it ---- */

enum : uint32_t { NONE, PORTS, REGISTERS, PL011 }; /* enum boot_console_kind */
enum : uint32_t { NS_INTERRUPT_ENABLE = 1, NS_INTERRUPT_ID = 2, NS_MODEM_CONTROL = 4, PL011_MASK = 0x38 };

struct uart {
    handle_t registers;
    volatile uint8_t *base;
};

static bool uart_open(struct uart *uart)
{
    uint64_t base = guest.platform.console_base;
    void *at;
    *uart = (struct uart){};
    if (guest.platform.console_kind == PORTS)
        return EXPECT_OK(tess_machine_ioports(guest.machine, std_self.untyped, (uint32_t)base, 8, &uart->registers));
    if (!EXPECT_OK(tess_machine_device_memory(guest.machine, std_self.untyped, align_down(base, STD_PAGE), STD_PAGE, &uart->registers)) ||
        !EXPECT_OK(std_map(uart->registers, 0, STD_PAGE, MAP_READ | MAP_WRITE, &at)))
        return false;
    uart->base = (volatile uint8_t *)at + base % STD_PAGE;
    return true;
}

static void uart_close(const struct uart *uart)
{
    if (uart->base != nullptr)
        std_unmap((void *)align_down((uint64_t)uart->base, STD_PAGE), STD_PAGE);
    handle_destroy(uart->registers);
}

static void ns_write(const struct uart *uart, uint32_t index, uint8_t value)
{
    if (uart->base == nullptr)
        EXPECT_OK(tess_ioports_out(uart->registers, index, 1, value));
    else
        uart->base[index << guest.platform.console_reg_shift] = value;
}

/* On: the line goes up, because the transmitter is empty or soon will be. Off: it goes down. */
static void uart_interrupt(const struct uart *uart, bool is_on)
{
    if (guest.platform.console_kind == PL011) {
        *(volatile uint32_t *)(volatile void *)(uart->base + PL011_MASK) = is_on ? 1u << 5 : 0;
        return;
    }
    ns_write(uart, NS_MODEM_CONTROL, 0x0B); /* OUT2 opens the gate of a PC's line */
    ns_write(uart, NS_INTERRUPT_ENABLE, is_on ? 2 : 0);
}

static void waits_for_end(void *context)
{
    status_t status;
    do
        status = tess_interrupt_wait(*(handle_t *)context, DEADLINE_INFINITE);
    while (status == OK);
    EXPECT(status == ERROR_PEER_DIED || status == ERROR_STALE_HANDLE);
}

void step_interrupts(struct worker *worker)
{
    struct uart uart;
    handle_t interrupt;
    struct std_ring ring;
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 2, .watch_slots = 2};
    struct tess_completion completion;
    uint32_t flags = guest.platform.console_kind == PORTS ? 0 : INTERRUPT_LEVEL;
    if (guest.platform.console_kind == NONE || guest.platform.console_irq == UINT32_MAX) {
        sleep_ns(NS_PER_MS);
        return;
    }
    if (!uart_open(&uart) || !EXPECT_OK(std_ring_open(&ring, &sizes)) ||
        !EXPECT_OK(tess_machine_interrupt(guest.machine, std_self.untyped, guest.platform.console_irq, flags, &interrupt)))
        return;
    bool is_watched = any(worker, 2) != 0;
    if (is_watched)
        EXPECT_OK(tess_ring_watch(ring.handle, interrupt, 1, 1, WATCH_MULTI));
    for (uint32_t i = 0; i < 10; i++) {
        EXPECT_OK(tess_interrupt_ack(interrupt));
        uart_interrupt(&uart, true);
        if (is_watched)
            EXPECT_OK(std_ring_wait(&ring, &completion, DEADLINE_INFINITE));
        else
            EXPECT_OK(tess_interrupt_wait(interrupt, DEADLINE_INFINITE));
        uart_interrupt(&uart, false);
    }
    std_ring_close(&ring);
    struct std_thread thread;
    bool is_awaited = any(worker, 2) != 0;
    if (is_awaited)
        thread_start(&thread, waits_for_end, &interrupt);
    EXPECT_OK(tess_interrupt_ack(interrupt));
    uart_interrupt(&uart, true);
    sleep_ns(any(worker, 200 * NS_PER_US));
    EXPECT_OK(tess_cspace_destroy(std_self.cspace, interrupt)); /* while it comes */
    uart_interrupt(&uart, false);
    if (is_awaited)
        thread_join(&thread);
    std_handle_delete(interrupt);
    uart_close(&uart);
}
