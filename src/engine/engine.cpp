#include "engine/engine.h"

#include <algorithm>
#include <mutex>
#include <thread>
#include <utility>

#include "core/assert.h"
#include "engine/loop.h"
#include "engine/mailbox.h"
#include "engine/sequence.h"

namespace sluice::engine {

core::Result<void> set_vocabulary(const VocabularyInfo& info, EngineConfig* config) {
  const int64_t ids = std::min(info.tokens, info.logit_columns);
  if (ids < 1)
    return core::invalid("{} tokens in the vocabulary, {} rows in the output matrix", info.tokens,
                         info.logit_columns);
  for (const int32_t id : info.end_token_ids)
    if (id < 0 || id >= ids)
      return core::invalid("end token {}: the vocabulary has {} tokens, the output matrix {} rows",
                           id, info.tokens, info.logit_columns);
  config->vocab_tokens = static_cast<int32_t>(ids);
  config->end_token_ids.assign(info.end_token_ids.begin(), info.end_token_ids.end());
  config->limits.logprobs_top_max = std::min(config->limits.logprobs_top_max, ids);
  return {};
}

struct Engine::State {
  State(EngineConfig c, EngineParts p)
      : config(std::move(c)),
        parts(std::move(p)),
        page_tokens(parts.runner->shape().page_tokens),
        mailbox(config.limits.sequences_max + config.limits.queue_max),
        loop(config, parts),
        stats(loop.stats()) {}

  // The loop thread, from start to stop().
  void run() {
    Messages messages;
    const auto wait = [&] { return loop.has_work() ? Mailbox::Wait::kNo : Mailbox::Wait::kYes; };
    while (mailbox.take(wait(), &messages) == Mailbox::Taken::kMessages) {
      loop.step(&messages);
      publish_stats();
      mailbox.retire(loop.finished());
    }
    loop.cancel_all(&messages);
    publish_stats();
    mailbox.retire(loop.finished());
  }

  void publish_stats() {
    std::lock_guard lock(stats_mutex);
    stats = loop.stats();
  }

  const EngineConfig config;
  const EngineParts parts;
  const int32_t page_tokens;
  Mailbox mailbox;  // any thread
  Loop loop;        // the loop thread
  std::mutex stats_mutex;
  EngineStats stats;  // behind stats_mutex: a copy of the loop's
  std::thread thread;
};

Engine::Engine(EngineConfig config, EngineParts parts)
    : state_(std::make_unique<State>(std::move(config), std::move(parts))) {
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

Engine::~Engine() {
  stop();
}

Admission Engine::submit(std::vector<Request> requests) {
  const int64_t now_ns = state_->parts.clock->now_ns();
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (const Request& request : requests) {
    const Admission answer = check_request(request, state_->config);
    if (answer != Admission::kAccepted) return answer;
  }
  for (Request& request : requests) {
    sequences.push_back(make_sequence(std::move(request), state_->config, state_->page_tokens));
    sequences.back()->submitted_ns = now_ns;
  }
  return state_->mailbox.post(std::move(sequences));
}

void Engine::cancel(RequestId id) {
  state_->mailbox.post(EndMessage{id, FinishReason::kCancelled});
}

void Engine::finish_early(RequestId id) {
  state_->mailbox.post(EndMessage{id, FinishReason::kStop});
}

void Engine::drain() {
  state_->mailbox.drain();
}

void Engine::flush_cache() {
  state_->mailbox.post(FlushCache::kYes);
}

int64_t Engine::live_requests() const {
  return state_->mailbox.live();
}

EngineStats Engine::stats() const {
  EngineStats stats;
  {
    std::lock_guard lock(state_->stats_mutex);
    stats = state_->stats;
  }
  stats.draining = state_->mailbox.draining();
  return stats;
}

const EngineConfig& Engine::config() const {
  return state_->config;
}

void Engine::stop() {
  if (!state_->thread.joinable()) return;
  ASSERT(std::this_thread::get_id() != state_->thread.get_id(), "stop() on the loop thread");
  state_->mailbox.stop();
  state_->thread.join();
}

}  // namespace sluice::engine
