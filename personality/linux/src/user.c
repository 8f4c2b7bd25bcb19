/* The program's memory (user.h): the copies are in the architecture's entry.S, with a fix-up table for their faults. */
#include <linux/dispatch.h>
#include <linux/errno.h>
#include <linux/user.h>
#include <tess/util.h>

int64_t linux_copy_raw(uint64_t to, uint64_t from, uint64_t size);
int64_t linux_zero_raw(uint64_t to, uint64_t size);
int64_t linux_string_raw(uint64_t to, uint64_t from, uint64_t size);
int64_t linux_exchange_raw(uint64_t address, uint32_t *expected, uint32_t desired);

struct fixup {
    uint64_t start, end, target;
};
extern const struct fixup linux_fixups_start[], linux_fixups_end[];

#if defined(__x86_64__)
constexpr uint32_t REGISTER_PC = offsetof(struct tess_registers_x86_64, rip) / 8;
#elif defined(__aarch64__)
constexpr uint32_t REGISTER_PC = offsetof(struct tess_registers_aarch64, pc) / 8;
#else
constexpr uint32_t REGISTER_PC = offsetof(struct tess_registers_riscv64, pc) / 8;
#endif

bool linux_native_fault(struct tess_upcall_frame *frame)
{
    uint64_t pc = frame->native.registers[REGISTER_PC];
    for (const struct fixup *fixup = linux_fixups_start; fixup < linux_fixups_end; fixup++) {
        if (pc >= fixup->start && pc < fixup->end) {
            frame->native.registers[REGISTER_PC] = fixup->target;
            return true;
        }
    }
    return false;
}

int64_t linux_copy_from_user(void *to, uint64_t from, uint64_t size)
{
    return linux_is_user(from, size) ? linux_copy_raw((uint64_t)to, from, size) : -LINUX_EFAULT;
}

int64_t linux_copy_to_user(uint64_t to, const void *from, uint64_t size)
{
    return linux_is_user(to, size) ? linux_copy_raw(to, (uint64_t)from, size) : -LINUX_EFAULT;
}

int64_t linux_zero_user(uint64_t to, uint64_t size) { return linux_is_user(to, size) ? linux_zero_raw(to, size) : -LINUX_EFAULT; }

int64_t linux_string_from_user(char *to, uint64_t from, uint64_t size)
{
    if (!linux_is_user(from, 1)) {
        return -LINUX_EFAULT;
    }
    uint64_t room = min_u64(size, NATIVE_BASE - from);
    int64_t length = linux_string_raw((uint64_t)to, from, room);
    if (length == (int64_t)room) {
        return room < size ? -LINUX_EFAULT : -LINUX_ENAMETOOLONG;
    }
    return length;
}

int64_t linux_load_user_u32(uint32_t *out_value, uint64_t from) { return linux_copy_from_user(out_value, from, sizeof(*out_value)); }
int64_t linux_load_user_u64(uint64_t *out_value, uint64_t from) { return linux_copy_from_user(out_value, from, sizeof(*out_value)); }
int64_t linux_store_user_u32(uint64_t to, uint32_t value) { return linux_copy_to_user(to, &value, sizeof(value)); }
int64_t linux_store_user_u64(uint64_t to, uint64_t value) { return linux_copy_to_user(to, &value, sizeof(value)); }

int64_t linux_exchange_user_u32(uint64_t address, uint32_t *expected, uint32_t desired)
{
    return linux_is_user(address, 4) && is_aligned(address, 4) ? linux_exchange_raw(address, expected, desired) : -LINUX_EFAULT;
}
