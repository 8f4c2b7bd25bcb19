/*
 * Churn: more workers than CPUs make and destroy everything there is, in random order and with random interruptions, for
 * stress.seconds=N (5). Every wait has a deadline; a worker whose step takes minutes fails the test. Afterwards all
 * memory by type and all objects are what they were (test_run).
 */
#include <stress.h>
#include <tess/string.h>
#include <tess/stub/system.h>

const struct role roles[] = {{"idle", role_idle},       {"busy", role_busy},   {"caller", role_caller},
                             {"threads", role_threads}, {"crash", role_crash}, {}};

constexpr uint64_t STEP_SECONDS_MAX = 180; /* a lost wake-up is for ever; a host with other things to do is only slow */
constexpr uint64_t REPORT_NS = 60 * NS_PER_S;
constexpr uint32_t WORKERS_MAX = 20;

static struct worker workers[WORKERS_MAX];
static uint64_t seconds, seed;
static char without[32];
static _Atomic bool is_over;

static void works(void *context)
{
    struct worker *worker = context;
    while (!atomic_load(&is_over) && test_has_passed()) {
        atomic_store(&worker->step_began_ns, time_now_ns());
        worker->step(worker);
        atomic_fetch_add(&worker->steps, 1);
    }
    atomic_store(&worker->step_began_ns, 0);
}

static uint64_t steps_done(void)
{
    uint64_t steps = 0;
    for (uint32_t i = 0; i < job_count; i++)
        steps += atomic_load(&workers[i].steps);
    return steps;
}

static uint64_t system_calls(void)
{
    uint64_t calls = 0;
    struct tess_cpu_info info;
    for (uint32_t i = 0; i < guest.cpu_count; i++)
        if (EXPECT_OK(tess_system_cpu(guest.system, i, (uint64_t)&info)))
            calls += info.syscalls;
    return calls;
}

/* Does the workers' steps take an end? */
static void look_after(uint64_t end)
{
    uint64_t report = time_after_ns(REPORT_NS);
    while (time_now_ns() < end && test_has_passed()) {
        sleep_ns(50 * NS_PER_MS);
        if (time_now_ns() >= report) {
            report += REPORT_NS;
            log_info("%lu steps, %lu system calls", steps_done(), system_calls());
        }
        for (uint32_t i = 0; i < job_count; i++) {
            uint64_t began = atomic_load(&workers[i].step_began_ns);
            if (began != 0 && time_now_ns() > began + STEP_SECONDS_MAX * NS_PER_S)
                test_fail("%s hangs in step %lu", workers[i].name, atomic_load(&workers[i].steps));
        }
    }
}

/* stress.without=NAME: all jobs but this one, to find out which one matters. */
static bool is_wanted(const char *name) { return strcmp(name, without) != 0; }

static void churn(void)
{
    uint64_t calls_before = system_calls();
    server_open();
    atomic_store(&is_over, false);
    for (uint32_t i = 0; i < job_count; i++) {
        workers[i].step = jobs[i].step;
        workers[i].name = jobs[i].name;
        workers[i].seed = (seed * 1000 + i) * 0x9E3779B97F4A7C15ull | 1;
        atomic_store(&workers[i].steps, 0);
        if (is_wanted(workers[i].name))
            thread_start(&workers[i].thread, works, &workers[i]);
    }
    look_after(time_after_ns(seconds * NS_PER_S));
    atomic_store(&is_over, true);
    for (uint32_t i = 0; i < job_count; i++) {
        if (!is_wanted(workers[i].name))
            continue;
        if (std_thread_join(&workers[i].thread, time_after_ns(STEP_SECONDS_MAX * NS_PER_S)) != OK) {
            test_fail("%s does not end (step %lu)", workers[i].name, atomic_load(&workers[i].steps));
            handle_destroy(workers[i].thread.thread);
        }
        log_info("%s: %lu steps", workers[i].name, atomic_load(&workers[i].steps));
    }
    server_close();
    test_note("%lu steps, %lu system calls in %lu s, seed %lu", steps_done(), system_calls() - calls_before, seconds, seed);
}

int main(void)
{
    if (!guest_init())
        return child_result;
    seconds = option_u64("stress.seconds", 5);
    seed = option_u64("stress.seed", 1);
    if (!option_text("stress.without", without, sizeof(without)))
        without[0] = '\0';
    test_untyped_bytes = 48 << 20; /* what is given up comes back a moment later, and a CPU may be stopped for that long */
    test_seconds_max = seconds + 3 * STEP_SECONDS_MAX;
    test_run("stress.churn", churn);
    tests_finish();
}
