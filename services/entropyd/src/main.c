/*
 * entropyd: unpredictable bytes for everybody. Seeded from the rng driver, stirred with the time of every event; answers BUSY
 * until the first seed came. Reseeds after so many bytes or so much time. The rng endpoint outlives its driver: while the driver
 * is away seeding fails and is tried again later, and reads go on from the last seed.
 */
#include "generator.h"
#include <std/log.h>
#include <std/loop.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/serve/entropy.h>
#include <tess/stub/rng.h>

static constexpr uint64_t RESEED_BYTES = 1 << 20;
static constexpr uint64_t RESEED_NS = 300 * NS_PER_S;
static constexpr uint64_t RETRY_MIN_NS = 100 * NS_PER_MS, RETRY_MAX_NS = 10 * NS_PER_S;
/* How long one try may keep readers waiting. */
static constexpr uint64_t TRY_NS = 200 * NS_PER_MS;

static struct loop loop;
static struct generator generator;
static handle_t rng;
static uint64_t retry_ns = RETRY_MIN_NS;

static void stir_time(void)
{
    uint64_t now = time_now_ns();
    generator_mix(&generator, &now, sizeof(now), false);
}

static void seed(struct loop_timer *timer)
{
    uint8_t data[32];
    stir_time();
    status_t status = tess_rng_read(rng, data, time_after_ns(TRY_NS));
    if (status != OK) {
        if (retry_ns == RETRY_MIN_NS) {
            log_warning("no seed from the rng driver: %s", status_name(status));
        }
        loop_timer_start(&loop, timer, time_after_ns(retry_ns));
        retry_ns = retry_ns * 2 < RETRY_MAX_NS ? retry_ns * 2 : RETRY_MAX_NS;
        return;
    }
    if (!generator.is_seeded) {
        log_info("seeded");
    }
    generator_mix(&generator, data, sizeof(data), true);
    memset(data, 0, sizeof(data));
    stir_time();
    retry_ns = RETRY_MIN_NS;
    loop_timer_start(&loop, timer, time_after_ns(RESEED_NS));
}

static struct loop_timer seed_timer = {.fn = seed};

static status_t read(void *context, struct tess_call *call, uint8_t out_data[64])
{
    (void)context, (void)call;
    if (!generator.is_seeded) {
        return ERROR_BUSY;
    }
    stir_time();
    generator_read(&generator, out_data, 64);
    if (generator.bytes_since_seed >= RESEED_BYTES) {
        generator.bytes_since_seed = 0; /* one try; the timer goes on if it fails */
        loop_timer_start(&loop, &seed_timer, time_now_ns());
    }
    return OK;
}

static const struct entropy_server server = {.read = read};

static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    return entropy_dispatch(&server, nullptr, call);
}

int main(void)
{
    static struct loop_service service = {.dispatch = dispatch};
    rng = std_handle_needed("rng");
    status_t status = loop_open(&loop, nullptr);
    if (status == OK) {
        status = loop_serve(&loop, &service, std_handle_needed("serve.entropy"));
    }
    if (status != OK) {
        log_error("cannot serve: %s", status_name(status));
        return 1;
    }
    seed(&seed_timer);
    return loop_run(&loop);
}
