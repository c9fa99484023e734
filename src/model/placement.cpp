#include "model/placement.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace sluice::model {
namespace {

constexpr std::string_view kHost = "cpu", kDevice = "cuda", kExperts = "experts", kRest = "rest";

double gb(int64_t bytes) {
  return static_cast<double>(bytes) * 1e-9;
}

std::string_view name_of(Place place) {
  return place == Place::kHost ? kHost : kDevice;
}

bool read_number(std::string_view text, int32_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= 0;
}

// "[3-20]" or "[3]".
core::Result<Placement::Rule> parse_layers(std::string_view text) {
  Placement::Rule rule;
  if (text.empty()) return rule;
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    const std::string_view inside = text.substr(1, text.size() - 2);
    const size_t dash = inside.find('-');
    const std::string_view last = dash == std::string_view::npos ? inside : inside.substr(dash + 1);
    if (read_number(inside.substr(0, dash), &rule.first_layer) &&
        read_number(last, &rule.last_layer) && rule.first_layer <= rule.last_layer)
      return rule;
  }
  return core::invalid("placement: layers '{}', expected [FIRST-LAST], the first being 0", text);
}

core::Result<Place> parse_place(std::string_view text) {
  if (text == kHost) return Place::kHost;
  if (text == kDevice) return Place::kDevice;
  return core::invalid("placement: '{}' is no place, expected {} or {}", text, kHost, kDevice);
}

}  // namespace

core::Result<Placement> Placement::parse(std::string_view text) {
  Placement placement;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos)
      return core::invalid("placement: '{}', expected GROUP=PLACE", part);
    const std::string_view target = part.substr(0, equals);
    const size_t bracket = std::min(target.find('['), target.size());
    const std::string_view group = target.substr(0, bracket);
    Rule rule = TRY(parse_layers(target.substr(bracket)));
    rule.place = TRY(parse_place(part.substr(equals + 1)));
    if (group == kExperts)
      placement.add(rule);
    else if (group != kRest)
      return core::invalid("placement: '{}' is no group, expected {} or {}", group, kExperts,
                           kRest);
    else if (rule.place == Place::kHost || bracket < target.size())
      return core::invalid("placement: '{}', but the rest of all layers lies on {}", part, kDevice);
  }
  return placement;
}

Place Placement::experts(int32_t layer) const {
  Place place = Place::kDevice;
  for (const Rule& rule : rules_)
    if (layer >= rule.first_layer && layer <= rule.last_layer) place = rule.place;
  return place;
}

bool Placement::has_host_experts(int32_t layers) const {
  for (int32_t layer = 0; layer < layers; ++layer)
    if (experts(layer) == Place::kHost) return true;
  return false;
}

std::string Placement::text() const {
  std::string text;
  for (const Rule& rule : rules_) {
    const bool all = rule.first_layer == 0 && rule.last_layer == INT32_MAX;
    text += all ? fmt::format("{}={},", kExperts, name_of(rule.place))
                : fmt::format("{}[{}-{}]={},", kExperts, rule.first_layer, rule.last_layer,
                              name_of(rule.place));
  }
  return text + fmt::format("{}={}", kRest, kDevice);
}

int64_t PlacementSizes::device_bytes(const Placement& placement) const {
  int64_t bytes = rest_bytes;
  for (size_t layer = 0; layer < expert_bytes.size(); ++layer)
    if (placement.experts(static_cast<int32_t>(layer)) == Place::kDevice)
      bytes += expert_bytes[layer];
  return bytes;
}

double predict_tokens_per_s(const Placement& placement, const PlacementSizes& sizes,
                            const MachineSpeeds& speeds) {
  double device_bytes = static_cast<double>(sizes.rest_bytes - sizes.table_bytes), host_bytes = 0;
  for (size_t layer = 0; layer < sizes.expert_bytes.size(); ++layer)
    (placement.experts(static_cast<int32_t>(layer)) == Place::kHost ? host_bytes : device_bytes) +=
        sizes.used_share * static_cast<double>(sizes.expert_bytes[layer]);
  if (speeds.device_read_gb_s <= 0 || (host_bytes > 0 && speeds.host_read_gb_s <= 0)) return 0;
  double seconds = device_bytes / (speeds.device_read_gb_s * 1e9);
  if (host_bytes > 0) seconds += host_bytes / (speeds.host_read_gb_s * 1e9);
  return 1 / seconds;
}

int64_t streamed_rows_min(const LayerWork& work, const MachineSpeeds& speeds) {
  // Of the processor's peak, by experts of few rows each (docs/kernels/cuda-experts.md).
  constexpr double kReachedShare = 0.07;
  if (speeds.link_gb_s <= 0 || speeds.host_tops <= 0) return INT64_MAX;
  const double copy_s = static_cast<double>(work.bytes) / (speeds.link_gb_s * 1e9);
  const double row_s = work.row_operations / (kReachedShare * speeds.host_tops * 1e12);
  return std::max<int64_t>(1, std::llround(std::ceil(copy_s / row_s)));
}

std::string describe(const Placement& placement, const PlacementSizes& sizes,
                     const MachineSpeeds& speeds) {
  const int64_t on_device = sizes.device_bytes(placement);
  int64_t all = sizes.rest_bytes;
  for (const int64_t bytes : sizes.expert_bytes) all += bytes;
  const double predicted = predict_tokens_per_s(placement, sizes, speeds);
  return fmt::format(
      "{}: {:.2f} GB on the device, {:.2f} GB of experts in the host's memory{}", placement.text(),
      gb(on_device), gb(all - on_device),
      predicted == 0 ? "" : fmt::format("; at most {:.1f} tokens/s in one stream", predicted));
}

core::Result<Placement> fit_experts(const PlacementSizes& sizes, int64_t kept_bytes) {
  Placement placement;
  const auto layers = static_cast<int32_t>(sizes.expert_bytes.size());
  for (int32_t first = layers; first >= 0; --first) {
    placement = Placement();
    if (first < layers)
      placement.add({.first_layer = first, .last_layer = layers - 1, .place = Place::kHost});
    if (sizes.device_bytes(placement) + kept_bytes <= sizes.free_bytes) return placement;
  }
  return core::Error{
      core::ErrorCode::kLimit,
      fmt::format("without routed experts the weights need {:.2f} GB and KV and steps {:.2f} GB, "
                  "{:.2f} GB of the device are free",
                  gb(sizes.rest_bytes), gb(kept_bytes), gb(sizes.free_bytes))};
}

core::Result<void> check_placement(const PlacementSizes& sizes, const Placement& placement,
                                   int64_t kept_bytes) {
  const int64_t needed = sizes.device_bytes(placement);
  if (needed + kept_bytes <= sizes.free_bytes) return {};
  const Placement fitting = TRY(fit_experts(sizes, kept_bytes));
  return core::Error{
      core::ErrorCode::kLimit,
      fmt::format("weights need {:.2f} GB and KV and steps {:.2f} GB, {:.2f} GB of the device are "
                  "free: --place '{}' fits",
                  gb(needed), gb(kept_bytes), gb(sizes.free_bytes), fitting.text())};
}

}  // namespace sluice::model
