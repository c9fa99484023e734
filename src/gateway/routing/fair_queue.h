// Requests that wait in the gateway: by priority, then fairly among tenants by weighted virtual
// tokens (Sheng et al. 2024, "Fairness in Serving Large Language Models"), then by deadline.
// Bounded. Owned by one data loop.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sluice::gateway {

struct WaitingRequest {
  uint64_t handle = 0;  // the caller's
  std::string tenant;
  int32_t priority = 0;     // higher first
  int64_t deadline_ns = 0;  // earlier first; 0: after all with one, in the order of arrival
};

class FairQueue {
 public:
  // Tokens weigh 1 in the prompt, 0.1 there when cached, 2 in the output.
  static constexpr double kPromptWeight = 1.0;
  static constexpr double kCachedWeight = 0.1;
  static constexpr double kOutputWeight = 2.0;

  explicit FairQueue(int64_t requests_max);

  [[nodiscard]] bool push(WaitingRequest request);  // false: full
  // Whose turn it is; null: nobody waits. Until the next call of anything else.
  const WaitingRequest* first() const;
  std::optional<WaitingRequest> pop();                 // takes that one out
  bool remove(uint64_t handle);                        // its client has gone
  std::vector<WaitingRequest> expire(int64_t now_ns);  // whose deadline has come
  int64_t size() const { return size_; }

  // What a tenant was served, when it was (also of requests that did not wait).
  struct Served {
    int64_t prompt_tokens = 0;  // computed
    int64_t cached_tokens = 0;
    int64_t output_tokens = 0;
  };
  void charge(const std::string& tenant, const Served& served);

 private:
  struct Waiting {
    WaitingRequest request;
    int64_t arrival = 0;
  };
  struct Tenant {
    double served = 0.0;           // weighted tokens; lifted to the least of the waiting on return
    std::vector<Waiting> waiting;  // unordered; pop() looks for the first
  };

  struct Place {
    std::string tenant;
    size_t index = 0;
  };
  std::optional<Place> first_place() const;
  void lift(Tenant* returning);
  WaitingRequest take(Tenant* tenant, size_t index);

  int64_t requests_max_;
  int64_t size_ = 0;
  int64_t arrivals_ = 0;
  std::map<std::string, Tenant> tenants_;
};

}  // namespace sluice::gateway
