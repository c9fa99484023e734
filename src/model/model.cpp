#include "model/model.h"

#include <cmath>

#include "core/cpu.h"
#include "core/cpu_places.h"
#include "kernels/registry.h"
#include "model/cards.h"
#include "model/device_forward.h"
#include "model/forward.h"

namespace sluice::model {

// Of several cards, one that is not the first.
struct OtherCard {
  std::shared_ptr<kernels::Device> device;  // outlives what lies on it
  Weights weights;
  std::unique_ptr<DeviceForward> forward;
  kernels::DeviceBuffer kv_storage;
  std::vector<kernels::KvLayer> kv;  // as State's
};

struct Model::State {
  State(Spec model_spec, Spec of_card, const kernels::Ops& table, int threads)
      : spec(std::move(model_spec)), card_spec(std::move(of_card)), ops(table), pool(threads) {}

  Spec spec;
  Spec card_spec;  // of one card of several; otherwise `spec`
  const kernels::Ops& ops;
  core::ThreadPool pool;
  std::shared_ptr<kernels::Device> device;  // outlives what lies on it
  Weights weights;
  std::vector<std::unique_ptr<OtherCard>> other_cards;
  std::unique_ptr<DeviceForward> device_forward;  // runs the steps where there is a device
  std::unique_ptr<Forward> forward;  // runs them where there is none, or the experts on the host
  MemoryPlan plan;
  int32_t step_tokens_max = 0;
  bool is_deterministic = false;

  core::Buffer kv_storage;
  kernels::DeviceBuffer device_kv;
  int64_t kv_pages = 0;
  std::vector<kernels::KvLayer> kv;  // one a layer, drafts last; base is null until allocated

  int64_t activation_bytes() const {
    int64_t bytes = (forward ? forward->activation_bytes() : 0) +
                    (device_forward ? device_forward->activation_bytes() : 0);
    for (const auto& card : other_cards) bytes += card->forward->activation_bytes();
    return bytes;
  }
};

namespace {

// One layer's keys and values without an arena yet.
kernels::KvLayer kv_layer(const Spec& spec, kernels::KvFormat format) {
  if (spec.latent.rank > 0)
    return {.format = format,
            .kv_heads = 1,
            .head_dim = spec.latent.rank + spec.rope.dims,
            .latent_rank = spec.latent.rank};
  return {.format = format, .kv_heads = spec.kv_heads, .head_dim = spec.head_dim};
}

int64_t layer_page_bytes(const kernels::KvLayer& kv) {
  return kernels::kv_page_bytes(kv);
}

// What a step reads of a card's weights, or of the processor's.
void add_weights(const Weights& weights, MemoryPlan* plan) {
  plan->weight_bytes += weights.bytes();
  plan->step_file_bytes += weights.vector_file_bytes;
  for (const MatrixSource& source : weights.sources) {
    const Matrix& matrix = *source.matrix;
    const double operations =
        2.0 * static_cast<double>(matrix.outputs * matrix.inputs) * source.token_share;
    const int64_t bytes = std::llround(static_cast<double>(source.file_bytes) * source.token_share);
    plan->step_file_bytes += bytes;
    if (source.token_share < 1) plan->expert_file_bytes += bytes;
    if (weights.device_matrices.bytes() > 0 && weights.is_on_host(matrix))
      plan->host_expert_file_bytes += bytes;
    (&matrix == &weights.output ? plan->logit_row_operations : plan->token_operations) +=
        operations;
  }
}

// Of `cards` with as much KV each.
MemoryPlan make_plan(const Weights& weights, int64_t activation_bytes, const kernels::KvLayer& kv,
                     int64_t cards) {
  MemoryPlan plan;
  plan.activation_bytes = activation_bytes;
  const auto layers = std::ssize(weights.layers) + std::ssize(weights.drafts);
  plan.kv_page_bytes = cards * layers * layer_page_bytes(kv);
  plan.kv_token_bytes = plan.kv_page_bytes / kernels::kPageTokens;
  add_weights(weights, &plan);
  return plan;
}

core::Result<const kernels::Ops*> choose_ops(const LoadOptions& options) {
  if (options.arithmetic == Arithmetic::kFast)
    return kernels::select_ops(core::detect_cpu(), options.kernels);
  if (!options.kernels.empty())
    return core::invalid("exact arithmetic always runs the reference kernels, not '{}'",
                         options.kernels);
  return &kernels::reference_ops();
}

Placement::Span layers_with_experts(const Spec& spec) {
  return {spec.experts.count > 0 ? spec.experts.leading_dense : spec.layers, spec.layers - 1};
}

core::Result<void> check_device_options(const LoadOptions& options, const Spec& spec) {
  if (options.arithmetic == Arithmetic::kExact)
    return core::unsupported("exact arithmetic on a device: it runs the reference kernels");
  if (options.kv_format.value_or(kernels::KvFormat::kF16) != kernels::KvFormat::kF16)
    return core::unsupported("this KV type on a device: it keeps f16");
  if (options.is_deterministic) {
    if (options.placement &&
        options.placement->has_residents(layers_with_experts(spec), spec.experts.count))
      return core::unsupported(
          "resident experts (hot=… or single ones in --place) with --deterministic: decode steps "
          "alone use them, and which they are follows from other requests");
    if (options.placement && options.placement->link_share() > 0)
      return core::unsupported(
          "link=… in --place with --deterministic: decode steps alone take experts over the link");
    if (options.hybrid.deferred > 0)
      return core::unsupported(
          "--defer-experts with --deterministic: decode steps alone defer them");
  }
  if (options.other_cards.empty()) return check_device_support(spec);
  return check_device_support(
      TRY(spec_of_card(spec, static_cast<int32_t>(options.other_cards.size()) + 1)));
}

core::Result<kernels::KvFormat> choose_kv_format(const LoadOptions& options, const Spec& spec,
                                                 const kernels::Ops& ops) {
  if (options.device != nullptr) return kernels::KvFormat::kF16;
  if (options.arithmetic == Arithmetic::kExact) {
    if (options.kv_format)
      return core::invalid("exact arithmetic keeps keys and values in float32");
    return kernels::KvFormat::kF32;
  }
  if (spec.latent.rank > 0) {
    if (options.kv_format.value_or(kernels::KvFormat::kF16) != kernels::KvFormat::kF16)
      return core::unsupported("this KV type with latent attention: it keeps f16");
    return kernels::KvFormat::kF16;
  }
  if (!options.kv_format) return ops.kv_format(spec.head_dim);
  if (!ops.reads_kv(*options.kv_format, spec.head_dim))
    return core::unsupported("this KV type with kernels '{}' and heads of {}: choose another",
                             ops.name, spec.head_dim);
  return *options.kv_format;
}

// The first thread is the caller, and not ours to pin.
void pin_workers(core::ThreadPool& pool) {
  const std::vector<int> cpus =
      core::cpus_of_threads(core::allowed_places(core::kSystemDevices), pool.threads());
  if (cpus.empty()) return;
  pool.run([&](int thread, int) {
    if (thread > 0) core::pin_this_thread(cpus[static_cast<size_t>(thread)]);
  });
}

}  // namespace

core::Result<std::unique_ptr<formats::Checkpoint>> open_checkpoint(const std::string& model) {
  formats::Checkpoint::Remains remains = formats::Checkpoint::salvage(model);
  if (remains.problems.empty()) return std::move(remains.checkpoint);
  if (remains.checkpoint != nullptr) find_faults(*remains.checkpoint, &remains.problems);
  return remains.error();
}

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::~Model() = default;

core::Result<void> Model::make_forward(State* state, const LoadOptions& options) {
  const bool has_device = state->device != nullptr;
  if (!has_device || state->weights.placement.has_host_experts(layers_with_experts(state->spec)))
    state->forward = std::make_unique<Forward>(
        Forward::Parts{.spec = state->spec,
                       .weights = state->weights,
                       .ops = state->ops,
                       .pool = state->pool,
                       .step_tokens_max = state->step_tokens_max,
                       .role = has_device ? Forward::Role::kRoutedExperts : Forward::Role::kSteps});
  if (!has_device) return {};
  const auto cards = static_cast<int32_t>(state->other_cards.size()) + 1;
  std::vector<DeviceForward*> others;
  for (const auto& card : state->other_cards) {
    card->forward =
        TRY(DeviceForward::create({.spec = state->card_spec,
                                   .weights = card->weights,
                                   .device = *card->device,
                                   .step_tokens_max = state->step_tokens_max,
                                   .ops = &state->ops,
                                   .speeds = options.speeds,
                                   .hybrid = options.hybrid,
                                   .is_deterministic = options.is_deterministic,
                                   .share = {static_cast<int32_t>(others.size()) + 1, cards}}));
    others.push_back(card->forward.get());
  }
  state->device_forward = TRY(DeviceForward::create({.spec = state->card_spec,
                                                     .weights = state->weights,
                                                     .device = *state->device,
                                                     .step_tokens_max = state->step_tokens_max,
                                                     .host = state->forward.get(),
                                                     .ops = &state->ops,
                                                     .speeds = options.speeds,
                                                     .hybrid = options.hybrid,
                                                     .is_deterministic = options.is_deterministic,
                                                     .share = {0, cards},
                                                     .other_cards = others}));
  if (options.placed && state->forward != nullptr)
    options.placed(state->device_forward->streaming_text());
  return {};
}

namespace {

// Where experts lie. What each card will hold is said, and found too much, before anything is
// loaded.
core::Result<Placement> plan_cards(const std::vector<WeightLoader>& loaders) {
  std::vector<PlacementSizes> sizes;
  for (const WeightLoader& loader : loaders) sizes.push_back(TRY(loader.measure()));
  const WeightLoader& first = loaders.front();
  Placement placement = TRY(place_over_cards(sizes, first.placement, first.kv_bytes));
  int64_t host_bytes = 0;
  for (const PlacementSizes& card : sizes) host_bytes += card.host_bytes(placement);
  TRY(check_host(host_bytes, first.host_bytes));
  if (first.placed) first.placed(describe_cards(first.spec, sizes, placement, first.speeds));
  return placement;
}

// They are in the host's memory once, for all cards.
void see_host_experts(const Weights& first, Weights* other) {
  for (size_t i = 0; i < first.layers.size(); ++i) {
    if (first.placement.experts(static_cast<int32_t>(i)) != Place::kHost) continue;
    const LayerWeights& from = first.layers[i];
    LayerWeights& to = other->layers[i];
    to.expert_gate = from.expert_gate;
    to.expert_up = from.expert_up;
    to.expert_down = from.expert_down;
  }
}

}  // namespace

core::Result<void> Model::load_weights(State* state, const formats::Checkpoint& checkpoint,
                                       const LoadOptions& options) {
  const auto cards = static_cast<int32_t>(options.other_cards.size()) + 1;
  std::optional<Placement> placement = options.placement;
  const auto loader_of = [&](kernels::Device* device, int32_t card) {
    return WeightLoader{.checkpoint = checkpoint,
                        .spec = state->spec,
                        .ops = state->ops,
                        .pool = state->pool,
                        .decoded_type = options.arithmetic == Arithmetic::kExact
                                            ? core::DType::kF32
                                            : core::DType::kBF16,
                        .drafts = options.drafts,
                        .device = device,
                        .share = {card, cards},
                        .placement = placement,
                        .kv_bytes = options.kv_bytes / cards,
                        .host_bytes = options.host_bytes,
                        .speeds = options.speeds,
                        .placed = options.placed,
                        .progress = options.progress};
  };
  state->device = options.device;
  std::vector<WeightLoader> loaders = {loader_of(options.device.get(), 0)};
  for (const auto& device : options.other_cards) {
    state->other_cards.push_back(std::make_unique<OtherCard>());
    state->other_cards.back()->device = device;
    loaders.push_back(loader_of(device.get(), static_cast<int32_t>(loaders.size())));
  }
  if (cards > 1) placement = TRY(plan_cards(loaders));
  TRY(loaders[0].load(&state->weights));
  for (size_t i = 0; i < state->other_cards.size(); ++i) {
    Weights& weights = state->other_cards[i]->weights;
    TRY(loaders[i + 1].load(&weights));
    see_host_experts(state->weights, &weights);
  }
  return {};
}

core::Result<std::unique_ptr<Model>> Model::load(const formats::Checkpoint& checkpoint,
                                                 const LoadOptions& options) {
  ASSERT(options.threads >= 1 && options.step_tokens_max >= 1, "{} threads, {} tokens a step",
         options.threads, options.step_tokens_max);
  ASSERT(options.device != nullptr || options.other_cards.empty(), "{} cards behind no first one",
         options.other_cards.size());
  const kernels::Ops* ops = TRY(choose_ops(options));
  auto read = read_spec(checkpoint);
  if (!read.ok()) {
    formats::Problems problems;
    find_faults(checkpoint, &problems);
    return problems.error();
  }
  Spec spec = std::move(*read);
  if (options.device != nullptr) TRY(check_device_options(options, spec));
  const kernels::KvFormat kv_format = TRY(choose_kv_format(options, spec, *ops));
  Spec card_spec = TRY(spec_of_card(spec, static_cast<int32_t>(options.other_cards.size()) + 1));
  auto state =
      std::make_unique<State>(std::move(spec), std::move(card_spec), *ops, options.threads);
  pin_workers(state->pool);
  TRY(load_weights(state.get(), checkpoint, options));
  state->step_tokens_max = options.step_tokens_max;
  state->is_deterministic = options.is_deterministic;
  TRY(make_forward(state.get(), options));
  const kernels::KvLayer kv = kv_layer(state->card_spec, kv_format);
  state->kv.assign(state->weights.layers.size() + state->weights.drafts.size(), kv);
  for (const auto& card : state->other_cards) card->kv = state->kv;
  state->plan =
      make_plan(state->weights, state->activation_bytes(), kv, std::ssize(state->other_cards) + 1);
  for (const auto& card : state->other_cards) add_weights(card->weights, &state->plan);
  return std::unique_ptr<Model>(new Model(std::move(state)));
}

const Spec& Model::spec() const {
  return state_->spec;
}
const MemoryPlan& Model::memory_plan() const {
  return state_->plan;
}
const Weights& Model::weights() const {
  return state_->weights;
}
int32_t Model::step_tokens_max() const {
  return state_->step_tokens_max;
}
const kernels::Ops& Model::ops() const {
  return state_->ops;
}
core::ThreadPool& Model::pool() {
  return state_->pool;
}
bool Model::is_deterministic() const {
  return state_->is_deterministic;
}
kernels::Device* Model::device() const {
  return state_->device.get();
}
int32_t Model::cards() const {
  return static_cast<int32_t>(state_->other_cards.size()) + 1;
}
kernels::KvFormat Model::kv_format() const {
  return state_->kv.front().format;
}
int64_t Model::kv_page_bytes() const {
  return state_->plan.kv_page_bytes;
}
int64_t Model::kv_pages() const {
  return state_->kv_pages;
}

namespace {

void place_kv(int64_t pages, std::byte* base, std::vector<kernels::KvLayer>* kv) {
  for (kernels::KvLayer& layer : *kv) {
    layer.base = base;
    base += pages * layer_page_bytes(layer);
  }
}

struct DeviceKv {
  kernels::Device& device;
  DeviceForward& forward;
  kernels::DeviceBuffer* storage;
  std::vector<kernels::KvLayer>* kv;
};
core::Result<void> allocate_on_device(int64_t pages, const DeviceKv& of) {
  *of.storage = {};
  int64_t bytes = 0;
  for (const kernels::KvLayer& layer : *of.kv) bytes += pages * layer_page_bytes(layer);
  *of.storage = TRY(of.device.allocate(bytes, kernels::MemoryKind::kDevice));
  place_kv(pages, of.storage->data(), of.kv);
  return of.forward.reserve_pages(pages, *of.kv);
}

}  // namespace

core::Result<void> Model::allocate_kv(int64_t pages) {
  ASSERT(pages >= 1, "{} pages", pages);
  if (state_->device != nullptr) {
    TRY(allocate_on_device(
        pages, {*state_->device, *state_->device_forward, &state_->device_kv, &state_->kv}));
    for (const auto& card : state_->other_cards)
      TRY(allocate_on_device(pages, {*card->device, *card->forward, &card->kv_storage, &card->kv}));
  } else {
    state_->kv_storage = core::Buffer(pages * state_->plan.kv_page_bytes);
    state_->forward->reserve_positions(pages * kernels::kPageTokens);
    place_kv(pages, state_->kv_storage.data(), &state_->kv);
  }
  state_->kv_pages = pages;
  state_->plan.activation_bytes = state_->activation_bytes();
  return {};
}

// The pages that a step writes; earlier ones were checked when they were written.
void Model::check_pages(std::span<const SequenceSpan> sequences) const {
  for (const SequenceSpan& span : sequences) {
    const int32_t last = (span.first_position + span.rows - 1) / kernels::kPageTokens;
    for (int32_t page = span.first_position / kernels::kPageTokens; page <= last; ++page)
      ASSERT(span.pages[page] >= 0 && span.pages[page] < state_->kv_pages, "page {} of {}",
             span.pages[page], state_->kv_pages);
  }
}

ResidentCounts Model::resident_counts() const {
  return state_->device_forward ? state_->device_forward->resident_counts() : ResidentCounts();
}

void Model::forward(const StepBatch& batch, float* logits) {
  check_pages(batch.sequences);
  if (state_->device_forward)
    state_->device_forward->step(batch, logits);
  else
    state_->forward->step(batch, state_->kv, logits);
}

void Model::submit(const StepBatch& batch, const SampleBatch& sampled) {
  ASSERT(state_->device_forward != nullptr, "the processor's steps give logits");
  check_pages(batch.sequences);
  state_->device_forward->submit(batch, sampled);
}

bool Model::goes_ahead() const {
  return state_->device_forward != nullptr && state_->forward == nullptr;
}

void Model::collect(std::span<int32_t> ids) {
  state_->device_forward->collect(ids);
}

bool Model::has_drafts() const {
  return !state_->weights.drafts.empty();
}

void Model::draft(const DraftBatch& batch, float* logits) {
  check_pages(batch.sequences);
  if (state_->device_forward)
    state_->device_forward->draft(batch, logits);
  else
    state_->forward->draft(batch, state_->kv.back(), logits);
}

void Model::submit_draft(const DraftBatch& batch, int32_t vocab) {
  ASSERT(state_->device_forward != nullptr, "the processor's drafts are logits");
  check_pages(batch.sequences);
  state_->device_forward->submit_draft(batch, vocab);
}

int64_t Model::collect_draft(int32_t pass, std::span<int32_t> ids) {
  return state_->device_forward->collect_draft(pass, ids);
}

}  // namespace sluice::model
