// Which weights lie where, as data. Routed experts may stay in the host's memory, where the
// processor multiplies them, layer by layer; all other weights are on the device. Of a layer whose
// home is the host, some experts may be on the device besides (resident ones): those that are
// named, and a share that follows what is used.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice::model {

enum class Place : uint8_t { kDevice, kHost };

// Its language, for who writes it.
inline constexpr std::string_view kPlacementHelp =
    "with a device, where weights lie, as rules of which later ones win; without any all is on it. "
    "'experts=cpu': routed experts are the processor's; 'rest=cuda': all else, which is on the "
    "device in any case; 'experts[10-60]=cpu': of these layers; auto: as many layers' experts on "
    "the device as fit. On it besides, of the host's experts: 'experts[3:0-7]=cuda', in layer 3 "
    "these eight; 'hot=0.25', a quarter, those used most; 'hot=auto', as many as fit beside KV. "
    "'link=0.25': of the others that a decode step chooses a quarter comes over the link for that "
    "step; by default as many as pays, 'link=0' none. "
    "Example: 'experts=cpu,experts[0-9]=cuda,hot=auto'";

class Placement {
 public:
  struct Span {  // empty: last before first
    int32_t first = 0;
    int32_t last = INT32_MAX;
    bool has(int32_t i) const { return i >= first && i <= last; }
    bool is_all() const { return first == 0 && last == INT32_MAX; }
  };

  Placement() = default;  // everything on the device

  // "experts=cpu,rest=cuda", "experts[3-20]=cpu": GROUP=PLACE or GROUP[FIRST-LAST]=PLACE, of which
  // later ones win. Groups are `experts` and `rest`, places `cpu` and `cuda`.
  // "experts[3-20:0-7]=cuda": of the layers on the host, these experts on the device besides.
  // "hot=0.25": a quarter of each layer's experts so, those that are used most; "hot=auto": as many
  // as fit beside KV. "link=0.2": of the experts of the host that a layer of a decode step chose, a
  // fifth comes over the link, for that step; "link=0": none; "link=auto", which is the default: as
  // pull_share() says. An Error says what was found and what is possible.
  static core::Result<Placement> parse(std::string_view text);

  Place experts(int32_t layer) const;  // their home
  // The experts, of `count`, of a layer on the host that are named for the device, ascending.
  std::vector<int32_t> named_residents(int32_t layer, int32_t count) const;
  // How many of them are resident: those that are named and the hot ones.
  int32_t residents(int32_t layer, int32_t count) const;
  // Of any of the layers that are on the host, or as many as fit.
  bool has_residents(Span layers, int32_t count) const;
  bool has_hot_to_fit() const { return hot_share_ < 0; }  // "hot=auto", not yet set_hot_share()
  void set_hot_share(double share) { hot_share_ = share; }
  bool has_host_experts(Span layers) const;
  bool has_link_to_measure() const { return link_share_ < 0; }
  double link_share() const { return link_share_; }  // below 0: as fast as it can be
  // As parse() reads it.
  std::string text() const;

  struct Rule {
    Span layers;
    Span experts;  // not all: residents
    Place place = Place::kDevice;
  };
  void add(const Rule& experts) { rules_.push_back(experts); }

 private:
  core::Result<void> parse_part(std::string_view group, std::string_view value);

  std::vector<Rule> rules_;
  double hot_share_ = 0;    // of each host layer's experts; below 0: as many as fit
  double link_share_ = -1;  // of a layer's chosen experts of the host; below 0: pull_share()
};

// What decode steps may do with experts on the host although it changes their results.
struct HybridOptions {
  float preference = 0;  // a router's scores of resident experts count 1 + this many times
  int32_t deferred = 0;  // of a token's experts, those of the least weight: added a layer later
};

// What the machine does at most, 10^9 bytes and 10^12 operations per second; 0: not measured.
struct MachineSpeeds {
  double device_read_gb_s = 0;
  double host_read_gb_s = 0;
  double host_tops = 0;  // products of the experts' types
  double link_gb_s = 0;  // pinned memory to the device
};

// What a model needs and a device has.
struct PlacementSizes {
  int64_t rest_bytes = 0;
  std::vector<int64_t> expert_bytes{};  // by layer; 0: a dense one
  int64_t free_bytes = 0;
  int64_t unread_bytes = 0;  // of rest_bytes what steps do not read, or a row: drafts, embedding
  double used_share = 1;     // of a layer's experts, by one token
  int32_t experts = 1;       // of a layer

  // On the device, without KV and what steps need.
  int64_t device_bytes(const Placement& placement) const;
  int64_t resident_bytes(const Placement& placement) const;  // of these
  int64_t host_bytes(const Placement& placement) const;      // in the host's memory
};

// Of a device, for KV and steps.
inline int64_t bytes_kept(const PlacementSizes& sizes, int64_t kv_bytes) {
  constexpr int64_t kKeptShare = 16;
  return sizes.free_bytes / kKeptShare + kv_bytes;
}

// `placement` with its hot experts as a share: of those of the host's layers as many as fit beside
// the others and `kept_bytes`.
Placement fit_hot_experts(const PlacementSizes& sizes, Placement placement, int64_t kept_bytes);

// The experts of the last layers go to the host until the others and `kept_bytes`, for KV and
// steps, fit on the device. An Error says what the other weights need.
core::Result<Placement> fit_experts(const PlacementSizes& sizes, int64_t kept_bytes);

// What a token reads of the weights, experts being chosen alike.
struct TokenBytes {
  double device = 0;
  double host = 0;
};
TokenBytes token_bytes(const Placement& placement, const PlacementSizes& sizes);

// Tokens per second of one sequence without a context, if the device and then the processor each
// read these at their speed; 0: the speeds are not known.
double tokens_per_s(const TokenBytes& bytes, const MachineSpeeds& speeds);

// Of the chosen experts of the host the share that comes over links: the processor and one of them
// end together; at most 0.3. More links have the same memory to read. 0: the speeds are not known.
double pull_share(const MachineSpeeds& speeds);

// Rows of a step from which on it takes less time to copy a layer's experts to the device than to
// compute them on the processor; INT64_MAX: the speeds are not known.
struct LayerWork {
  int64_t bytes = 0;          // of the layer's experts
  double row_operations = 0;  // of a row's experts
};
int64_t streamed_rows_min(const LayerWork& work, const MachineSpeeds& speeds);

// "experts[5-6]=cpu,rest=cuda: 12.00 GB on the device, 20.00 GB of experts in the host's memory; at
// most 150.0 tokens/s in one stream"; of residents and a device with a limit what they take of it.
std::string describe(const Placement& placement, const PlacementSizes& sizes,
                     const MachineSpeeds& speeds);

// An Error where the host's experts take more than the host's memory; 0: it is not known.
core::Result<void> check_host(int64_t host_bytes, int64_t memory_bytes);

// An Error says what does not fit, and which placement would.
core::Result<void> check_placement(const PlacementSizes& sizes, const Placement& placement,
                                   int64_t kept_bytes);

}  // namespace sluice::model
