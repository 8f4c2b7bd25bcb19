/*
 * A QEMU plugin that measures the longest stretches for which the kernel keeps interrupts off, in instructions. The kernel runs with
 * interrupts off throughout (docs/decisions/0001), so a stretch is what is executed at kernel addresses between two entries, or until
 * user code or the idle wait. Nothing is counted before the first entry: the
 * boot is over then. Built and loaded by tools/latency.
 *
 * Arguments, all addresses in hexadecimal: entry=FIRST-LAST (more than once: the code where the kernel is entered), idle=FIRST-LAST
 * (also: the instructions that wait for an interrupt; they end a block).
 * Prints at the end "stretch COUNT ADDRESS...": the longest for each place where most of it was spent, with where it was now and then.
 *
 * The few functions of QEMU's plugin interface that are used are declared here: not every distribution packages its header.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
typedef struct qemu_info qemu_info;

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*cb)(plugin_id id, struct qemu_plugin_tb *tb));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*cb)(unsigned vcpu, void *data), int flags, void *data);
extern void qemu_plugin_register_vcpu_idle_cb(plugin_id id, void (*cb)(plugin_id id, unsigned vcpu));
extern void qemu_plugin_register_atexit_cb(plugin_id id, void (*cb)(plugin_id id, void *data), void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;

enum { SAMPLE_EVERY = 256, SAMPLES = 256, PLACES = 256, RANGES = 32, REPORTED_FROM = 2000 };

struct range {
    uint64_t first, last;
};
/* What a translated block's execution means; the number of instructions is in the upper bits. */
enum kind { KIND_USER, KIND_KERNEL, KIND_ENTRY, KIND_IDLE };
struct block {
    uint64_t address;
    uint32_t count;
    enum kind kind;
};

static struct range entries[RANGES], idles[RANGES];
static unsigned entry_count, idle_count;
static bool is_begun; /* the kernel was entered: the boot is over */
static uint64_t length, next_sample;
static uint64_t samples[SAMPLES];
static unsigned sample_count;
static struct place {
    uint64_t address, length, samples[SAMPLES];
    unsigned sample_count;
} places[PLACES];

static bool is_in(const struct range *ranges, unsigned count, uint64_t address)
{
    for (unsigned i = 0; i < count; i++)
        if (address >= ranges[i].first && address <= ranges[i].last)
            return true;
    return false;
}

static uint64_t most_frequent(void)
{
    uint64_t best = 0;
    unsigned best_count = 0;
    for (unsigned i = 0; i < sample_count; i++) {
        unsigned count = 0;
        for (unsigned j = 0; j < sample_count; j++)
            count += samples[j] == samples[i];
        if (count > best_count) {
            best = samples[i];
            best_count = count;
        }
    }
    return best;
}

static void finish(void)
{
    if (length >= REPORTED_FROM) {
        uint64_t address = most_frequent();
        for (unsigned i = 0; i < PLACES; i++) {
            if (places[i].address != 0 && places[i].address != address)
                continue;
            struct place *place = &places[i];
            place->address = address;
            if (place->length < length) {
                place->length = length;
                place->sample_count = sample_count;
                memcpy(place->samples, samples, sizeof(samples));
            }
            break;
        }
    }
    length = next_sample = 0;
    sample_count = 0;
}

static void executed(unsigned vcpu, void *data)
{
    const struct block *block = data;
    (void)vcpu;
    if (block->kind != KIND_KERNEL)
        finish();
    if (block->kind == KIND_ENTRY)
        is_begun = true;
    if (!is_begun || block->kind == KIND_USER || block->kind == KIND_IDLE)
        return;
    length += block->count;
    if (length >= next_sample) {
        next_sample = length + SAMPLE_EVERY;
        samples[sample_count % SAMPLES] = block->address;
        sample_count += sample_count < SAMPLES;
    }
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
    struct block *block = malloc(sizeof(*block)); /* lives as long as the block may */
    uint64_t address = qemu_plugin_tb_vaddr(tb);
    (void)id;
    if (block == NULL)
        abort();
    uint64_t last = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, qemu_plugin_tb_n_insns(tb) - 1));
    block->address = address;
    block->count = (uint32_t)qemu_plugin_tb_n_insns(tb);
    block->kind = address >> 63 == 0                     ? KIND_USER
                  : is_in(entries, entry_count, address) ? KIND_ENTRY
                  : is_in(idles, idle_count, last)       ? KIND_IDLE
                                                         : KIND_KERNEL;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

static void idle(plugin_id id, unsigned vcpu)
{
    (void)id, (void)vcpu;
    finish();
}

static void print(const struct place *place)
{
    fprintf(stderr, "stretch %llu", (unsigned long long)place->length);
    for (unsigned i = 0; i < place->sample_count; i++)
        fprintf(stderr, " %llx", (unsigned long long)place->samples[i]);
    fprintf(stderr, "\n");
}

static void ends(plugin_id id, void *data)
{
    (void)id, (void)data;
    for (unsigned i = 0; i < PLACES && places[i].address != 0; i++)
        print(&places[i]);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const qemu_info *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        unsigned long long first, last;
        if (sscanf(argv[i], "entry=%llx-%llx", &first, &last) == 2 && entry_count < RANGES)
            entries[entry_count++] = (struct range){first, last};
        else if (sscanf(argv[i], "idle=%llx-%llx", &first, &last) == 2 && idle_count < RANGES)
            idles[idle_count++] = (struct range){first, last};
        else
            return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_idle_cb(id, idle);
    qemu_plugin_register_atexit_cb(id, ends, NULL);
    return 0;
}
