/*
 * The hostile peer: the input is a program of (action, value) pairs, some of which overwrite shared words while the victim
 * works. What must hold: no access out of bounds (AddressSanitizer), and the victim's own bookkeeping stays true.
 */
#include <ring/frame_queue.h>
#include <ring/socket_queue.h>
#include <stdlib.h>
#include <string.h>

static constexpr uint32_t RX = 1024, TX = 2048, COUNT = 4;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void poke(void *memory, size_t memory_size, uint32_t where, uint32_t value)
{
    /* Mostly the index lines and the rings, where it hurts; now and then anywhere. */
    size_t words = (where & 0x8000) ? memory_size / 4 : where & 0x4000 ? (4096 + 64) / 4 : 64;
    size_t base = (where & 0x8000) ? 0 : where & 0x4000 ? 4096 / 4 : 0;
    size_t index = base + (where & 0x3fff) % words;
    if (index < memory_size / 4) {
        ((uint32_t *)memory)[index] = value;
    }
}

static void socket_step(struct socket_queue *q, uint32_t action, uint32_t value)
{
    uint8_t block[4096];
    struct socket_queue_span spans[2];
    uint32_t count = value % sizeof(block);
    switch (action % 8) {
    case 0: require(socket_queue_read(q, block, count) <= count); break;
    case 1:
        memset(block, 1, count);
        require(socket_queue_write(q, block, count) <= count);
        break;
    case 2:
        require(socket_queue_peek(q, spans) <= q->in_size);
        memset(spans[0].data, 2, spans[0].size);
        memset(spans[1].data, 2, spans[1].size);
        require(socket_queue_consume(q, value) <= q->in_size);
        break;
    case 3:
        require(socket_queue_reserve(q, spans) <= q->out_size);
        memset(spans[0].data, 3, spans[0].size);
        memset(spans[1].data, 3, spans[1].size);
        require(socket_queue_commit(q, value) <= q->out_size);
        break;
    case 4: require(socket_queue_state(q) <= SOCKET_QUEUE_FAILED); break;
    case 5: socket_queue_prepare_wait(q, value & 7); break;
    case 6: socket_queue_should_wake(q); break;
    default: require(!q->is_broken || (socket_queue_readable(q) == 0 && socket_queue_writable(q) == 0)); break;
    }
}

static uint32_t count_bits(const uint64_t *words)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < FRAME_QUEUE_COUNT_MAX / 64; i++) {
        count += (uint32_t)__builtin_popcountll(words[i]);
    }
    return count;
}

static void frame_step(struct frame_queue *q, bool is_client, uint32_t action, uint32_t value)
{
    struct frame frame;
    uint16_t buffer;
    switch (action % 4) {
    case 0:
        if (is_client ? frame_queue_rx_take(q, &frame) : frame_queue_tx_get(q, &frame)) {
            require(frame.buffer < COUNT && frame.length > 0 && frame.length <= FRAME_QUEUE_FRAME_MAX);
            memset(frame.data, 4, frame.length);
        }
        break;
    case 1:
        if (is_client ? frame_queue_tx_alloc(q, &frame) : frame_queue_rx_get(q, &buffer)) {
            memset(is_client ? frame.data : frame_queue_rx_data(q, buffer), 5, FRAME_QUEUE_FRAME_MAX);
            if (is_client) {
                if (!frame_queue_tx_send(q, frame.buffer, (uint16_t)value)) {
                    frame_queue_tx_cancel(q, frame.buffer);
                }
            }
        }
        break;
    case 2:
        if (is_client) {
            frame_queue_rx_give(q, (uint16_t)value);
        } else {
            frame_queue_rx_complete(q, (uint16_t)value & 7, (uint16_t)(value >> 16));
            frame_queue_tx_complete(q, (uint16_t)value & 7);
        }
        break;
    default:
        frame_queue_prepare_wait(q, value & 3);
        frame_queue_should_wake(q);
        break;
    }
    require(count_bits(q->rx_held) <= COUNT && count_bits(q->tx_held) <= COUNT && q->tx_spare_count <= COUNT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8) {
        return 0;
    }
    uint32_t kind = data[0] % 4;
    /* Exactly as large as needed, so that the sanitizer sees the first byte too far. */
    size_t memory_size = kind < 2 ? socket_queue_memory_size(RX, TX) : frame_queue_memory_size(COUNT);
    uint8_t *memory = aligned_alloc(4096, (memory_size + 4095) & ~(size_t)4095);
    memset(memory, 0, memory_size);
    static struct frame_queue frames;
    struct socket_queue socket;
    if (kind < 2) {
        require(socket_queue_init(&socket, memory, memory_size, RX, TX));
        require(socket_queue_attach(&socket, memory, memory_size, RX, TX, kind ? SOCKET_QUEUE_SERVICE : SOCKET_QUEUE_CLIENT));
    } else {
        require(frame_queue_init(&frames, memory, memory_size, COUNT));
        if (kind == 3) {
            if (size > 16) { /* the header too may be anything */
                uint32_t count;
                memcpy(&count, data + 12, sizeof(count));
                if (count & 1) {
                    atomic_store(&frames.header->count, count);
                }
            }
            if (!frame_queue_attach(&frames, memory, memory_size)) {
                free(memory);
                return 0;
            }
            require(frames.count <= COUNT);
        }
    }
    for (size_t i = 1; i + 7 <= size; i += 7) {
        uint32_t value;
        uint16_t where;
        memcpy(&value, data + i + 3, sizeof(value));
        memcpy(&where, data + i + 1, sizeof(where));
        if (data[i] & 0x80) {
            poke(memory, memory_size, where, value & (data[i] & 0x40 ? 0xf : ~0u));
        } else if (kind < 2) {
            socket_step(&socket, data[i], value);
        } else {
            frame_step(&frames, kind == 2, data[i], value);
        }
    }
    free(memory);
    return 0;
}
