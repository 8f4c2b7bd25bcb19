/* /status.json: the facts as they are, units in the names (ns, bytes, permille). */
#include <httpd/status.h>

static constexpr uint64_t PAGE = 4096;

const char *status_service_state(uint32_t state)
{
    static const char *const names[] = {"stopped", "running", "backing off", "failed"};
    return state < 4 ? names[state] : "unknown";
}

/* PCI Code and ID Assignment Specification, base and sub class; class_code holds class << 16 | subclass << 8 | interface. */
const char *status_device_class(uint32_t class_code)
{
    switch (class_code >> 8 & 0xFFFF) {
    case 0x0100:
    case 0x0101:
    case 0x0106:
    case 0x0108: return "storage";
    case 0x0200: return "network";
    case 0x0300:
    case 0x0380: return "display";
    case 0x0600: return "host bridge";
    case 0x0601: return "ISA bridge";
    case 0x0604: return "PCI bridge";
    case 0x0700:
    case 0x0780: return "communication";
    case 0x0C03: return "USB";
    case 0x0C05: return "SMBus";
    case 0x00FF: return "entropy"; /* what virtio-rng calls itself */
    default: return "other";
    }
}

static void number(struct text *text, const char *key, uint64_t value)
{
    text_string(text, "\"");
    text_string(text, key);
    text_string(text, "\":");
    text_number(text, value);
}

static void member(struct text *text, const char *key, uint64_t value)
{
    text_string(text, ",");
    number(text, key, value);
}

static void name(struct text *text, const char *key, const char *value, size_t limit)
{
    text_string(text, ",\"");
    text_string(text, key);
    text_string(text, "\":");
    text_json(text, value, limit);
}

static void cpus(struct text *text, const struct status_facts *facts)
{
    text_string(text, ",\"cpus\":[");
    for (uint32_t i = 0; i < facts->cpu_count; i++) {
        const struct tess_cpu_info *info = &facts->cpus[i].info;
        text_string(text, i == 0 ? "{" : ",{");
        number(text, "index", info->index);
        member(text, "online", info->is_online);
        member(text, "load_permille", facts->cpus[i].load_permille);
        member(text, "busy_ns", info->busy_ns);
        member(text, "idle_ns", info->idle_ns);
        member(text, "switches", info->switches);
        member(text, "syscalls", info->syscalls);
        member(text, "interrupts", info->interrupts);
        member(text, "timer_interrupts", info->timer_interrupts);
        member(text, "ipis", info->ipis);
        member(text, "faults", info->faults);
        text_string(text, "}");
    }
    text_string(text, "]");
}

static void memory(struct text *text, const struct status_facts *facts)
{
    const struct tess_system_info *system = &facts->system;
    text_string(text, ",\"memory\":{");
    number(text, "ram_bytes", system->ram_pages * PAGE);
    member(text, "free_bytes", system->free_pages * PAGE);
    member(text, "kernel_bytes", system->kernel_pages * PAGE);
    text_string(text, ",\"objects\":[");
    bool is_first = true;
    for (uint32_t i = 1; i < OBJECT_TYPE_LIMIT; i++) {
        if (system->object_count[i] == 0 && system->object_pages[i] == 0) {
            continue;
        }
        text_string(text, is_first ? "{" : ",{");
        number(text, "id", i);
        name(text, "type", object_type_name((enum object_type)i), 24);
        member(text, "count", system->object_count[i]);
        member(text, "bytes", system->object_pages[i] * PAGE);
        text_string(text, "}");
        is_first = false;
    }
    text_string(text, "]}");
}

static void processes(struct text *text, const struct status_facts *facts)
{
    text_string(text, ",\"processes\":[");
    for (uint32_t i = 0; i < facts->process_count; i++) {
        const struct tess_process_info *process = &facts->processes[i];
        text_string(text, i == 0 ? "{" : ",{");
        number(text, "id", process->id);
        name(text, "name", process->name, sizeof process->name);
        member(text, "threads", process->thread_count);
        member(text, "handles", process->handle_count);
        member(text, "memory_bytes", process->memory_pages * PAGE);
        member(text, "cpu_ns", process->cpu_ns);
        member(text, "start_ns", process->start_ns);
        text_string(text, "}");
    }
    text_string(text, "]");
}

static void services(struct text *text, const struct status_facts *facts)
{
    text_string(text, ",\"services\":[");
    for (uint32_t i = 0; i < facts->service_count; i++) {
        const struct status_service *service = &facts->services[i];
        text_string(text, i == 0 ? "{" : ",{");
        number(text, "process", service->process_id);
        name(text, "name", service->name, sizeof service->name);
        name(text, "state", status_service_state(service->state), 24);
        member(text, "restarts", service->restarts);
        member(text, "since_ns", service->since_ns);
        member(text, "limit_bytes", service->limit_pages * PAGE);
        member(text, "used_bytes", service->used_pages * PAGE);
        text_string(text, "}");
    }
    text_string(text, "]");
}

static void devices(struct text *text, const struct status_facts *facts)
{
    text_string(text, ",\"devices\":[");
    for (uint32_t i = 0; i < facts->device_count; i++) {
        const struct status_device *device = &facts->devices[i];
        text_format(text, "%s{\"bdf\":\"%02x:%02x.%u\",\"vendor\":\"%04x\",\"device\":\"%04x\"", i == 0 ? "" : ",", device->bdf >> 8 & 0xFF,
                    device->bdf >> 3 & 0x1F, device->bdf & 7, device->vendor & 0xFFFF, device->device & 0xFFFF);
        name(text, "class", status_device_class(device->class_code), 24);
        name(text, "holder", device->holder, sizeof device->holder);
        text_string(text, "}");
    }
    text_string(text, "]");
}

static void address(struct text *text, const char *key, uint32_t value)
{
    const uint8_t *b = (const uint8_t *)&value; /* network byte order in memory */
    text_format(text, ",\"%s\":\"%u.%u.%u.%u\"", key, b[0], b[1], b[2], b[3]);
}

static void network(struct text *text, const struct status_facts *facts)
{
    const struct status_net *net = &facts->net;
    text_string(text, ",\"net\":{");
    number(text, "flags", net->flags);
    address(text, "address", net->address);
    address(text, "gateway", net->gateway);
    address(text, "dns", net->dns);
    text_format(text, ",\"mac\":\"%02x:%02x:%02x:%02x:%02x:%02x\"", net->mac[0], net->mac[1], net->mac[2], net->mac[3], net->mac[4],
                net->mac[5]);
    member(text, "rx_frames", net->rx_frames);
    member(text, "tx_frames", net->tx_frames);
    member(text, "rx_bytes", net->rx_bytes);
    member(text, "tx_bytes", net->tx_bytes);
    member(text, "dropped", net->dropped);
    member(text, "tcp_open", net->tcp_open);
    member(text, "tcp_time_wait", net->tcp_time_wait);
    member(text, "tcp_listening", net->tcp_listening);
    member(text, "tcp_accepted", net->tcp_accepted);
    member(text, "driver_restarts", net->restarts);
    member(text, "memory_bytes", net->memory_used);
    text_string(text, "}");
}

static void http(struct text *text, const struct status_facts *facts)
{
    const struct status_http *own = &facts->http;
    text_string(text, ",\"http\":{");
    number(text, "requests", own->counters.requests);
    member(text, "errors", own->counters.errors);
    member(text, "timeouts", own->counters.timeouts);
    member(text, "connections", own->connections);
    member(text, "connections_peak", own->connections_peak);
    member(text, "spare", own->spare);
    member(text, "accepted", own->accepted);
    member(text, "refused", own->refused);
    member(text, "bytes_out", own->counters.bytes_out);
    member(text, "first_byte_ns", own->counters.first_byte_ns);
    text_string(text, "}");
}

void status_write_json(struct text *text, const struct status_facts *facts)
{
    text_string(text, "{\"system\":\"Tessera\"");
    name(text, "arch", facts->arch, 16);
    member(text, "uptime_ns", facts->now_ns);
    if (facts->wall_ns != 0) {
        member(text, "unix_ns", facts->wall_ns);
    }
    if (facts->has_system) {
        member(text, "process_count", facts->system.process_count);
        cpus(text, facts);
        memory(text, facts);
        processes(text, facts);
    }
    if (facts->has_services) {
        services(text, facts);
    }
    if (facts->has_devices) {
        devices(text, facts);
    }
    if (facts->has_net) {
        network(text, facts);
    }
    http(text, facts);
    text_string(text, "}\n");
}
