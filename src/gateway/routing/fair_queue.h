// Requests that wait in the gateway: by priority, then fairly among keys by weighted virtual tokens
// (Sheng et al. 2024, "Fairness in Serving Large Language Models"), then by deadline. A key with
// share 2 gets twice what one with share 1 gets while both wait. Bounded. Owned by one data loop.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::gateway {

struct WaitingRequest {
  uint64_t handle = 0;  // the caller's
  std::string key;
  std::string model;        // whose replicas it waits for
  int32_t priority = 0;     // higher first
  int64_t deadline_ns = 0;  // earlier first; 0: after all with one, in the order of arrival
};

class FairQueue {
 public:
  // Tokens weigh 1 in the prompt, 0.1 there when cached, 2 in the output.
  static constexpr double kPromptWeight = 1.0;
  static constexpr double kCachedWeight = 0.1;
  static constexpr double kOutputWeight = 2.0;
  static constexpr size_t kIdleKeysMax = 4096;  // that wait for nothing and are remembered

  explicit FairQueue(int64_t requests_max);

  [[nodiscard]] bool push(WaitingRequest request);  // false: full
  // Whose turn it is, of those whose model is none of `busy`; null: nobody's. Until the next call
  // of anything else. It stays in the queue until it has a place: who comes back counts as new.
  const WaitingRequest* first(std::span<const std::string> busy = {}) const;
  std::optional<WaitingRequest> pop();  // takes the first one out
  bool remove(uint64_t handle);         // has a place, or its client has gone
  int64_t size() const { return size_; }

  // What a key was served, when it was (also of requests that did not wait).
  struct Served {
    int64_t prompt_tokens = 0;  // computed
    int64_t cached_tokens = 0;
    int64_t output_tokens = 0;
    int32_t share = 1;  // of the key, at least 1
  };
  void charge(std::string_view key, const Served& served);

 private:
  struct Waiting {
    WaitingRequest request;
    int64_t arrival = 0;
  };
  struct Key {
    double served = 0.0;           // weighted tokens ÷ share; lifted to the least of the waiting
    std::vector<Waiting> waiting;  // unordered; pop() looks for the first
  };

  struct Place {
    std::string_view key;
    size_t index = 0;
  };
  std::optional<Place> first_place(std::span<const std::string> busy) const;
  Key& key_of(std::string_view id);
  void forget_idle();
  void lift(Key* returning);
  WaitingRequest take(Key* key, size_t index);

  int64_t requests_max_;
  int64_t size_ = 0;
  int64_t arrivals_ = 0;
  std::map<std::string, Key, std::less<>> keys_;
};

}  // namespace sluice::gateway
