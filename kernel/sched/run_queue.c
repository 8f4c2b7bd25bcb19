/* The run queue of one CPU (kernel/run_queue.h). Every function takes the queue's lock; none takes another. */
#include "run_queue_short.h"
#include <arch/arch.h>
#include <kernel/process.h>
#include <kernel/run_queue.h>
#include <kernel/sched.h>
#include <kernel/sched_budget.h>

uint64_t run_queue_request_ticks[LATENCY_CLASSES] = {1, 1, 1};
static int64_t lag_limit_ticks = EEVDF_LAG_MAX;

static uint64_t ticks_of(uint32_t ns) { return ((uint64_t)ns << TIME_SHIFT) / time_mult; }

void run_queue_init_clock(void)
{
    static const uint32_t request_ns[LATENCY_CLASSES] = {SCHED_SLICE_NS / 4, SCHED_SLICE_NS, SCHED_SLICE_NS * 4};
    for (uint32_t i = 0; i < LATENCY_CLASSES; i++)
        run_queue_request_ticks[i] = ticks_of(request_ns[i]);
    uint64_t limit = ticks_of(2 * SCHED_SLICE_NS);
    lag_limit_ticks = limit < (uint64_t)EEVDF_LAG_MAX ? (int64_t)limit : EEVDF_LAG_MAX;
    for (uint32_t i = 0; i < cpu_count; i++)
        run_queue_init(cpus[i]->run_queue, i);
}

static bool is_due_before(const struct tree_node *a, const struct tree_node *b)
{
    return (int64_t)(container_of(a, struct thread, fair.node)->due - container_of(b, struct thread, fair.node)->due) < 0;
}

void run_queue_init(struct run_queue *queue, uint32_t cpu)
{
    queue->cpu = cpu;
    eevdf_init(&queue->fair, lag_limit_ticks);
    list_init(&queue->idle);
    tree_init(&queue->budgeted, is_due_before);
}

/* ---- Limits ---- */

static inline struct sched *sched_of(const struct thread *thread)
{
    struct sched *sched = peek(thread->runs_on); /* its memory stays for this kernel entry */
    return sched != nullptr && !peek(sched->throttle.is_open) ? sched : nullptr;
}

bool run_queue_is_misplaced(const struct run_queue *queue, const struct thread *thread) NO_THREAD_SAFETY
{
    return queue->grant.sched != sched_of(thread);
}

/* A deadline lasts until it has passed: who waits and comes back soon wins nothing. */
static bool insert_budgeted(struct run_queue *queue, struct thread *thread, const struct sched *sched) REQUIRES(&queue->lock)
{
    uint64_t now = arch_counter();
    if ((int64_t)(now - thread->due) >= 0)
        thread->due = now + sched->period_ticks;
    thread->is_budgeted = true;
    tree_insert(&queue->budgeted, &thread->fair.node);
    bool is_urgent = queue->grant.sched == nullptr || (int64_t)(thread->due - queue->running_due) < 0;
    if (is_urgent)
        peekable_set(queue->is_used_up, true);
    return is_urgent;
}

static void leave_budgeted(struct run_queue *queue, struct thread *thread) REQUIRES(&queue->lock)
{
    tree_remove(&queue->budgeted, &thread->fair.node);
    thread->is_budgeted = false;
}

/* The thread, which is in no queue, gets the running place, which nobody has. False: it is held up. */
[[clang::noinline]] static bool place_limited(struct run_queue *queue, struct thread *thread, uint64_t now) REQUIRES(&queue->lock)
{
    struct sched *sched = sched_of(thread);
    struct cell *payer = sched != nullptr ? sched->cell : thread->process->cell;
    bool is_lent = peek(thread->loan) != nullptr;
    if (!grant_take(&queue->grant, sched, payer, is_lent ? nullptr : thread, now)) {
        queue->was_refused = true;
        queue->loan_spent = is_lent ? thread : nullptr;
        return false;
    }
    queue->running_due = thread->due;
    queue->payer = payer;
    queue->payer_weight = 0;
    if (sched == nullptr && !is_idle_class(thread)) {
        count_load(queue, thread);
        queue->payer_weight = thread->counted;
        eevdf_begin(&queue->fair, &thread->fair);
    }
    return true;
}

/* Somebody's turn has come, as one without limits: it has the place, but may not keep it. These two release the lock. */
[[clang::noinline]] static struct thread *limit(struct run_queue *queue, struct thread *thread, uint64_t now) RELEASES(&queue->lock)
{
    if (queue->fair.running.weight != 0)
        thread->fair.lag = eevdf_leave(&queue->fair);
    stop_paying(queue);
    bool may_run = place_limited(queue, thread, now);
    spinlock_release(&queue->lock);
    return may_run ? thread : nullptr;
}

[[clang::noinline]] static struct thread *pick_budgeted(struct run_queue *queue, uint64_t now) RELEASES(&queue->lock)
{
    struct thread *thread = container_of(tree_first(&queue->budgeted), struct thread, fair.node);
    leave_budgeted(queue, thread);
    bool may_run = place_limited(queue, count_out(queue, thread), now);
    spinlock_release(&queue->lock);
    return may_run ? thread : nullptr;
}

/* ---- Coming and going ---- */

[[gnu::always_inline]] static inline bool join(struct run_queue *queue, struct thread *thread) REQUIRES(&queue->lock)
{
    if (is_idle_class(thread)) {
        list_push_back(&queue->idle, &thread->run_node);
        return false;
    }
    charge(queue, arch_counter());
    count_load(queue, thread);
    eevdf_join(&queue->fair, &thread->fair);
    /* Nothing of weight runs: the idle class, or nobody; or somebody on a budget. */
    bool is_urgent = queue->fair.running.weight == 0 ? queue->grant.sched == nullptr : eevdf_preempts(&queue->fair, &thread->fair);
    if (is_urgent)
        peekable_set(queue->is_used_up, true);
    return is_urgent;
}

[[clang::noinline]] static bool join_budgeted(struct run_queue *queue, struct thread *thread)
{
    spinlock_acquire(&queue->lock);
    const struct sched *sched = sched_of(thread);
    bool is_urgent = sched != nullptr ? insert_budgeted(queue, thread, sched) : join(queue, thread);
    count_in(queue, thread);
    spinlock_release(&queue->lock);
    return is_urgent;
}

bool run_queue_join(struct run_queue *queue, struct thread *thread)
{
    if (__builtin_expect(peek(thread->runs_on) != nullptr, false)) [[clang::musttail]]
        return join_budgeted(queue, thread);
    spinlock_acquire(&queue->lock);
    bool is_urgent = join(queue, thread);
    count_in(queue, thread);
    spinlock_release(&queue->lock);
    return is_urgent;
}

void run_queue_leave(struct run_queue *queue, struct thread *thread, uint64_t now)
{
    spinlock_acquire(&queue->lock);
    charge(queue, now);
    if (queue->fair.running.weight != 0) {
        keep_place(queue);
        thread->fair.lag = eevdf_leave(&queue->fair);
    }
    stop_paying(queue);
    spinlock_release(&queue->lock);
}

void run_queue_put_back(struct run_queue *queue, struct thread *thread, bool gives_up)
{
    spinlock_acquire(&queue->lock);
    bool is_placed = queue->fair.running.weight != 0;
    charge(queue, arch_counter());
    stop_paying(queue);
    if (is_placed && gives_up)
        eevdf_give_up(&queue->fair);
    const struct sched *sched = sched_of(thread);
    if (__builtin_expect(sched != nullptr, false)) {
        if (is_placed)
            thread->fair.lag = eevdf_leave(&queue->fair);
        if (gives_up)
            thread->due = arch_counter(); /* behind the others */
        (void)insert_budgeted(queue, thread, sched);
    } else if (is_idle_class(thread)) {
        if (is_placed)
            thread->fair.lag = eevdf_leave(&queue->fair);
        list_push_back(&queue->idle, &thread->run_node);
    } else {
        count_load(queue, thread);
        if (is_placed)
            eevdf_put_back(&queue->fair, &thread->fair);
        else
            eevdf_join(&queue->fair, &thread->fair);
    }
    count_in(queue, thread);
    spinlock_release(&queue->lock);
}

struct thread *run_queue_pick(struct run_queue *queue, uint64_t now)
{
    struct thread *thread = nullptr;
    queue->left.weight = 0;
    spinlock_acquire(&queue->lock);
    if (queue->payer != nullptr) { /* it will not run again */
        charge(queue, now);
        if (queue->fair.running.weight != 0)
            (void)eevdf_leave(&queue->fair);
        stop_paying(queue);
    }
    peekable_set(queue->is_used_up, false);
    queue->since = queue->started = now;
    if (__builtin_expect(queue->budgeted.root != nullptr, false)) [[clang::musttail]]
        return pick_budgeted(queue, now);
    struct eevdf_entity *entity = eevdf_pick(&queue->fair);
    if (entity != nullptr) {
        thread = count_out(queue, thread_of(entity));
        pay(queue, thread, thread->counted);
    } else {
        struct list_node *node = list_pop_front(&queue->idle);
        if (node != nullptr) {
            thread = count_out(queue, container_of(node, struct thread, run_node));
            pay(queue, thread, 0);
        }
    }
    if (thread != nullptr && has_limits(thread))
        return limit(queue, thread, now);
    spinlock_release(&queue->lock);
    return thread;
}

/* Whose place was left is in the kernel entry that left it: its cell is still there. */
bool run_queue_begin(struct run_queue *queue, struct thread *thread, uint64_t now)
{
    bool may_run = true;
    spinlock_acquire(&queue->lock);
    if (queue->payer == nullptr) {
        queue->since = queue->started = now;
        if (queue->left.weight != 0 && peek(thread->runs_on) == nullptr &&
            (peek(queue->left_payer->quota) == nullptr || grant_take(&queue->grant, nullptr, queue->left_payer, nullptr, now))) {
            queue->payer = queue->left_payer;
            queue->payer_weight = queue->left_weight;
            cell_load_add(queue->payer, queue->cpu, queue->payer_weight);
            eevdf_resume(&queue->fair, &queue->left);
        } else {
            peekable_set(queue->is_used_up, false);
            if (has_limits(thread)) {
                may_run = place_limited(queue, thread, now);
            } else if (is_idle_class(thread)) {
                pay(queue, thread, 0);
            } else {
                count_load(queue, thread);
                pay(queue, thread, thread->counted);
                eevdf_begin(&queue->fair, &thread->fair);
            }
        }
    }
    queue->left.weight = 0;
    spinlock_release(&queue->lock);
    return may_run;
}

struct thread *run_queue_steal(struct run_queue *queue, uint32_t for_cpu)
{
    constexpr uint32_t LOOKS_MAX = 64; /* bounds the time with the lock held when most may not leave */
    if (peek(queue->count) == 0)
        return nullptr;
    struct thread *found = nullptr;
    uint32_t looks = 0;
    spinlock_acquire(&queue->lock);
    for (struct tree_node *node = tree_first(&queue->budgeted); found == nullptr && node != nullptr && looks < LOOKS_MAX;
         node = tree_next(node), looks++) {
        struct thread *thread = container_of(node, struct thread, fair.node);
        if (sched_may_run_on(thread, for_cpu)) {
            leave_budgeted(queue, thread);
            found = count_out(queue, thread);
            break;
        }
    }
    for (struct eevdf_entity *entity = eevdf_first(&queue->fair); found == nullptr && entity != nullptr && looks < LOOKS_MAX;
         entity = eevdf_next(entity), looks++) {
        struct thread *thread = thread_of(entity);
        if (sched_may_run_on(thread, for_cpu)) {
            charge(queue, arch_counter());
            eevdf_remove(&queue->fair, &thread->fair);
            uncount_load(queue, thread);
            found = count_out(queue, thread);
            break;
        }
    }
    for (struct list_node *node = list_first(&queue->idle); found == nullptr && node != nullptr && looks < LOOKS_MAX;
         node = list_next(&queue->idle, node), looks++) {
        struct thread *thread = container_of(node, struct thread, run_node);
        if (sched_may_run_on(thread, for_cpu)) {
            list_remove(node);
            found = count_out(queue, thread);
            break;
        }
    }
    spinlock_release(&queue->lock);
    return found;
}

bool run_queue_remove(struct run_queue *queue, struct thread *thread)
{
    spinlock_acquire(&queue->lock);
    bool is_here = peek(thread->queued_on) == queue->cpu + 1;
    if (is_here) {
        if (thread->is_budgeted) {
            leave_budgeted(queue, thread);
        } else if (!list_node_is_linked(&thread->run_node)) {
            charge(queue, arch_counter());
            eevdf_remove(&queue->fair, &thread->fair);
            uncount_load(queue, thread);
        } else {
            list_remove(&thread->run_node);
        }
        (void)count_out(queue, thread);
    }
    spinlock_release(&queue->lock);
    return is_here;
}

void run_queue_disown(struct run_queue *queue, struct cell *cell)
{
    spinlock_acquire(&queue->lock);
    if (queue->payer == cell) {
        charge(queue, arch_counter());
        if (queue->payer_weight != 0) {
            cell_load_subtract(cell, queue->cpu, queue->payer_weight);
            cell_load_add(&cell_root, queue->cpu, queue->payer_weight);
        }
        queue->payer = &cell_root;
    }
    spinlock_release(&queue->lock);
}

void run_queue_forget(struct run_queue *queue, const struct throttle *throttle)
{
    spinlock_acquire(&queue->lock);
    charge(queue, arch_counter());
    grant_forget(&queue->grant, throttle, queue->since);
    spinlock_release(&queue->lock);
}

bool run_queue_regrant(struct run_queue *queue, const struct cell *payer)
{
    spinlock_acquire(&queue->lock);
    bool is_here = queue->payer == payer;
    if (is_here) { /* as if the grant was over */
        charge(queue, arch_counter());
        grant_settle(&queue->grant, queue->since);
        queue->grant.end = queue->since;
        queue->grant.is_held = true;
    }
    spinlock_release(&queue->lock);
    return is_here;
}

uint64_t run_queue_grant_used(struct run_queue *queue, const struct throttle *throttle)
{
    uint64_t used = 0;
    spinlock_acquire(&queue->lock);
    for (uint32_t i = 0; i < queue->grant.count; i++)
        if (queue->grant.levels[i] == throttle)
            used = arch_counter() - queue->grant.begin;
    spinlock_release(&queue->lock);
    return (int64_t)used < 0 ? 0 : used;
}

uint64_t run_queue_cell_ticks(struct run_queue *queue, struct cell *cell)
{
    spinlock_acquire(&queue->lock);
    charge(queue, arch_counter());
    uint64_t ticks = cell_share(cell, queue->cpu)->ticks;
    spinlock_release(&queue->lock);
    return ticks;
}

uint64_t run_queue_ticks_left(struct run_queue *queue)
{
    spinlock_acquire(&queue->lock);
    uint64_t now = arch_counter();
    charge(queue, now);
    uint64_t left = 0;
    if (queue->grant.sched != nullptr)
        left = UINT64_MAX; /* until who is due before it comes */
    else if (queue->fair.running.weight != 0)
        left = queue->is_used_up ? 0 : eevdf_ticks_left(&queue->fair);
    else if (now - queue->started < run_queue_request_ticks[1]) /* the idle class: in turn */
        left = run_queue_request_ticks[1] - (now - queue->started);
    if (queue->grant.count != 0) {
        int64_t granted = (int64_t)(queue->grant.end - now);
        if (granted <= 0)
            left = 0;
        else if (queue->count == 0 || (uint64_t)granted < left)
            left = (uint64_t)granted;
    }
    spinlock_release(&queue->lock);
    return left;
}
