/* The way out of a call that is not the short one, and calls that there are none of. */
#include <linux/dispatch.h>
#include <linux/errno.h>
#include <linux/process.h>
#include <linux/registers.h>
#include <linux/signals.h>

int64_t linux_call_missing(void)
{
    struct linux_process *process = linux_process();
    uint64_t number = linux_call_number(linux_frame());
    if (number < LINUX_CALL_LIMIT) {
        uint64_t bit = 1ull << number % 64;
        if ((__atomic_fetch_or(&process->missing_calls[number / 64], bit, __ATOMIC_RELAXED) & bit) == 0) {
            const char *name = linux_call_names[number];
            linux_log(LOG_WARNING, "linux: call %llu (%s) is missing, process %u", (unsigned long long)number,
                      name != nullptr ? name : "unknown", process->pid);
        }
    }
    return -LINUX_ENOSYS;
}
static_assert(LINUX_CALL_LIMIT <= 64 * sizeof(((struct linux_process *)nullptr)->missing_calls) / 8);

void linux_call_exit(int64_t result)
{
    struct linux_thread *thread = linux_self();
    struct tess_upcall_frame *frame = thread->frame;
    linux_registers *registers = linux_registers_of(frame);
    uint64_t work = __atomic_exchange_n(&frame->user[LINUX_FRAME_WORK], 0, __ATOMIC_RELAXED);
    bool is_restart = result <= -LINUX_ERESTARTSYS && result >= -LINUX_ERESTART_RESTARTBLOCK;
    if (!is_restart) {
        registers->LINUX_REGISTER_RESULT = (uint64_t)result;
    }
    linux_signals_take(thread, is_restart ? (int32_t)-result : 0, (work & LINUX_WORK_RESTORE_MASK) != 0);
}

void linux_event(void)
{
    struct linux_thread *thread = linux_self();
    if (thread->frame->foreign.cause == UPCALL_INTERRUPT) {
        __atomic_fetch_and(&thread->frame->user[LINUX_FRAME_WORK], ~(uint64_t)LINUX_WORK_SIGNAL, __ATOMIC_RELAXED);
    } else {
        linux_signal_fault(thread);
    }
    linux_signals_take(thread, 0, false);
}
