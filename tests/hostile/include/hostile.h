/* What the files of the hostile program share. */
#pragma once
#include <guest.h>

/* op of every method there is (shapes.py). */
extern const uint64_t shapes[];
extern const uint32_t shape_count;

/* How a child tells how many calls it made: a call to its endpoint with these words. Its own random calls do not hit it. */
constexpr uint64_t REPORT_METHOD = 250;
constexpr uint64_t REPORT_WORD = 0x7E57C0DE5EEDF00D;
void report_calls(handle_t endpoint, uint64_t count);

/* Roles. Children get "endpoint", self.*, the clock page and a seed as argument; nothing else. */
int32_t role_calls(void);
int32_t role_ring(void);
int32_t role_exhaust(void);
int32_t role_bomb(void);
int32_t role_attack(void);
extern const char *const attack_names[];
extern const uint32_t attack_count;

uint64_t seed_of_argument(void); /* std_arg(1), never 0 */
