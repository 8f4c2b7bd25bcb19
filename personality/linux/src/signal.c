#include <linux/call.h>
#include <linux/signals.h>
void linux_signals_take(struct linux_thread *thread, int32_t restart, bool restore_mask)
{
    (void)restore_mask;
    if (restart != 0) linux_registers_of(thread->frame)->LINUX_REGISTER_PC -= LINUX_CALL_INSTRUCTION;
}
void linux_signal_fault(struct linux_thread *thread)
{
    linux_log(LOG_ERROR, "linux: fault %u at %#llx pc %#llx", thread->frame->foreign.cause, (unsigned long long)thread->frame->foreign.address,
        (unsigned long long)linux_registers_of(thread->frame)->LINUX_REGISTER_PC);
    linux_process_exit(11);
}
