#include "gateway/prompts/prompt_counter.h"

#include <utility>
#include <vector>

namespace sluice::gateway {

PromptCounter::PromptCounter(const core::Clock& clock)
    : clock_(clock), queue_(kQueueMax), thread_([this] { run(); }) {}

PromptCounter::~PromptCounter() {
  queue_.close();
  thread_.join();
}

bool PromptCounter::push(Job job) {
  return queue_.push(std::move(job)) == core::PushResult::kOk;
}

void PromptCounter::run() {
  std::vector<Job> jobs;
  while (queue_.wait_and_drain(&jobs)) {
    for (const Job& job : jobs) job.done(PromptReader(job.text, clock_).count(job.kind, job.body));
    jobs.clear();
  }
}

}  // namespace sluice::gateway
