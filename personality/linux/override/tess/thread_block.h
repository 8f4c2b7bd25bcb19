/* The TLS register is the program's: the message page is at the start of the page that holds the upcall frame (linux/thread.h). */
#pragma once
#include <linux/thread.h>

static inline struct tess_message_page *tess_message_page(void) { return (struct tess_message_page *)((uint64_t)linux_frame() & ~4095ull); }
