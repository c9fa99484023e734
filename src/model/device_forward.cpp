#include "model/device_forward.h"

#include <algorithm>
#include <cstring>

#include "core/math.h"
#include "model/rope.h"

namespace sluice::model {
namespace {

using kernels::DeviceResult;
using kernels::MemoryKind;

constexpr int64_t kRecordedRowsMax = 256;  // of a decode step
// Of one sequence in a step: a token and its drafts. With latent attention they are as many rows
// that are alone, so that the step is recorded: rows are stored before any is read.
constexpr int32_t kVerifiedRowsMax = 16;
constexpr int64_t kStagingBytes = 4 << 20;  // of values on their way to the host

// Of arrays for steps of up to `tokens` rows.
int64_t rows_for(int64_t tokens, bool is_deterministic) {
  const int64_t rows = std::max(recorded_rows(tokens), tokens);
  return is_deterministic ? core::round_up(rows, kernels::kProductRows) : rows;
}

}  // namespace

core::Result<void> check_device_support(const Spec& spec) {
  const LatentSpec& latent = spec.latent;
  if (latent.rank > kernels::kDeviceLatentRankMax ||
      (latent.rank > 0 && spec.rope.dims > kernels::kDeviceLatentTurnedMax))
    return core::unsupported(
        "latent attention of rank {} with {} dimensions that turn on a device: at most {} and {}",
        latent.rank, spec.rope.dims, kernels::kDeviceLatentRankMax,
        kernels::kDeviceLatentTurnedMax);
  for (const int64_t inputs :
       {int64_t{spec.hidden}, int64_t{spec.ffn}, spec.attended_columns(), int64_t{latent.rank},
        int64_t{latent.query_rank}, int64_t{latent.nope_dims}, int64_t{spec.experts.ffn},
        int64_t{spec.experts.shared_ffn}})
    if (inputs % 8 != 0)
      return core::unsupported("a matrix of {} inputs on a device: expected a multiple of 8",
                               inputs);
  return {};
}

kernels::DeviceStack stack_of(const std::vector<Matrix>& matrices) {
  const int64_t stride = matrices.size() > 1 ? matrices[1].data - matrices[0].data : 0;
  for (size_t i = 0; i < matrices.size(); ++i)
    ASSERT(matrices[i].data == matrices[0].data + static_cast<int64_t>(i) * stride,
           "matrix {} of a stack lies apart", i);
  return {matrices[0], stride, static_cast<int32_t>(matrices.size())};
}

int64_t recorded_rows(int64_t rows) {
  if (rows <= 4) return rows;
  if (rows <= 64) return core::round_up(rows, 8);
  if (rows <= kRecordedRowsMax) return core::round_up(rows, 32);
  return 0;
}

DeviceForward::DeviceForward(const Parts& parts)
    : spec_(parts.spec),
      weights_(parts.weights),
      device_(parts.device),
      is_deterministic_(parts.is_deterministic),
      share_(parts.share),
      other_cards_(parts.other_cards.begin(), parts.other_cards.end()),
      rows_max_(rows_for(parts.step_tokens_max, parts.is_deterministic)),
      host_(parts.host),
      hybrid_(parts.hybrid),
      host_ops_(parts.ops) {
  for (const LayerWeights& layer : weights_.layers)
    if (const int32_t number = number_of(layer);
        spec_.has_experts(number) && weights_.placement.experts(number) == Place::kHost)
      host_layers_.push_back(&layer);
  for (DeviceForward* card : other_cards_) other_devices_.push_back(&card->device_);
  // Streamed experts are rounded as the device does, and only long steps stream.
  if (!host_layers_.empty() && !is_deterministic_) plan_streaming(parts.speeds);
}

core::Result<std::unique_ptr<DeviceForward>> DeviceForward::create(const Parts& parts) {
  std::unique_ptr<DeviceForward> forward(new DeviceForward(parts));
  if (const auto done = forward->allocate(); !done.ok()) return done.error();
  if (const auto done = forward->make_residents(); !done.ok()) return done.error();
  if (const auto done = forward->plan_pulls(parts.speeds); !done.ok()) return done.error();
  return forward;
}

int64_t DeviceForward::place_rows(Placer placer) {
  placer.place(&hidden_, rows_max_ * spec_.hidden);
  placer.place(&kept_, rows_max_ * spec_.hidden);
  placer.place(&q_, rows_max_ * spec_.q_columns());
  if (spec_.latent.rank > 0) {
    placer.place(&q_low_, rows_max_ * spec_.latent.query_rank);
    placer.place(&kv_low_, rows_max_ * (spec_.latent.rank + spec_.rope.dims));
  } else {
    placer.place(&k_, rows_max_ * spec_.kv_columns());
    placer.place(&v_, rows_max_ * spec_.kv_columns());
    placer.place(&q_turned_, rows_max_ * spec_.q_columns());
  }
  placer.place(&attended_, rows_max_ * spec_.attended_columns());
  placer.place(&activated_, rows_max_ * std::max(spec_.ffn, spec_.experts.shared_ffn));
  if (share_.is_first()) {
    placer.place(&logits_, kLogitRowsMax * spec_.vocab);
    placer.place(&sampled_ids_, rows_max_);
    placer.place(&how_, rows_max_);
  }
  if (!share_.is_whole())
    for (float*& summand : summands_) placer.place(&summand, rows_max_ * spec_.hidden);
  placer.place(&frequencies_, spec_.rope.dims / 2);
  return placer.bytes();
}

int64_t DeviceForward::place_numbers(Placer placer, Numbers* numbers) const {
  placer.place(&numbers->ids, rows_max_);
  placer.place(&numbers->positions, rows_max_);
  placer.place(&numbers->tables, rows_max_);
  placer.place(&numbers->single_rows, rows_max_);
  placer.place(&numbers->logit_rows, rows_max_);
  placer.place(&numbers->state_rows, rows_max_);
  placer.place(&numbers->tiles, rows_max_);
  placer.place(&numbers->pages, page_entries_max_);
  return placer.bytes();
}

int64_t DeviceForward::place_flight(Placer placer, Flight* flight) const {
  placer.place(&flight->how, rows_max_);
  placer.place(&flight->ids, rows_max_);
  return placer.bytes();
}

kernels::DeviceLimits DeviceForward::limits() const {
  const int64_t joined = weights_.drafts.empty() ? 0 : int64_t{2} * spec_.hidden;
  kernels::DeviceLimits limits{.is_deterministic = is_deterministic_,
                               .rows_max = rows_max_,
                               .inputs_max = std::max<int64_t>(
                                   {spec_.hidden, joined, spec_.attended_columns(),
                                    spec_.latent.query_rank, spec_.ffn, spec_.experts.shared_ffn}),
                               .outputs_max = std::max(spec_.ffn, spec_.experts.shared_ffn),
                               .heads = spec_.heads,
                               .head_dim = spec_.head_dim,
                               .singles_max = static_cast<int32_t>(rows_max_)};
  for (const MatrixSource& source : weights_.sources)
    if (source.matrix->type != core::DType::kBF16)
      limits.matrix_values_max =
          std::max(limits.matrix_values_max, source.matrix->outputs * source.matrix->inputs);
  if (spec_.latent.rank > 0) {
    limits.latent_rank = spec_.latent.rank;
    limits.latent_row = spec_.latent.rank + spec_.rope.dims;
    limits.nope_dims = spec_.latent.nope_dims;
  }
  limit_experts(&limits);
  return limits;
}

core::Result<void> DeviceForward::allocate() {
  rows_storage_ = TRY(device_.allocate(place_rows(Placer(nullptr)), MemoryKind::kDevice));
  place_rows(Placer(rows_storage_.data()));
  if (!weights_.drafts.empty()) {
    draft_.storage = TRY(device_.allocate(place_drafts(Placer(nullptr)), MemoryKind::kDevice));
    place_drafts(Placer(draft_.storage.data()));
  }
  if (spec_.experts.count > 0) {
    expert_storage_ = TRY(device_.allocate(place_experts(Placer(nullptr)), MemoryKind::kDevice));
    place_experts(Placer(expert_storage_.data()));
  }
  upload_slots_on_card();
  if (host_ != nullptr) TRY(open_mail());
  staging_ = TRY(device_.allocate(kStagingBytes, MemoryKind::kPinned));
  TRY(device_.reserve(limits()));

  std::vector<float> factors;
  if (weights_.rope_factors != nullptr) {
    factors.resize(static_cast<size_t>(spec_.rope.dims / 2));
    download(factors.data(), weights_.rope_factors, std::ssize(factors));
  }
  const std::vector<float> frequencies = rope_frequencies(spec_.rope, factors);
  device_.upload(reinterpret_cast<std::byte*>(frequencies_),
                 reinterpret_cast<const std::byte*>(frequencies.data()),
                 std::ssize(frequencies) * int64_t{sizeof(float)});
  return {};
}

core::Result<void> DeviceForward::reserve_pages(int64_t pages,
                                                std::span<const kernels::KvLayer> kv) {
  kv_ = kv;
  const int64_t of_one =
      std::min(pages, core::div_ceil(int64_t{spec_.context_length}, kernels::kPageTokens));
  page_entries_max_ = std::max(pages, of_one * rows_max_);
  const int64_t bytes = place_numbers(Placer(nullptr), &on_device_);
  recordings_.clear();
  draft_.recordings.clear();
  device_numbers_ = TRY(device_.allocate(bytes, MemoryKind::kDevice));
  place_numbers(Placer(device_numbers_.data()), &on_device_);
  if (!share_.is_first()) return {};
  const auto open = [&](Flight* flight) -> core::Result<void> {
    const int64_t others = place_flight(Placer(nullptr), flight);
    flight->storage = TRY(device_.allocate(bytes + others, MemoryKind::kPinned));
    place_numbers(Placer(flight->storage.data()), &flight->numbers);
    place_flight(Placer(flight->storage.data() + bytes), flight);
    return {};
  };
  for (Flight& flight : flights_) TRY(open(&flight));
  if (weights_.drafts.empty()) return {};
  for (Flight& flight : draft_.flights) TRY(open(&flight));
  return {};
}

int64_t DeviceForward::activation_bytes() const {
  return rows_storage_.bytes() + draft_.storage.bytes() + expert_storage_.bytes() +
         device_numbers_.bytes() + device_.reserved_bytes();
}

// ---- The batch's numbers

void DeviceForward::write_span(const SequenceSpan& span, Shape* shape) {
  const Numbers& on_host = next_flight().numbers;
  const int64_t positions = span.first_position + span.rows;
  const int64_t pages = core::div_ceil(positions, int64_t{kernels::kPageTokens});
  ASSERT(shape->page_entries + pages <= page_entries_max_, "page tables of {} entries, at most {}",
         shape->page_entries + pages, page_entries_max_);
  std::copy_n(span.pages, pages, on_host.pages + shape->page_entries);
  for (int32_t i = 0; i < span.rows; ++i) {
    on_host.positions[span.first_row + i] = span.first_position + i;
    on_host.tables[span.first_row + i] = static_cast<int32_t>(shape->page_entries);
  }
  shape->page_entries += pages;
  const bool is_prompt = span.rows > (spec_.latent.rank > 0 ? kVerifiedRowsMax : 1);
  shape->has_prompts = shape->has_prompts || is_prompt;
  if (is_prompt) prompts_.push_back({span.first_row, span.rows, static_cast<int32_t>(positions)});
  // Attention of rows that are alone is another kernel, which sums in another order.
  if (!is_prompt && !is_deterministic_) {
    for (int32_t i = 0; i < span.rows; ++i)
      on_host.single_rows[shape->singles++] = span.first_row + i;
    return;
  }
  for (int32_t at = 0; at < span.rows; at += kernels::kPromptTileRows)
    on_host.tiles[shape->tiles++] = {span.first_row + at,
                                     std::min(span.rows - at, kernels::kPromptTileRows)};
}

void DeviceForward::write_ids(const StepBatch& batch) {
  int32_t* ids = next_flight().numbers.ids;
  std::copy(batch.token_ids.begin(), batch.token_ids.end(), ids);
  for (size_t row = 0; row < batch.drafted.size(); ++row) {
    const DraftedToken& from = batch.drafted[row];
    ASSERT(from.pass < draft_.passes, "pass {} of {}", from.pass, draft_.passes);
    if (from.pass >= 0) ids[row] = -1 - static_cast<int32_t>(from.pass * rows_max_) - from.sequence;
  }
  if (batch.sampled_rows.empty()) return;
  const int64_t before = flights_[(submitted_ + 1) % flights_.size()].logit_rows;
  for (size_t row = 0; row < batch.sampled_rows.size(); ++row) {
    const int32_t from = batch.sampled_rows[row];
    ASSERT(from < before, "row {} of {} that were sampled", from, before);
    if (from >= 0) ids[row] = -1 - from;
  }
}

DeviceForward::Shape DeviceForward::write_numbers(const StepBatch& batch, Of of) {
  check_batch(batch, {.rows_max = rows_max_, .vocab = spec_.vocab});
  observed_ = batch.observer != nullptr ? &batch : nullptr;
  device_.await(static_cast<int>(submitted_ % flights_.size()));  // what it held has been read
  const Numbers& on_host = next_flight().numbers;
  const auto rows = static_cast<int64_t>(batch.token_ids.size());
  const auto logit_rows = static_cast<int64_t>(batch.logit_rows.size());
  Shape shape{.rows = rows,
              .logit_rows = logit_rows,
              .last_rows = batch.hidden == KeepHidden::kYes ? rows : logit_rows};
  write_ids(batch);
  prompts_.clear();
  std::copy(batch.logit_rows.begin(), batch.logit_rows.end(), on_host.logit_rows);
  for (const SequenceSpan& span : batch.sequences) write_span(span, &shape);
  // The longest first: tiles late in a prompt read the most.
  std::reverse(on_host.tiles, on_host.tiles + shape.tiles);

  // Of a step all rows go on; of a pass the last one of each sequence, or none.
  const bool all_go_on = logit_rows == rows;
  const int64_t padded = recorded_rows(rows);
  if (shape.has_prompts || (of == Of::kStep && !all_go_on) || padded == 0 || observed_ != nullptr)
    return shape;
  for (int64_t row = rows; row < padded; ++row) {
    on_host.ids[row] = 0;
    on_host.positions[row] = 0;
    on_host.tables[row] = -1;
    if (is_deterministic_)
      on_host.tiles[shape.tiles++] = {static_cast<int32_t>(row), 0};
    else
      on_host.single_rows[shape.singles++] = static_cast<int32_t>(row);
  }
  shape.rows = padded;
  shape.logit_rows = shape.last_rows = recorded_rows(logit_rows);
  for (int64_t i = logit_rows; i < shape.logit_rows; ++i)
    on_host.logit_rows[i] = all_go_on ? static_cast<int32_t>(i) : 0;
  shape.is_recorded = true;
  return shape;
}

void DeviceForward::send_numbers(const Shape& shape) {
  const Flight& flight = next_flight();
  const auto* end = reinterpret_cast<const std::byte*>(flight.numbers.pages + shape.page_entries);
  const int64_t bytes = end - flight.storage.data();
  device_.send(device_numbers_.data(), flight.storage.data(), bytes);
  send_to_cards(bytes);
}

void DeviceForward::send_how(const SampleBatch& sampled, const Shape& shape) {
  kernels::SampleRow* how = next_flight().how;
  const auto padding = std::copy(sampled.rows.begin(), sampled.rows.end(), how);
  std::fill(padding, how + shape.logit_rows, kernels::SampleRow());
  device_.send(reinterpret_cast<std::byte*>(how_), reinterpret_cast<const std::byte*>(how),
               shape.logit_rows * int64_t{sizeof(kernels::SampleRow)});
}

// ---- Blocks

kernels::DeviceRope DeviceForward::rope() const {
  return {.frequencies = frequencies_,
          .magnitude = static_cast<float>(spec_.rope.magnitude),
          .dims = spec_.rope.dims,
          .layout = spec_.rope.layout};
}

kernels::DeviceRows DeviceForward::rows_of(const Shape& shape) const {
  return {shape.rows, on_device_.positions, on_device_.tables, on_device_.pages};
}

void DeviceForward::attend(const LayerWeights& layer, const kernels::KvLayer& kv,
                           const Shape& shape) {
  const kernels::DeviceRows rows = rows_of(shape);
  device_.linear({.hidden = hidden_,
                  .norm = layer.attention_norm,
                  .epsilon = spec_.norm_epsilon,
                  .rows = shape.rows,
                  .products = {{{layer.q, q_}, {layer.k, k_}, {layer.v, v_}}},
                  .product_count = 3});
  end_part(QueuePart::kAttentionProducts);
  device_.turn_and_attend(
      {.rows = rows,
       .kv = kv,
       .q = {.x = q_, .bias = layer.q_bias, .norm = layer.q_norm, .heads = spec_.heads},
       .k = {.x = k_, .bias = layer.k_bias, .norm = layer.k_norm, .heads = spec_.kv_heads},
       .v = v_,
       .v_bias = layer.v_bias,
       .epsilon = spec_.norm_epsilon,
       .rope = rope(),
       .q_out = q_turned_},
      {.rows = rows,
       .kv = kv,
       .heads = spec_.heads,
       .scale = spec_.attention_scale,
       .q = q_turned_,
       .out = attended_,
       .single_rows = on_device_.single_rows,
       .singles = shape.singles,
       .tiles = on_device_.tiles,
       .tile_count = shape.tiles});
  end_part(QueuePart::kAttention);
  attention_output(layer, shape.rows);
}

void DeviceForward::attention_output(const LayerWeights& layer, int64_t rows) {
  device_.linear({.x = attended_,
                  .rows = rows,
                  .products = {{summed_product(layer.attention_output, kAttentionSum, hidden_)}},
                  .result = summed_result(),
                  .bias = share_.is_whole() ? layer.attention_output_bias : nullptr});
  end_part(QueuePart::kAttentionProducts);
}

void DeviceForward::ffn_block(const LayerWeights& layer, int64_t rows) {
  device_.linear({.hidden = going_on_,
                  .norm = layer.ffn_norm,
                  .epsilon = spec_.norm_epsilon,
                  .rows = rows,
                  .products = {{{layer.gate, nullptr}, {layer.up, nullptr}}},
                  .product_count = 2,
                  .result = DeviceResult::kSiluMul,
                  .activated = activated_});
  device_.linear({.x = activated_,
                  .rows = rows,
                  .products = {{summed_product(layer.down, kFfnSum, going_on_)}},
                  .result = summed_result()});
  end_part(QueuePart::kFfn);
}

// The rows go on whose logits somebody reads.
void DeviceForward::gather_rows(const Shape& shape) {
  going_on_ = kept_;
  if (shape.logit_rows == 0) return;
  device_.embed({.type = core::DType::kF32,
                 .table = reinterpret_cast<const std::byte*>(hidden_),
                 .columns = spec_.hidden,
                 .ids = on_device_.logit_rows,
                 .rows = shape.logit_rows,
                 .out = kept_});
}

void DeviceForward::output_block(Vector norm, int64_t first, int64_t rows, const Wanted& wanted) {
  device_.linear({.hidden = going_on_ + first * spec_.hidden,
                  .norm = norm,
                  .epsilon = spec_.norm_epsilon,
                  .rows = rows,
                  .products = {{{weights_.output, logits_}}}});
  end_part(QueuePart::kOutput);
  if (wanted.output == Output::kLogits) return;
  device_.sample({.logits = logits_,
                  .rows = rows,
                  .stride = spec_.vocab,
                  .columns = wanted.vocab,
                  .how = wanted.output == Output::kSampled ? how_ + first : nullptr,
                  .ids = wanted.ids + first});
  end_part(QueuePart::kSampling);
}

void DeviceForward::begin_parts() {
  if (parts_ == nullptr) return;
  parts_->clear();
  device_.stamp(0);
}

void DeviceForward::end_part(QueuePart part) {
  if (parts_ == nullptr) return;
  parts_->push_back(part);
  device_.stamp(static_cast<int32_t>(parts_->size()));
}

void DeviceForward::add_times(const std::vector<QueuePart>& parts, StepProfile* profile) {
  device_.wait();
  for (int32_t i = 0; i < std::ssize(parts); ++i)
    profile->queue_ns[static_cast<size_t>(parts[static_cast<size_t>(i)])] +=
        device_.stamped_ns(i, i + 1);
}

void DeviceForward::embed_rows(const Shape& shape) {
  going_on_ = hidden_;
  device_.embed({.type = weights_.embedding.type,
                 .table = weights_.embedding.data,
                 .columns = spec_.hidden,
                 .ids = on_device_.ids,
                 .rows = shape.rows,
                 .out = hidden_});
}

void DeviceForward::attention_block(size_t layer, const Shape& shape) {
  if (spec_.latent.rank > 0)
    attend_latent(weights_.layers[layer], kv_[layer], shape);
  else
    attend(weights_.layers[layer], kv_[layer], shape);
}

void DeviceForward::feed_forward(size_t layer, const Shape& shape, int64_t rows) {
  const auto number = static_cast<int32_t>(layer);
  if (spec_.has_experts(number))
    expert_block(weights_.layers[layer], number, shape, rows);
  else
    ffn_block(weights_.layers[layer], rows);
}

void DeviceForward::run_layers(const Shape& shape) {
  const HiddenObserver* observer = observed_ != nullptr ? observed_->observer : nullptr;
  on_cards([&](DeviceForward& card) { card.embed_rows(shape); });
  begin_parts();
  observe(observer, -1, hidden_, shape.rows);
  int64_t rows = shape.rows;
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const auto number = static_cast<int32_t>(i);
    on_cards([&](DeviceForward& card) { card.attention_block(i, shape); });
    add_over_cards(kAttentionSum, number, shape.rows);
    if (i + 1 == weights_.layers.size() && shape.last_rows < shape.rows) {
      on_cards([&](DeviceForward& card) { card.gather_rows(shape); });
      rows = shape.last_rows;
      if (rows == 0) return;
    }
    // This one last: the processor may have a part of its own, which others do not wait for.
    for (DeviceForward* card : other_cards_) card->feed_forward(i, shape, rows);
    feed_forward(i, shape, rows);
    add_over_cards(kFfnSum, number, rows);
    if (!is_on_host(number)) guess_next(number, shape);
    observe(observer, number, going_on_, rows);
  }
  if (shape.logit_rows < shape.last_rows) gather_rows(shape);
}

// ---- A step

void DeviceForward::step(const StepBatch& batch, float* logits) {
  ASSERT(submitted_ == collected_, "{} steps are under way", submitted_ - collected_);
  const Shape shape = write_numbers(batch, Of::kStep);
  send_numbers(shape);
  queue_step(batch, shape, {.logits = logits});
}

void DeviceForward::submit(const StepBatch& batch, const SampleBatch& sampled) {
  ASSERT(submitted_ - collected_ < flights_.size(), "{} steps are under way",
         submitted_ - collected_);
  ASSERT(sampled.rows.empty() || sampled.rows.size() == batch.logit_rows.size(),
         "{} of {} rows are sampled", sampled.rows.size(), batch.logit_rows.size());
  const Shape shape = write_numbers(batch, Of::kStep);
  send_numbers(shape);
  if (!sampled.rows.empty()) send_how(sampled, shape);
  if (!batch.sampled_rows.empty()) take_tokens(std::ssize(batch.sampled_rows), sampled_ids_);
  if (!batch.drafted.empty()) take_tokens(std::ssize(batch.drafted), draft_.ids);
  draft_.passes = 0;
  queue_step(batch, shape,
             {.output = sampled.rows.empty() ? Output::kBest : Output::kSampled,
              .ids = sampled_ids_,
              .vocab = sampled.vocab});
  next_flight().logit_rows = std::ssize(batch.logit_rows);
  device_.mark(static_cast<int>(submitted_ % flights_.size()));
  ++submitted_;
}

void DeviceForward::collect(std::span<int32_t> ids) {
  ASSERT(collected_ < submitted_, "{} steps were submitted", submitted_);
  const auto slot = static_cast<int>(collected_++ % flights_.size());
  const Flight& flight = flights_[static_cast<size_t>(slot)];
  ASSERT(std::ssize(ids) == flight.logit_rows, "{} ids of {} rows", ids.size(), flight.logit_rows);
  device_.await(slot);
  std::copy_n(flight.ids, ids.size(), ids.data());
}

void DeviceForward::queue_step(const StepBatch& batch, const Shape& shape, const Wanted& wanted) {
  const auto rows_wanted = static_cast<int64_t>(batch.logit_rows.size());
  if (shape.is_recorded) {
    begin_pulls();
    const bool is_timed = batch.profile != nullptr;
    RecordedStep& recorded = recordings_[{shape.rows, wanted.output, is_timed}];
    if (recorded.ops == nullptr)
      recorded.ops = device_.record(
          [this, shape, wanted, is_timed, parts = &recorded.parts] {
            parts_ = is_timed ? parts : nullptr;
            run_layers(shape);
            output_block(weights_.output_norm, 0, shape.rows, wanted);
            parts_ = nullptr;
          },
          other_devices_);
    exchange_residents();
    if (!other_devices_.empty()) device_.meet(other_devices_);
    device_.replay(*recorded.ops);
    answer_posts(batch);
    bring_back(0, rows_wanted, wanted);
    report_routing(batch, shape);
    if (is_timed) add_times(recorded.parts, batch.profile);
    return;
  }
  begin_streaming(shape);
  run_layers(shape);
  for (int64_t first = 0; first < rows_wanted; first += kLogitRowsMax) {
    const int64_t rows = std::min(rows_wanted - first, kLogitRowsMax);
    output_block(weights_.output_norm, first, rows, wanted);
    bring_back(first, rows, wanted);
  }
  // The host's numbers may change.
  if (wanted.output == Output::kLogits || host_ != nullptr) device_.wait();
  see_choices(shape);
  report_routing(batch, shape);
}

void DeviceForward::bring_back(int64_t first, int64_t rows, const Wanted& wanted) {
  if (wanted.output == Output::kLogits)
    return download(wanted.logits + first * spec_.vocab, logits_, rows * spec_.vocab);
  fetch_ids(next_flight().ids + first, wanted.ids + first, rows);
}

void DeviceForward::download_bytes(std::byte* to, const std::byte* from, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += kStagingBytes) {
    const int64_t piece = std::min(bytes - at, kStagingBytes);
    device_.fetch(staging_.data(), from + at, piece);
    device_.wait();
    std::memcpy(to + at, staging_.data(), static_cast<size_t>(piece));
  }
}

}  // namespace sluice::model
