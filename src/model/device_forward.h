// The forward pass on a device: the blocks of forward.h as a queue of device ops.
//
// A step copies the batch's numbers (ids, positions, page tables) to fixed places, queues the ops,
// and brings back what was asked for. A step in which every sequence adds one token is padded to a
// few sizes, each of which the device records once and replays.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/device.h"
#include "model/cards.h"
#include "model/device_host_experts.h"
#include "model/device_step.h"
#include "model/forward.h"
#include "model/placer.h"
#include "model/spec.h"
#include "model/step.h"
#include "model/weights.h"

namespace sluice::model {

// What a device cannot run yet, as an Error that says so.
core::Result<void> check_device_support(const Spec& spec);

inline constexpr int64_t kLogitRowsMax = 256;  // computed at once

// Matrices of one list, which the loader puts at equal distances.
kernels::DeviceStack stack_of(const std::vector<Matrix>& matrices);

// Rows that a decode step of `rows` is padded to; 0: it is not recorded.
int64_t recorded_rows(int64_t rows);

class DeviceForward {
 public:
  struct Parts {
    const Spec& spec;        // of one card
    const Weights& weights;  // on the device
    kernels::Device& device;
    int32_t step_tokens_max;
    Forward* host = nullptr;            // runs the experts that the placement leaves on the host
    const kernels::Ops* ops = nullptr;  // the host's
    MachineSpeeds speeds{};
    HybridOptions hybrid{};
    bool is_deterministic = false;
    CardShare share{};                              // of the weights
    std::span<DeviceForward* const> other_cards{};  // of the first: in their order
  };
  static core::Result<std::unique_ptr<DeviceForward>> create(const Parts& parts);

  // Room for page tables of `pages` in all, which lie in `kv`: one a layer, drafts last. It stays
  // there.
  core::Result<void> reserve_pages(int64_t pages, std::span<const kernels::KvLayer> kv);
  int64_t activation_bytes() const;

  // Of the choices of recorded steps in layers whose experts are on the host.
  ResidentCounts resident_counts() const;

  // "prompts of 700 tokens or more take the host's experts to the device", or why none does.
  std::string streaming_text() const;

  // Steps of several cards are the first one's.
  // logits: (logit_rows, vocab). No step is under way.
  void step(const StepBatch& batch, float* logits);
  // logits: (sequences, vocab). No step is under way.
  void draft(const DraftBatch& batch, float* logits);
  // As Model's.
  void submit_draft(const DraftBatch& batch, int32_t vocab);
  int64_t collect_draft(int32_t pass, std::span<int32_t> ids);
  void submit(const StepBatch& batch, const SampleBatch& sampled);
  void collect(std::span<int32_t> ids);

 private:
  using Numbers = StepNumbers;
  using Flight = StepFlight;
  using Output = StepOutput;
  using Wanted = StepWanted;
  using Shape = StepShape;
  using Streaming = ExpertStreaming;
  using StackRoom = ExpertStackRoom;

  explicit DeviceForward(const Parts& parts);
  core::Result<void> allocate();
  int64_t place_rows(Placer placer);
  int64_t place_numbers(Placer placer, Numbers* numbers) const;
  int64_t place_flight(Placer placer, Flight* flight) const;
  kernels::DeviceLimits limits() const;

  // Of the step that is submitted next, or of the pass of the draft layer that is.
  Flight& next_flight() {
    return draft_.flight != nullptr ? *draft_.flight : flights_[submitted_ % flights_.size()];
  }
  enum class Of : uint8_t { kStep, kDraftPass };
  Shape write_numbers(const StepBatch& batch, Of of);
  void write_ids(const StepBatch& batch);
  void write_span(const SequenceSpan& span, Shape* shape);
  void send_numbers(const Shape& shape);
  void send_how(const SampleBatch& sampled, const Shape& shape);

  // A step's ops and copies; all are done on return where the host has a part in it.
  void queue_step(const StepBatch& batch, const Shape& shape, const Wanted& wanted);
  void run_layers(const Shape& shape);
  // Clocks of a recording whose steps are profiled: each ends a part.
  void begin_parts();
  void end_part(QueuePart part);
  void add_times(const std::vector<QueuePart>& parts, StepProfile* profile);
  kernels::DeviceRope rope() const;
  kernels::DeviceRows rows_of(const Shape& shape) const;
  // To hidden_; keys and values, or latent vectors, are stored on the way.
  void embed_rows(const Shape& shape);
  void attention_block(size_t layer, const Shape& shape);
  void attend(const LayerWeights& layer, const kernels::KvLayer& kv, const Shape& shape);
  void attend_latent(const LayerWeights& layer, const kernels::KvLayer& kv, const Shape& shape);
  void store_latent_keys(const LayerWeights& layer, const kernels::KvLayer& kv, const Shape& shape);
  void attention_output(const LayerWeights& layer, int64_t rows);
  void feed_forward(size_t layer, const Shape& shape, int64_t rows);
  void ffn_block(const LayerWeights& layer, int64_t rows);
  void gather_rows(const Shape& shape);
  // device_forward_cards.cpp
  enum Sum : size_t { kAttentionSum, kFfnSum, kSums };  // of a layer
  template <typename Work>
  void on_cards(const Work& work) {
    work(*this);
    for (DeviceForward* card : other_cards_) work(*card);
  }
  kernels::DeviceProduct summed_product(const Matrix& matrix, Sum sum, float* to) const;
  kernels::DeviceResult summed_result() const;
  void send_to_cards(int64_t bytes);
  void take_tokens(int64_t rows, const int32_t* from);
  const LayerWeights& layer_of(int32_t number) const {
    return number < spec_.layers ? weights_.layers[static_cast<size_t>(number)]
                                 : weights_.drafts.front().layer;
  }
  void add_over_cards(Sum sum, int32_t number, int64_t rows);
  const int32_t* slots_on_card() const;  // null: all experts are there
  float* experts_to() const { return share_.is_whole() ? going_on_ : summands_[kFfnSum]; }
  void upload_slots_on_card();
  void expect_same_streams(std::span<const float> values);
  // device_forward_draft.cpp
  int64_t place_drafts(Placer placer);
  Shape begin_draft(const DraftBatch& batch);
  void queue_draft(const DraftBatch& batch, const Shape& shape, const Wanted& wanted);
  int32_t* drafted_of(int32_t pass) const { return draft_.ids + pass * rows_max_; }
  void run_draft(const Shape& shape, DraftBatch::Hidden hidden);
  void join_and_attend(const Shape& shape, DraftBatch::Hidden hidden);
  void draft_feed_forward(const Shape& shape);
  // device_forward_experts.cpp
  int64_t place_experts(Placer placer);
  void limit_experts(kernels::DeviceLimits* limits) const;
  void expert_block(const LayerWeights& layer, int32_t number, const Shape& shape, int64_t rows);
  kernels::DeviceRouteArgs route_of(const LayerWeights& layer, const Shape& shape,
                                    int64_t rows) const;
  void shared_experts(const LayerWeights& layer, int64_t rows);
  // device_forward_host.cpp
  int64_t place_mail(Placer placer);
  core::Result<void> open_mail();
  size_t host_layer_of(const LayerWeights& layer) const;
  int32_t number_of(const LayerWeights& layer) const;
  RoutedRows mailed(int64_t rows) const;
  bool is_on_host(int32_t number) const;  // the layer's routed experts
  void guess_next(int32_t number, const Shape& shape);
  void post_experts(const LayerWeights& layer, int64_t at, const Shape& shape);
  void answer_posts(const StepBatch& batch);
  void host_experts(const LayerWeights& layer, int64_t at, int64_t rows);
  // device_forward_stream.cpp
  void plan_streaming(const MachineSpeeds& speeds);
  bool make_stream_room();
  void begin_streaming(const Shape& shape);
  void bring_first(const Shape& shape);
  bool is_streamed(int64_t rows) const { return streaming_.is_on && rows >= streaming_.rows_min; }
  void bring_next();
  void streamed_experts(const LayerWeights& layer, int64_t at, int64_t rows);
  int64_t expert_room() const { return 2 * streaming_.in_stride + streaming_.down_stride; }
  int64_t experts_brought() const { return spec_.experts.count / share_.cards; }
  int64_t layer_room() const { return experts_brought() * expert_room(); }
  kernels::DeviceExpertArgs experts_in(const LayerWeights& layer, const StackRoom& room) const;
  void add_expert(const LayerWeights& layer, size_t expert, const StackRoom& room, int64_t at);
  // device_forward_resident.cpp
  int32_t residents_of(size_t host_layer) const;
  bool wants_residents() const;
  core::Result<void> make_residents();
  core::Result<void> make_resident_rooms();
  int64_t slots_of_layers() const { return std::ssize(host_layers_) * spec_.experts.count; }
  enum class Slots { kOfCard, kOfAllCards };
  const int32_t* slots_on_device(const LayerWeights& layer, Slots slots) const;  // null: none
  void add_resident(size_t host_layer, size_t expert, int32_t slot);
  void resident_experts(const LayerWeights& layer, int64_t at, int64_t rows);
  void send_slots();
  void bring_residents();
  void exchange_residents();
  void see_choices(const Shape& shape);
  // device_forward_pull.cpp
  uint32_t pull_share_of(const MachineSpeeds& speeds) const;
  core::Result<void> plan_pulls(const MachineSpeeds& speeds);
  int32_t pull_room() const;  // experts
  bool has_experts_to_pull() const;
  core::Result<void> make_pull_room();
  core::Result<void> make_pull_rooms();
  void begin_pulls();
  void pick_experts(const LayerWeights& layer, int64_t at, int64_t rows);
  kernels::DeviceExpertArgs pulled_args(const LayerWeights& layer, int64_t at, int64_t rows) const;
  void pull_experts(const LayerWeights& layer, int64_t at, int64_t rows);
  void pulled_experts(const LayerWeights& layer, int64_t at, int64_t rows);
  void other_experts(const LayerWeights& layer, int64_t at, int64_t rows);
  void report_routing(const StepBatch& batch, const Shape& shape);
  // Logits of rows [first, first + rows) of those that go on, at most kLogitRowsMax.
  void output_block(Vector norm, int64_t first, int64_t rows, const Wanted& wanted);
  void bring_back(int64_t first, int64_t rows, const Wanted& wanted);
  void fetch_ids(int32_t* to, const int32_t* from, int64_t count) {
    device_.fetch(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(from),
                  count * int64_t{sizeof(int32_t)});
  }
  template <typename T>
  void download(T* to, const T* from, int64_t count) {
    download_bytes(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(from),
                   count * int64_t{sizeof(T)});
  }
  void download_bytes(std::byte* to, const std::byte* from, int64_t bytes);
  void observe(const HiddenObserver* observer, int32_t layer, const float* hidden, int64_t rows);
  void observe_normed(const HiddenObserver& observer, Vector norm, std::vector<float> hidden);

  const Spec& spec_;
  const Weights& weights_;
  kernels::Device& device_;
  const bool is_deterministic_;  // a row's values do not depend on the other rows
  const CardShare share_;
  const std::vector<DeviceForward*> other_cards_;  // of the first, in their order
  std::vector<kernels::Device*> other_devices_;    // theirs
  const int64_t rows_max_;
  std::span<const kernels::KvLayer> kv_;  // by layer, drafts last
  int64_t page_entries_max_ = 0;

  kernels::DeviceBuffer rows_storage_;  // what follows points into it
  float* hidden_ = nullptr;             // (rows, hidden): the residual stream
  float* kept_ = nullptr;               // (rows, hidden): of the rows that go on
  float* q_ = nullptr;                  // (rows, heads, head_dim)
  float* q_low_ = nullptr;              // (rows, query rank)
  float* kv_low_ = nullptr;             // (rows, latent rank + rope dims)
  float* k_ = nullptr;                  // (rows, kv_heads, head_dim)
  float* v_ = nullptr;                  // (rows, kv_heads, head_dim)
  uint16_t* q_turned_ = nullptr;        // f16 (rows, heads, head_dim)
  uint16_t* attended_ = nullptr;        // bf16 (rows, heads, head_dim or value dims)
  uint16_t* activated_ = nullptr;       // bf16 (rows, ffn)
  float* summands_[kSums] = {};         // (rows, hidden): of several cards, this one's
  float* logits_ = nullptr;             // (kLogitRowsMax, vocab)
  int32_t* sampled_ids_ = nullptr;      // (rows)
  kernels::SampleRow* how_ = nullptr;   // (rows)
  float* frequencies_ = nullptr;        // (rope dims / 2)

  DeviceDrafts draft_;  // where there are draft layers

  kernels::DeviceBuffer expert_storage_;  // what follows points into it, where there are experts
  uint16_t* normed_ = nullptr;            // bf16 (rows, hidden)
  int32_t* expert_ids_ = nullptr;         // (layers with experts, rows of the step, used)
  float* expert_weights_ = nullptr;       // (the same)
  int32_t* card_slots_ = nullptr;         // (experts): ids to this card's of several, or -1

  // Experts on the host: pinned memory that a layer's rows are handed over in.
  Forward* const host_;
  const HybridOptions hybrid_;
  kernels::DeviceBuffer mail_storage_;
  std::vector<const LayerWeights*> host_layers_;
  ExpertMail mail_;
  ExpertGuesses guesses_;
  float* host_out_ = nullptr;  // (rows, hidden), on the device
  uint32_t* turns_ = nullptr;  // (1), on the device: posted
  uint32_t turns_posted_ = 0;  // the same by the host's count

  Streaming streaming_;
  ExpertResidents residents_;
  ExpertPulls pulls_;
  const kernels::Ops* const host_ops_;
  kernels::DeviceBuffer stream_storage_;  // two layers, and staging
  kernels::DeviceBuffer adopted_;         // the host's matrices, pinned

  kernels::DeviceBuffer device_numbers_;
  Numbers on_device_;
  std::array<Flight, kStepsAhead> flights_;
  std::vector<kernels::LatentPrompt> prompts_;  // of the step that was written last
  uint64_t submitted_ = 0;
  uint64_t collected_ = 0;
  std::map<std::tuple<int64_t, Output, bool>, RecordedStep>
      recordings_;                           // by rows; bool: has clocks
  std::vector<QueuePart>* parts_ = nullptr;  // of the recording that ops are queued for
  kernels::DeviceBuffer staging_;            // pinned: values on their way to the host
  float* going_on_ = nullptr;  // (rows, hidden): hidden_, or in the last layer's end kept_
  const StepBatch* observed_ = nullptr;  // the batch, where somebody looks at its hidden states
};

}  // namespace sluice::model
