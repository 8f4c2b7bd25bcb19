/* The page that posixd shares with one process (struct linux_signal_page, abi/types.toml). Of what the process writes, each word is read once and
 * decides only about the process itself. Pure. */
#pragma once
#include <posixd/core.h>

constexpr uint32_t PAGE_NO_PLACE = UINT32_MAX;

/* Everything blocked, nothing pending; the first place is the main thread's. On a zeroed page, and after exec. */
void page_init(struct tess_linux_signal_page *page, uint32_t main_tid);
/* A thread's place, or PAGE_NO_PLACE. `used`: bit for each place that is taken; updated. */
uint32_t page_place_take(struct tess_linux_signal_page *page, uint64_t *used, uint32_t tid);
void page_place_free(struct tess_linux_signal_page *page, uint64_t *used, uint32_t place);

/* Queues and marks. tid 0: to the process, place is not looked at. NO_SPACE: a real-time signal with siginfo that found no room. */
status_t page_send(struct tess_linux_signal_page *page, uint32_t tid, uint32_t place, uint32_t *sequence,
                   const struct posix_signal *signal);
/* SIGCONT takes back stop signals that nobody took yet, and the other way round. */
void page_take_back(struct tess_linux_signal_page *page, uint32_t signal);
/* The process said that it ignores it, and this thread does not block it: it need not be sent. */
bool page_is_ignored(const struct tess_linux_signal_page *page, uint32_t signal);
bool page_is_blocked(const struct tess_linux_signal_page *page, uint32_t place, uint32_t signal);
uint32_t page_flags(const struct tess_linux_signal_page *page);
