/* Calls of wait and exec_wait that have no answer yet: kept replies. A report counts as given only when its reply found the caller waiting. */
#include "posixd.h"
#include <std/program.h>
#include <tess/invoke.h>
#include <tess/serve/posix.h>
#include <tess/stub/reply.h>
#include <tess/stub/ring.h>

struct waiter {
    struct list_node node;
    handle_t reply;
    uint32_t kind, id, options;
    bool is_exec_done;
};
static struct waiter waiters[WAITERS_MAX];
static struct list free_waiters;
static bool is_due;

void waiters_init(void)
{
    list_init(&free_waiters);
    for (uint32_t i = 0; i < WAITERS_MAX; i++)
        list_push_back(&free_waiters, &waiters[i].node);
}

static void drop(struct waiter *waiter)
{
    std_handle_delete(waiter->reply); /* who still waits is told PEER_DIED */
    list_remove(&waiter->node);
    list_push_back(&free_waiters, &waiter->node);
}

/* Those whose callers gave up: a process that is interrupted again and again must not fill the table. */
static void drop_gone(struct list *of)
{
    list_for_each_safe (node, of) {
        struct waiter *waiter = list_entry(node, struct waiter, node);
        uint32_t is_waiting;
        if (tess_reply_info(waiter->reply, &is_waiting) != OK || is_waiting == 0)
            drop(waiter);
    }
}

status_t waiter_add(struct posix_process *parent, uint32_t kind, uint32_t id, uint32_t options, struct tess_call *call)
{
    struct runtime *runtime = runtime_of(parent);
    drop_gone(&runtime->waiters);
    struct list_node *node = list_first(&free_waiters);
    if (node == nullptr)
        return ERROR_NO_MEMORY;
    struct waiter *waiter = list_entry(node, struct waiter, node);
    handle_t reply;
    status_t status = call->token == 0 ? ERROR_BAD_ARGUMENT : tess_ring_keep_reply(loop.ring.handle, call->token, &reply);
    if (status != OK)
        return status == ERROR_NO_HANDLES ? ERROR_NO_MEMORY : status;
    list_remove(node);
    list_push_back(&runtime->waiters, node);
    waiter->reply = reply;
    waiter->kind = kind;
    waiter->id = id;
    waiter->options = options;
    waiter->is_exec_done = false;
    call->token = 0;
    call->is_deferred = true;
    return OK;
}

void waiters_drop(struct posix_process *parent)
{
    struct list_node *node;
    while ((node = list_first(&runtime_of(parent)->waiters)) != nullptr)
        drop(list_entry(node, struct waiter, node));
}

/* OK: the caller has it. */
static status_t answer(struct waiter *waiter, status_t status, const struct tess_call *call)
{
    struct tess_regs regs = {.op = OP_REPLY_SEND | (uint64_t)(uint32_t)status << 32, .handle = waiter->reply};
    if (call != nullptr) {
        regs.op |= (uint64_t)call->reply_words << 16;
        for (uint32_t i = 0; i < 4; i++)
            regs.word[i] = call->words[i];
        for (uint32_t i = 4; i < call->reply_words; i++)
            tess_message_page()->words[i] = call->words[i];
    }
    return tess_invoke(&regs);
}

static void run_wait(struct posix_process *parent, struct waiter *waiter)
{
    struct posix_report report;
    status_t status = posix_wait_find(&core, parent, waiter->kind, waiter->id, waiter->options, &report);
    if (status == ERROR_WOULD_BLOCK)
        return;
    if (status != OK) {
        (void)answer(waiter, status, nullptr);
    } else {
        struct tess_call call = {};
        posix_wait_reply(&call, report.child->pid, report.code, report.status, report.child->uid.real, report.child->cpu_ns);
        if (answer(waiter, OK, &call) == OK) {
            posix_wait_take(&core, &report, waiter->options);
            waiters_news(parent); /* it may have been the last child of another waiter's; each round drops one of them */
        }
    }
    drop(waiter);
}

static void run_exec_wait(struct posix_process *parent, struct waiter *waiter)
{
    const struct posix_process *child = posix_find(&core, waiter->id);
    if (waiter->is_exec_done || child == nullptr || child->parent != parent || child->state == POSIX_ZOMBIE) {
        (void)answer(waiter, OK, nullptr);
        drop(waiter);
    }
}

void waiters_exec(struct posix_process *child)
{
    struct runtime *runtime = runtime_of(child->parent);
    list_for_each (node, &runtime->waiters) {
        struct waiter *waiter = list_entry(node, struct waiter, node);
        waiter->is_exec_done |= waiter->options == 0 && waiter->id == child->pid;
    }
    waiters_news(child->parent);
}

void waiters_news(struct posix_process *parent) { runtime_of(parent)->has_news = is_due = true; }

void waiters_run(void)
{
    while (is_due) {
        is_due = false;
        for (uint32_t i = 1; i < PROCESSES_MAX; i++) {
            if (!runtimes[i].has_news || core.processes[i].state == POSIX_FREE)
                continue;
            runtimes[i].has_news = false;
            list_for_each_safe (node, &runtimes[i].waiters) {
                struct waiter *waiter = list_entry(node, struct waiter, node);
                waiter->options == 0 ? run_exec_wait(&core.processes[i], waiter) : run_wait(&core.processes[i], waiter);
            }
        }
    }
}
