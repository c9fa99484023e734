// How the calling thread shares a core with others. Where the system does not allow it or has no
// such thing, the thread stays as it was. A thread that does not stand at the normal policy (a
// process begun with `chrt -i`) is left alone.
#pragma once

namespace sluice::core {

// Who answers at once: it runs soon after it wakes, also where another thread of normal priority is
// at work, which otherwise keeps the core for a turn of milliseconds. Its share of the core stays
// what it was. (Linux 6.12: the slice of sched_setattr.)
void ask_for_short_turns();

// Who works beside those that answer: waking up it takes the core from nobody. (SCHED_BATCH)
void wake_without_haste();

// Who must get on beside those that answer: it takes a tenth of a core that others want, all of one
// that nobody wants. (SCHED_BATCH, ten more of nice)
void take_small_share();

// Who can wait: it runs when nobody else of normal priority wants the core, and a little always.
// (SCHED_IDLE)
void give_way();

// After each piece of the work of a thread that has given way, a few microseconds of it: whoever
// waits for the core gets it, every so many calls. The kernel gives such a thread a little of a
// core that others want all of, but in turns that last until its tick (4 ms at 250 Hz), and then
// nobody is answered. Does nothing in other threads.
void let_others_first();

}  // namespace sluice::core
