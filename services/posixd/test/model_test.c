/* Random histories: after each step the records are as core.h says, and each answer is what a plain look at all of them says. */
#include "world.h"

static struct world world;
static struct posix_core *const core = &world.core;
static uint64_t seed = 0x9E3779B97F4A7C15;

static uint32_t random_below(uint32_t limit)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)(seed >> 20) % limit;
}

static struct posix_process *any(bool is_zombie_fine)
{
    uint32_t first = random_below(WORLD_PROCESSES);
    for (uint32_t i = 0; i < WORLD_PROCESSES - 1; i++) {
        struct posix_process *process = &world.processes[1 + (first + i) % (WORLD_PROCESSES - 1)];
        if (process->state != POSIX_FREE && (is_zombie_fine || process->state != POSIX_ZOMBIE))
            return process;
    }
    return nullptr;
}

static void check_records(void)
{
    uint32_t used = 0, listed = 0;
    for (uint32_t i = 0; i < WORLD_PROCESSES; i++) {
        const struct posix_process *process = &world.processes[i];
        if (process->state == POSIX_FREE)
            continue;
        used++;
        CHECK(process->parent->state != POSIX_FREE && process->parent->state != POSIX_ZOMBIE);
        list_for_each (node, &process->children) {
            CHECK(list_entry(node, struct posix_process, siblings)->parent == process);
            listed++;
        }
        if (process->state == POSIX_ZOMBIE) {
            CHECK(list_is_empty(&process->children) && process->parent != &world.processes[0] && !process->has_stop_news);
        }
        CHECK(!(process->has_stop_news && process->has_continue_news));
        CHECK((process->state == POSIX_STOPPED) == (process->stop_signal != 0) || process->state == POSIX_STARTING ||
              process->state == POSIX_ZOMBIE);
        for (uint32_t k = 0; k < i; k++) {
            const struct posix_process *other = &world.processes[k];
            if (other->state != POSIX_FREE) {
                CHECK(other->pid != process->pid);
                CHECK(other->group != process->group || other->session == process->session);
            }
        }
    }
    CHECK(used == core->used_count && listed == used - 1);
}

static bool naive_may(const struct posix_process *a, const struct posix_process *b, uint32_t signal)
{
    return a == b || a->uid.effective == 0 || a->uid.real == b->uid.real || a->uid.real == b->uid.saved ||
           a->uid.effective == b->uid.real || a->uid.effective == b->uid.saved || (signal == SIGNAL_CONT && a->session == b->session);
}

static void step_kill(struct posix_process *sender)
{
    static const uint32_t signals[] = {0, 15, SIGNAL_CONT, SIGNAL_STOP, 40, SIGNAL_KILL};
    uint32_t signal = signals[random_below(6)], kind = random_below(3), expected_kills = 0, kills = 0, reached = 0, meant = 0;
    const struct posix_process *target = any(true);
    uint32_t id = kind == POSIX_KILL_PROCESS ? target->pid : kind == POSIX_KILL_GROUP ? target->group : 0;
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++) {
        const struct posix_process *one = &world.processes[i];
        kills += world.seen[i].kills;
        if (one->state == POSIX_FREE || (kind == POSIX_KILL_PROCESS ? one->pid != id
                                         : kind == POSIX_KILL_GROUP ? one->group != id
                                                                    : one == sender))
            continue;
        meant++;
        if (naive_may(sender, one, signal)) {
            reached++;
            expected_kills += signal == SIGNAL_KILL && (one->state == POSIX_ALIVE || one->state == POSIX_STOPPED);
        }
    }
    status_t status = posix_kill(core, sender, kind, id, 0, &(struct posix_signal){.signal = signal});
    CHECK(status == (meant == 0 ? ERROR_NOT_FOUND : reached == 0 ? ERROR_NO_PERMISSION : OK));
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++)
        kills -= world.seen[i].kills;
    CHECK(kills + expected_kills == 0);
}

static void step_wait(struct posix_process *parent)
{
    uint32_t options = random_below(2) * POSIX_WAIT_STOPPED | random_below(2) * POSIX_WAIT_CONTINUED | random_below(2) * POSIX_WAIT_EXITED;
    uint32_t kind = random_below(3), id = any(true)->group, found = 0, candidates = 0;
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++) {
        const struct posix_process *one = &world.processes[i];
        bool is_meant = one->state != POSIX_FREE && one->parent == parent &&
                        (kind == POSIX_WAIT_ANY || (kind == POSIX_WAIT_PROCESS ? one->pid == id : one->group == id));
        if (!is_meant)
            continue;
        bool is_end = one->state == POSIX_ZOMBIE;
        found += (is_end && (options & POSIX_WAIT_EXITED)) || (one->has_stop_news && (options & POSIX_WAIT_STOPPED)) ||
                 (one->has_continue_news && (options & POSIX_WAIT_CONTINUED));
        candidates += !is_end || (options & POSIX_WAIT_EXITED);
    }
    struct posix_report report;
    status_t status = posix_wait_find(core, parent, kind, id, options, &report);
    CHECK(status == (options == 0 ? ERROR_BAD_ARGUMENT : found > 0 ? OK : candidates > 0 ? ERROR_WOULD_BLOCK : ERROR_NOT_FOUND));
    if (status != OK)
        return;
    CHECK(report.child->parent == parent);
    bool was_end = report.child->state == POSIX_ZOMBIE;
    posix_wait_take(core, &report, options | POSIX_WAIT_NO_WAIT);
    CHECK(report.child->state != POSIX_FREE);
    posix_wait_take(core, &report, options);
    CHECK((report.child->state == POSIX_FREE) == was_end);
}

static void step(void)
{
    struct posix_process *process = any(false), *child;
    if (process == nullptr) {
        world_fork(&world, &world.processes[0]);
        return;
    }
    switch (random_below(14)) {
    case 0:
    case 1:
    case 2:
        if (posix_fork(core, process, SIGNAL_CHLD, random_below(8) == 0 ? POSIX_FORK_PARENT : 0, &child) != OK)
            CHECK(core->used_count == WORLD_PROCESSES || process->limits[POSIX_LIMIT_PROCESSES].soft != UINT64_MAX);
        else if (random_below(4) != 0)
            posix_started(core, child);
        break;
    case 3:
        if (process->state == POSIX_STARTING)
            random_below(2) ? posix_started(core, process) : posix_fork_abort(core, process);
        break;
    case 4:
    case 5: posix_ended(core, process, POSIX_CHILD_EXITED, (int32_t)random_below(256)); break;
    case 6:
    case 7: step_kill(process); break;
    case 8:
    case 9: step_wait(process); break;
    case 10: {
        uint32_t pid = any(true)->pid, group = random_below(2) ? any(true)->group : 0;
        (void)posix_set_group(core, process, pid, group);
        break;
    }
    case 11: (void)posix_new_session(core, process); break;
    case 12:
        if (process->state == POSIX_ALIVE && posix_stop(core, process, SIGNAL_TSTP) == OK)
            CHECK(process->state == POSIX_STOPPED || process->is_kill_due);
        break;
    default: {
        uint32_t uid = random_below(3);
        (void)posix_set_credentials(process, (uint32_t[]){uid, random_below(3), POSIX_AS_IS}, (uint32_t[]){uid, uid, uid});
        process->is_subreaper = random_below(4) == 0;
        seen_of(&world, process)->flags = random_below(4);
    }
    }
}

int main(void)
{
    for (uint32_t history = 0; history < 40; history++) {
        world_init(&world);
        core->next_id = history % 2 == 0 ? 2 : POSIX_ID_MAX - 50;
        world_fork(&world, &world.processes[0]);
        for (uint32_t i = 0; i < 5000; i++) {
            step();
            check_records();
        }
    }
    return check_result();
}
