/* Thread blocks. */
#include <linux/dispatch.h>
#include <linux/process.h>
#include <linux/registers.h>
#include <linux/threads.h>

struct linux_thread *linux_thread_prepare(struct linux_process *process, void *block)
{
    uint8_t *bytes = block;
    struct linux_thread *thread = (struct linux_thread *)(bytes + LINUX_BLOCK_THREAD);
    struct tess_upcall_frame *frame = (struct tess_upcall_frame *)(bytes + LINUX_BLOCK_FRAME);
    *thread = (struct linux_thread){.process = process, .frame = frame, .state = LINUX_THREAD_ALIVE, .affinity = UINT64_MAX};
    *frame = (struct tess_upcall_frame){
        .foreign.stack = (uint64_t)bytes + LINUX_THREAD_BLOCK,
        .native.stack = (uint64_t)bytes + LINUX_BLOCK_FAULT_STACK,
        .restart_start = (uint64_t)linux_restart_start,
        .restart_end = (uint64_t)linux_restart_end,
        .restart_target = (uint64_t)linux_restart_target,
        .self = (uint64_t)frame,
        .user[LINUX_FRAME_THREAD] = (uint64_t)thread,
    };
    return thread;
}
