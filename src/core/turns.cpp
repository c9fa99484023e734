#include "core/turns.h"

#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include <sys/resource.h>
#include <sys/syscall.h>

namespace sluice::core {
namespace {

constexpr uint64_t kShortTurnNs = 100'000;  // the least that the kernel takes

// sched_setattr(2), as of its first version; the C library has no name for it.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = SCHED_OTHER;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};
static_assert(sizeof(SchedulingAttributes) == 48);

constexpr int kSmallShareNice = 10;  // a tenth of the weight

constexpr int kPiecesOfATurn = 32;
thread_local bool has_given_way = false;

id_t thread_id() {
  return static_cast<id_t>(syscall(SYS_gettid));
}

bool is_normal() {
  return sched_getscheduler(0) == SCHED_OTHER;
}

void set_policy(int policy) {
  const sched_param parameters = {};
  if (is_normal()) sched_setscheduler(0, policy, &parameters);
}

}  // namespace

void ask_for_short_turns() {
  if (!is_normal()) return;
  errno = 0;
  SchedulingAttributes attributes;
  attributes.nice = getpriority(PRIO_PROCESS, thread_id());
  attributes.runtime_ns = kShortTurnNs;
  if (errno == 0) syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void wake_without_haste() {
  set_policy(SCHED_BATCH);
}

void take_small_share() {
  if (!is_normal()) return;
  errno = 0;
  const int nice = getpriority(PRIO_PROCESS, thread_id());
  if (errno == 0) setpriority(PRIO_PROCESS, thread_id(), nice + kSmallShareNice);
  set_policy(SCHED_BATCH);
}

void give_way() {
  set_policy(SCHED_IDLE);
  has_given_way = true;
}

void let_others_first() {
  if (!has_given_way) return;
  thread_local int pieces = 0;
  if (++pieces % kPiecesOfATurn == 0) sched_yield();
}

}  // namespace sluice::core
