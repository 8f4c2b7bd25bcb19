/*
 * Writes the audit log. What a table's process did last is kept in the table, with how often it was done again since; the lock of that
 * run is a leaf, and is released before anything is written, because writing may signal a reader's event.
 */
#include <arch/arch.h>
#include <kernel/audit.h>
#include <kernel/log.h>
#include <kernel/machine.h>
#include <kernel/process.h>
#include <tess/string.h>

constexpr uint64_t REPEAT_NS = 10'000'000'000; /* so long the same is only counted */
/* Records of one process: at once, and then for each second. The first process makes all others, and is trusted with all. */
constexpr uint32_t BURST = 128, DENIALS_BURST = 32, PER_SECOND = 8, DENIALS_PER_SECOND = 2;

static bool is_same(const struct tess_audit_record *a, const struct tess_audit_record *b)
{
    if (a->what != b->what || a->type != b->type || a->rights != b->rights || a->to != b->to)
        return false;
    return a->what != AUDIT_DENIED || a->detail[0] == b->detail[0];
}

/* One more record may be written now. */
static bool take_token(struct audit_rate *rate, uint64_t now, uint32_t burst, uint32_t per_second)
{
    uint64_t earned = (now - rate->since_ns) / 1'000'000'000 * per_second;
    if (earned != 0 || rate->since_ns == 0) {
        rate->used = rate->since_ns == 0 || earned >= rate->used ? 0 : rate->used - (uint32_t)earned;
        rate->since_ns = now;
    }
    if (rate->used == burst)
        return false;
    rate->used++;
    return true;
}

static void put(const struct tess_audit_record *record) { log_put(&audit_object, LOG_INFO, record->from, record, sizeof(*record)); }

/* What is to be written before the next record: repetitions of the last one, and how many were left out. */
static uint32_t take_counted(struct cspace *actor, struct tess_audit_record out[2]) REQUIRES(&actor->audit.lock)
{
    struct audit_run *run = &actor->audit;
    uint32_t count = 0;
    if (run->repeated != 0) {
        out[count] = run->last;
        out[count++].count = run->repeated;
    }
    if (run->left_out != 0) {
        out[count] = (struct tess_audit_record){.what = AUDIT_LEFT_OUT, .count = run->left_out};
        out[count].from = cspace_user(actor, out[count].from_name);
        out[count++].detail[0] = run->denials_left_out;
    }
    run->repeated = run->left_out = run->denials_left_out = 0;
    return count;
}

static void add(struct cspace *actor, struct tess_audit_record *record)
{
    struct tess_audit_record counted[2];
    uint32_t count = 0;
    bool is_denial = record->what == AUDIT_DENIED, is_written = false;
    uint64_t now = arch_time_ns();
    record->count = 1;
    record->from = cspace_user(actor, record->from_name);
    spinlock_acquire(&actor->audit.lock);
    struct audit_run *run = &actor->audit;
    if (run->last.what != 0 && is_same(&run->last, record) && now - run->since_ns < REPEAT_NS) {
        run->last = *record;
        run->repeated++;
    } else if (actor->is_first ||
               take_token(&run->rates[is_denial], now, is_denial ? DENIALS_BURST : BURST, is_denial ? DENIALS_PER_SECOND : PER_SECOND)) {
        count = take_counted(actor, counted);
        run->last = *record;
        run->since_ns = now;
        is_written = true;
    } else {
        run->left_out++;
        run->denials_left_out += is_denial;
    }
    spinlock_release(&actor->audit.lock);
    for (uint32_t i = 0; i < count; i++)
        put(&counted[i]);
    if (is_written)
        put(record);
}

void audit_flush(struct cspace *actor)
{
    struct tess_audit_record counted[2];
    spinlock_acquire(&actor->audit.lock);
    uint32_t count = take_counted(actor, counted);
    spinlock_release(&actor->audit.lock);
    for (uint32_t i = 0; i < count; i++)
        put(&counted[i]);
}

/* What the actor did last is done again, perhaps with another object: it is counted. */
static inline bool is_repeated(struct cspace *actor, uint32_t what, struct cspace *to, const struct object *object, uint32_t rights,
                               uint64_t badge)
{
    struct audit_run *run = &actor->audit;
    struct tess_audit_record *last = &run->last;
    spinlock_acquire(&run->lock);
    bool is_repeat = last->what == what && last->type == object->type && last->rights == rights &&
                     last->to == atomic_load_explicit(&to->user_id, memory_order_relaxed) &&
                     last->from == atomic_load_explicit(&actor->user_id, memory_order_relaxed) &&
                     arch_time_ns() - run->since_ns < REPEAT_NS;
    if (is_repeat) {
        last->object = object->id;
        last->badge = badge;
        run->repeated++;
    }
    spinlock_release(&run->lock);
    return is_repeat;
}

void audit_gave(uint32_t what, struct cspace *from, struct cspace *to, const struct object *object, uint32_t rights, uint64_t badge)
{
    if (from == to || is_repeated(from, what, to, object, rights, badge))
        return;
    struct tess_audit_record record = {.what = what, .type = object->type, .rights = rights, .object = object->id, .badge = badge};
    record.to = cspace_user(to, record.to_name);
    add(from, &record);
}

void audit_did(uint32_t what, struct cspace *actor, const struct object *object, uint64_t first, uint64_t second)
{
    struct tess_audit_record record = {.what = what, .type = object->type, .object = object->id, .detail = {first, second}};
    add(actor, &record);
}

void audit_process(uint32_t what, struct cspace *actor, const struct process *process, uint64_t detail)
{
    struct tess_audit_record record = {
        .what = what, .type = OBJECT_PROCESS, .object = process->object.id, .detail = {detail}, .to = process->object.id};
    memcpy(record.to_name, process->name, sizeof(record.to_name));
    add(actor, &record);
}

status_t audit_denied(struct cspace *actor, const struct object *object, uint64_t op, uint32_t rights)
{
    struct tess_audit_record record = {.what = AUDIT_DENIED, .type = object->type, .object = object->id, .detail = {(uint32_t)op, rights}};
    add(actor, &record);
    return ERROR_MISSING_RIGHT;
}
