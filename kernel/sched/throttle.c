/* Throttles and grants (kernel/throttle.h). A throttle's lock is taken under a run queue's, and a timer queue's under it. */
#include <arch/arch.h>
#include <kernel/cell.h>
#include <kernel/ipc.h>
#include <kernel/sched.h>
#include <kernel/sched_budget.h>

constexpr uint64_t LEAST_NS = 50'000; /* shorter grants would be mostly switching */
constexpr uint32_t WAKES_AT_ONCE = 16;

uint64_t throttle_ticks(uint64_t ns)
{
    constexpr uint64_t SECOND = 1'000'000'000;
    return ns / SECOND * ((SECOND << TIME_SHIFT) / time_mult) + (ns % SECOND << TIME_SHIFT) / time_mult + 1;
}

/* Not later than `at` (counter) the timer looks at what is to be done. */
static void arm_locked(struct throttle *throttle, uint64_t at, uint64_t now) REQUIRES(&throttle->lock)
{
    uint64_t deadline_ns = arch_time_ns() + (at <= now ? 0 : arch_counter_ns(at - now) + 1);
    if (at == UINT64_MAX || (peek(throttle->timer.is_armed) && throttle->timer.deadline_ns <= deadline_ns))
        return;
    (void)timer_cancel(&throttle->timer); /* one that fires just now arms it again as needed */
    timer_arm(&throttle->timer, deadline_ns);
}

static struct thread *take_waiting(struct throttle *throttle) REQUIRES(&throttle->lock)
{
    struct list_node *node = list_pop_front(&throttle->waiting);
    if (node == nullptr)
        return nullptr;
    struct thread *thread = container_of(node, struct thread, run_node);
    peekable_set(thread->throttled_by, nullptr);
    return thread;
}

static bool is_back(struct throttle *throttle, uint64_t now) REQUIRES(&throttle->lock)
{
    return throttle->is_open || budget_left(&throttle->budget, now) >= throttle->budget.least;
}

/* Lets some go on that waited; true when there are more, who need not wait either. */
static bool wake_some(struct throttle *throttle, bool *out_is_notice_due)
{
    struct thread *threads[WAKES_AT_ONCE];
    uint32_t count = 0;
    spinlock_acquire(&throttle->lock);
    *out_is_notice_due = throttle->is_notice_due;
    throttle->is_notice_due = false;
    uint64_t now = arch_counter();
    bool goes_on = is_back(throttle, now);
    while (goes_on && count < WAKES_AT_ONCE && (threads[count] = take_waiting(throttle)) != nullptr)
        count++;
    bool has_more = !list_is_empty(&throttle->waiting);
    if (has_more && !throttle->is_open)
        arm_locked(throttle, budget_ready_at(&throttle->budget, now), now);
    spinlock_release(&throttle->lock);
    for (uint32_t i = 0; i < count; i++)
        sched_ready(threads[i]);
    return has_more && goes_on;
}

static void fire(struct timer *timer, [[maybe_unused]] uint64_t cookie)
{
    struct throttle *throttle = container_of(timer, struct throttle, timer);
    bool is_notice_due;
    (void)wake_some(throttle, &is_notice_due);
    if (is_notice_due)
        object_watches_signal(throttle->object, 1);
}

void throttle_init(struct throttle *throttle, struct object *object)
{
    throttle->object = object;
    throttle->timer.fire = fire;
    list_init(&throttle->waiting);
    peekable_set(throttle->is_open, true);
}

void throttle_change(struct throttle *throttle, uint64_t capacity_ns, uint64_t period_ns, uint32_t ways)
{
    uint64_t capacity = throttle_ticks(capacity_ns), least = throttle_ticks(capacity_ns / 16 < LEAST_NS ? capacity_ns / 16 : LEAST_NS);
    spinlock_acquire(&throttle->lock);
    budget_change(&throttle->budget, capacity, throttle_ticks(period_ns), least < capacity ? least : capacity, ways);
    peekable_set(throttle->is_open, !object_is_alive(throttle->object)); /* its end opens it for good */
    if (!list_is_empty(&throttle->waiting))
        arm_locked(throttle, 0, 1);
    spinlock_release(&throttle->lock);
}

void throttle_open(struct throttle *throttle)
{
    spinlock_acquire(&throttle->lock);
    peekable_set(throttle->is_open, true);
    (void)timer_cancel(&throttle->timer);
    spinlock_release(&throttle->lock);
    bool is_notice_due;
    while (wake_some(throttle, &is_notice_due))
        arch_irq_poll();
}

bool throttle_release(struct thread *thread)
{
    bool is_here = false;
    for (struct throttle *throttle; !is_here && (throttle = peek(thread->throttled_by)) != nullptr;) {
        spinlock_acquire(&throttle->lock); /* its memory stays for this kernel entry */
        is_here = peek(thread->throttled_by) == throttle;
        if (is_here) {
            list_remove(&thread->run_node);
            peekable_set(thread->throttled_by, nullptr);
        }
        spinlock_release(&throttle->lock);
    }
    return is_here;
}

void throttle_describe(struct throttle *throttle, uint64_t *out_left_ns, uint64_t *out_used_ns, uint64_t *out_depletions)
{
    uint64_t running = 0;
    for (uint32_t cpu = 0; cpu < cpu_count; cpu++)
        running += run_queue_grant_used(cpus[cpu]->run_queue, throttle);
    spinlock_acquire(&throttle->lock);
    (void)budget_left(&throttle->budget, arch_counter());
    uint64_t gone = throttle->budget.used + running;
    *out_left_ns = gone < throttle->budget.capacity ? arch_counter_ns(throttle->budget.capacity - gone) : 0;
    *out_used_ns = arch_counter_ns(throttle->budget.total + running);
    *out_depletions = throttle->depletions;
    spinlock_release(&throttle->lock);
}

/* ---- Grants ---- */

enum answer : uint8_t { GRANTED, NO_LIMIT, REFUSED };

/* There is nothing: the thread waits. Whoever wants it to end sets that first and then looks whether it waits here. */
static enum answer hold_up(struct throttle *throttle, struct thread *thread, uint64_t now) REQUIRES(&throttle->lock)
{
    peekable_set(thread->throttled_by, throttle);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&thread->pending) & (THREAD_PENDING_KILL | THREAD_PENDING_SUSPEND)) {
        peekable_set(thread->throttled_by, nullptr);
        return NO_LIMIT;
    }
    list_push_back(&throttle->waiting, &thread->run_node);
    arm_locked(throttle, budget_ready_at(&throttle->budget, now), now);
    return REFUSED;
}

static enum answer take(struct throttle *throttle, struct thread *thread, uint64_t now, uint64_t *out_ticks)
{
    spinlock_acquire(&throttle->lock);
    struct budget *budget = &throttle->budget;
    enum answer answer = NO_LIMIT;
    if (!throttle->is_open) {
        uint64_t left = budget_left(budget, now), most = left;
        if (budget->ways > 1) {
            uint64_t piece = budget->period / BUDGET_PIECES;
            most = left / budget->ways < piece ? left / budget->ways : piece;
        }
        if (budget->used + budget->least <= budget->capacity)
            throttle->is_depleted = false;
        *out_ticks = budget_grant(budget, now, most);
        answer = *out_ticks != 0 ? GRANTED : thread != nullptr ? hold_up(throttle, thread, now) : REFUSED;
    }
    spinlock_release(&throttle->lock);
    return answer;
}

static struct throttle *next_quota(struct cell *cell) { return cell != nullptr ? &cell->throttle : nullptr; }

bool grant_take(struct grant *grant, struct sched *sched, struct cell *payer, struct thread *thread, uint64_t now)
{
    struct cell *cell = peek(payer->quota);
    grant->is_held = true;
    grant->begin = now;
    grant->end = now + GRANT_FOREVER;
    peekable_set(grant->sched, sched);
    for (struct throttle *level = sched != nullptr ? &sched->throttle : next_quota(cell); level != nullptr;) {
        uint64_t ticks;
        enum answer answer = take(level, thread, now, &ticks);
        if (answer == REFUSED) {
            grant_settle(grant, now);
            return false;
        }
        if (answer == GRANTED) {
            grant->levels[grant->count] = level;
            grant->ticks[grant->count++] = ticks;
            if (now + ticks < grant->end)
                grant->end = now + ticks;
        }
        if (level != next_quota(cell))
            level = next_quota(cell);
        else
            level = next_quota(cell = cell->parent != nullptr ? peek(cell->parent->quota) : nullptr);
    }
    return true;
}

static void settle(struct throttle *throttle, uint64_t granted, uint64_t used, uint64_t now)
{
    spinlock_acquire(&throttle->lock);
    struct budget *budget = &throttle->budget;
    budget_settle(budget, granted, now, used);
    if (!throttle->is_open) {
        (void)budget_left(budget, now);
        if (budget->used + budget->least > budget->capacity && !throttle->is_depleted) {
            throttle->is_depleted = true;
            throttle->depletions++;
            throttle->is_notice_due = throttle->object->type == OBJECT_SCHED;
        }
        if (throttle->is_notice_due)
            arm_locked(throttle, now, now);
        else if (!list_is_empty(&throttle->waiting))
            arm_locked(throttle, budget_ready_at(budget, now), now);
    }
    spinlock_release(&throttle->lock);
}

void grant_settle(struct grant *grant, uint64_t now)
{
    uint64_t used = (int64_t)(now - grant->begin) > 0 ? now - grant->begin : 0;
    for (uint32_t i = 0; i < grant->count; i++)
        settle(grant->levels[i], grant->ticks[i], used, now);
    grant->count = 0;
    grant->is_held = false;
    peekable_set(grant->sched, nullptr);
}

void grant_forget(struct grant *grant, const struct throttle *throttle, uint64_t now)
{
    for (uint32_t i = 0; i < grant->count; i++)
        if (grant->levels[i] == throttle) {
            grant_settle(grant, now);
            return;
        }
}
