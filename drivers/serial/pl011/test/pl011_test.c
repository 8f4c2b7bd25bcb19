/*
 * The serial driver with the shared part of all of them against a UART that misbehaves, on a fake lib/std: whatever its registers read, the driver comes
 * back to its loop, and hears that its interrupt is gone.
 */
#include <check.h>
#include <setjmp.h>
#include <std/loop.h>
#include <std/memory.h>
#include <std/program.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <tess/invoke.h>
#include <unistd.h>

/* The whole driver, to get at its registers. */
#define main pl011_main
#include "../src/main.c"
#undef main

constexpr handle_t EVENTS = 10, INTERRUPT = 11, REGISTERS = 12;
constexpr uint32_t CONTROL_WORD = CONTROL / 4, FLAGS_WORD = FLAGS / 4;

struct std_self std_self;
static struct tess_message_page page;
static uint32_t registers[STD_PAGE / 4];
static struct loop_watch *event_watch, *interrupt_watch;
static uint64_t raised;
static jmp_buf ended;
static void (*scene)(void);

/* ---- lib/std and the kernel ---- */

struct tess_message_page *tess_message_page(void) { return &page; }

status_t tess_invoke(struct tess_regs *regs)
{
    switch (regs->op & 0xFFFF) {
    case OP_DEVICE_CONSOLE & 0xFFFF:
        memset(regs->word, 0, sizeof(regs->word));
        page.words[MESSAGE_HANDLE_WORD] = INTERRUPT;
        page.words[MESSAGE_HANDLE_WORD + 1] = REGISTERS;
        return OK;
    case OP_MEMORY_INFO & 0xFFFF: regs->word[0] = STD_PAGE; return OK;
    case OP_UNTYPED_CREATE_EVENT & 0xFFFF: regs->word[0] = EVENTS; return OK;
    case OP_EVENT_SET & 0xFFFF: raised |= regs->word[0]; return OK;
    default: return OK;
    }
}

status_t std_map(handle_t, uint64_t, uint64_t, uint32_t, void **out_address)
{
    *out_address = registers;
    return OK;
}
void std_unmap(void *, uint64_t) {}
handle_t std_handle(const char *) { return HANDLE_NONE; }
handle_t std_handle_needed(const char *) { return 1; }
void std_handle_delete(handle_t) {}
status_t std_handle_mint(handle_t, uint32_t, uint64_t, handle_t *) { return OK; }
void std_exit(int32_t status) { longjmp(ended, status + 1); }
void log_print(uint32_t, const char *, ...) {}
uint64_t time_now_ns(void) { return 0; }
uint64_t time_after_ns(uint64_t delta_ns) { return delta_ns; }

status_t loop_open(struct loop *, const struct std_ring_sizes *) { return OK; }
status_t loop_serve(struct loop *, struct loop_service *, handle_t) { return OK; }
void loop_unwatch(struct loop *, struct loop_watch *) {}
status_t loop_watch(struct loop *, struct loop_watch *watch, handle_t object, uint64_t, uint32_t)
{
    *(object == INTERRUPT ? &interrupt_watch : &event_watch) = watch;
    return OK;
}
int32_t loop_run(struct loop *)
{
    scene();
    return 0;
}

/* ---- Scenes ---- */

/* devmgr ended: a page of memory is where the registers were, and something calls the driver before it hears of it. */
static void registers_taken_away(void)
{
    memset(registers, 0, sizeof(registers));
    uint8_t byte;
    CHECK(!receive(nullptr, &byte));
    raised = 0;
    event_watch->fn(event_watch, 1, OK);
    CHECK(raised == 0); /* no garbage is typed, and nothing more is to be done */
    interrupt_watch->fn(interrupt_watch, 0, ERROR_PEER_DIED);
    CHECK(false); /* not reached: the process ended */
}

/* A receiver that is never empty. */
static void endless_input(void)
{
    registers[CONTROL_WORD] = CONTROL_ENABLE;
    registers[FLAGS_WORD] = 0;
    uint8_t byte;
    CHECK(receive(nullptr, &byte));
    raised = 0;
    event_watch->fn(event_watch, 1, OK);
    CHECK(raised != 0); /* it goes on later */
    std_exit(0);
}

static void run(void (*what)(void), int wanted)
{
    memset(registers, 0, sizeof(registers));
    registers[FLAGS_WORD] = FLAG_RECEIVE_EMPTY;
    mask = 0;
    scene = what;
    int result = setjmp(ended);
    if (result == 0) {
        (void)pl011_main();
        CHECK(false);
    } else {
        CHECK(result == wanted + 1);
    }
}

int main(void)
{
    alarm(20); /* a driver that does not come back ends the test */
    run(registers_taken_away, 1);
    run(endless_input, 0);
    return check_result();
}
