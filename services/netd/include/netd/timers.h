/*
 * lwIP's periodic functions, each running only while it has something to do: with nothing under way on any connection and no
 * pending lookup, the timers left are real deadlines, the end of a TIME_WAIT or what a lease needs next. Functions that merely
 * age things (ARP, DNS cache) are not run while nothing happens; what was missed is made up when something does.
 */
#pragma once
#include <std/loop.h>

void timers_init(struct loop *loop);
/* Something happened that may need a timer; call after each round of work. Cheap. */
void timers_update(void);
/* Frames came in: addresses learnt long ago must not be believed for ever. */
void timers_note_traffic(void);
/* An ARP request went out: it is repeated by the second until answered or given up. */
void timers_note_arp_request(void);
/* A fragment arrived: reassembly needs its clock until it has given up. */
void timers_note_fragment(void);
/* A name is being looked up. */
void timers_note_lookup(void);
