#include <httpd/facts.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/devmgr.h>
#include <tess/stub/net.h>
#include <tess/stub/supervisor.h>
#include <tess/stub/system.h>

static constexpr uint64_t ANSWER_NS = 200 * NS_PER_MS; /* a service that hangs may delay a page by this, and not again for PAUSE_NS */
static constexpr uint64_t PAUSE_NS = 5 * NS_PER_S;
static constexpr uint64_t LOAD_INTERVAL_NS = NS_PER_S;
static constexpr uint64_t WALL_PLAUSIBLE_NS = 1'577'836'800 * NS_PER_S; /* 2020: an earlier clock was never set */

static const char *machine_name(void)
{
#if defined(__x86_64__)
    return "x86_64";
#elif defined(__aarch64__)
    return "aarch64";
#elif defined(__riscv)
    return "riscv64";
#endif
}

void facts_open(struct facts_reader *reader)
{
    *reader = (struct facts_reader){
        .system = std_handle("system"), .net = std_handle("net"), .supervisor = std_handle("supervisor"), .devmgr = std_handle("devmgr")};
}

/* Load over the last whole interval; over all time before the first one is complete. */
static uint32_t load_of(struct facts_reader *reader, uint32_t index, const struct tess_cpu_info *info, bool is_new_interval)
{
    uint64_t busy = info->busy_ns - reader->cpus[index].busy_ns, idle = info->idle_ns - reader->cpus[index].idle_ns;
    if (is_new_interval || reader->interval_ns == 0) {
        reader->cpus[index].load_permille = busy + idle > 0 ? (uint32_t)(busy * 1000 / (busy + idle)) : 0;
    }
    if (is_new_interval) {
        reader->cpus[index].busy_ns = info->busy_ns;
        reader->cpus[index].idle_ns = info->idle_ns;
    }
    return reader->cpus[index].load_permille;
}

static void read_cpus(struct facts_reader *reader, struct status_facts *facts)
{
    bool is_new_interval = facts->now_ns - reader->interval_ns >= LOAD_INTERVAL_NS;
    facts->cpu_count = 0;
    while (facts->cpu_count < STATUS_CPUS) {
        struct status_cpu *cpu = &facts->cpus[facts->cpu_count];
        if (tess_system_cpu(reader->system, facts->cpu_count, (uint64_t)&cpu->info) != OK) {
            break;
        }
        cpu->load_permille = load_of(reader, facts->cpu_count, &cpu->info, is_new_interval);
        facts->cpu_count++;
    }
    if (is_new_interval) {
        reader->interval_ns = facts->now_ns;
    }
}

static void read_processes(struct facts_reader *reader, struct status_facts *facts)
{
    uint64_t after = 0;
    facts->process_count = 0;
    while (facts->process_count < STATUS_PROCESSES) {
        struct tess_process_info *process = &facts->processes[facts->process_count];
        if (tess_system_process_next(reader->system, after, (uint64_t)process) != OK || process->id <= after) {
            break;
        }
        after = process->id;
        facts->process_count++;
    }
}

/* OK and NOT_FOUND (the end of a list) are answers; anything else earns a pause. */
static bool has_answered(status_t status, uint64_t now, uint64_t *pause_ns)
{
    if (status == OK || status == ERROR_NOT_FOUND) {
        return true;
    }
    *pause_ns = now + PAUSE_NS;
    return false;
}

static bool read_services(struct facts_reader *reader, struct status_facts *facts, uint64_t deadline)
{
    facts->service_count = 0;
    while (facts->service_count < STATUS_SERVICES) {
        struct status_service *service = &facts->services[facts->service_count];
        uint64_t objects;
        uint32_t index = facts->service_count;
        status_t status =
            tess_supervisor_next(reader->supervisor, index, (uint8_t *)service->name, &service->state, &service->process_id,
                                 &service->restarts, &service->since_ns, &service->last_cause, &service->last_status, deadline);
        if (status != OK) {
            return has_answered(status, facts->now_ns, &reader->supervisor_pause_ns);
        }
        service->limit_pages = service->used_pages = 0;
        status = tess_supervisor_memory(reader->supervisor, index, &service->limit_pages, &service->used_pages, &objects, deadline);
        if (!has_answered(status, facts->now_ns, &reader->supervisor_pause_ns)) {
            return false;
        }
        facts->service_count++;
    }
    return true;
}

static bool read_devices(struct facts_reader *reader, struct status_facts *facts, uint64_t deadline)
{
    facts->device_count = 0;
    while (facts->device_count < STATUS_DEVICES) {
        struct status_device *device = &facts->devices[facts->device_count];
        status_t status = tess_devmgr_next(reader->devmgr, facts->device_count, &device->bdf, &device->vendor, &device->device,
                                           &device->class_code, (uint8_t *)device->holder, deadline);
        if (status != OK) {
            return has_answered(status, facts->now_ns, &reader->devmgr_pause_ns);
        }
        facts->device_count++;
    }
    return true;
}

static bool read_net(struct facts_reader *reader, struct status_facts *facts, uint64_t deadline)
{
    struct status_net *net = &facts->net;
    status_t status = tess_net_info(reader->net, &net->flags, &net->address, &net->mask, &net->gateway, &net->dns, net->mac, deadline);
    if (status == OK) {
        status =
            tess_net_counters(reader->net, &net->rx_frames, &net->tx_frames, &net->rx_bytes, &net->tx_bytes, &net->dropped, &net->tcp_open,
                              &net->tcp_time_wait, &net->tcp_listening, &net->tcp_accepted, &net->restarts, &net->memory_used, deadline);
    }
    return has_answered(status, facts->now_ns, &reader->net_pause_ns) && status == OK;
}

void facts_read(struct facts_reader *reader, struct status_facts *facts)
{
    facts->arch = machine_name();
    facts->now_ns = time_now_ns();
    uint64_t wall = time_wall_ns();
    facts->wall_ns = wall >= WALL_PLAUSIBLE_NS ? wall : 0;
    facts->has_system = reader->system != HANDLE_NONE && tess_system_info(reader->system, (uint64_t)&facts->system) == OK;
    if (facts->has_system) {
        read_cpus(reader, facts);
        read_processes(reader, facts);
    }
    uint64_t deadline = time_after_ns(ANSWER_NS);
    facts->has_services =
        reader->supervisor != HANDLE_NONE && facts->now_ns >= reader->supervisor_pause_ns && read_services(reader, facts, deadline);
    facts->has_devices = reader->devmgr != HANDLE_NONE && facts->now_ns >= reader->devmgr_pause_ns && read_devices(reader, facts, deadline);
    facts->has_net = reader->net != HANDLE_NONE && facts->now_ns >= reader->net_pause_ns && read_net(reader, facts, deadline);
}
