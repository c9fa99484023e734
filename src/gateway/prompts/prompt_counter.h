// Counts the tokens of large prompts on a thread of its own: a data loop waits for nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "core/queue.h"
#include "gateway/prompts/prompt_reader.h"

namespace sluice::gateway {

class PromptCounter {
 public:
  static constexpr int64_t kQueueMax = 64;

  // `clock` outlives it.
  explicit PromptCounter(const core::Clock& clock);
  ~PromptCounter();  // counts what is queued, then ends
  PromptCounter(const PromptCounter&) = delete;
  PromptCounter& operator=(const PromptCounter&) = delete;

  struct Job {
    std::shared_ptr<const prompt::ModelText> text;
    contract::EventKind kind = contract::EventKind::kChatCompletion;
    std::string body;                                  // as PromptReader wants it
    std::function<void(std::optional<int64_t>)> done;  // on its thread; PromptReader::count()
  };
  // False: too many wait, the job is not done.
  [[nodiscard]] bool push(Job job);

 private:
  void run();

  const core::Clock& clock_;
  core::BoundedQueue<Job> queue_;
  std::thread thread_;
};

}  // namespace sluice::gateway
