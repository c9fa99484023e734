#include "model/placement.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "core/assert.h"

namespace sluice::model {
namespace {

constexpr std::string_view kHost = "cpu", kDevice = "cuda", kExperts = "experts", kRest = "rest",
                           kHot = "hot", kLink = "link", kAuto = "auto";

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

bool read_share(std::string_view text, double* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= 0 && *out <= 1;
}

// "3-20" or "3".
bool read_span(std::string_view text, Placement::Span* out) {
  const size_t dash = text.find('-');
  const std::string_view last = dash == std::string_view::npos ? text : text.substr(dash + 1);
  return read_number(text.substr(0, dash), &out->first) && read_number(last, &out->last) &&
         out->first <= out->last;
}

// "[3-20]", "[3]" or "[3-20:0-7]".
core::Result<Placement::Rule> parse_layers(std::string_view text) {
  Placement::Rule rule;
  if (text.empty()) return rule;
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    const std::string_view inside = text.substr(1, text.size() - 2);
    const size_t colon = inside.find(':');
    if (read_span(inside.substr(0, colon), &rule.layers) &&
        (colon == std::string_view::npos || read_span(inside.substr(colon + 1), &rule.experts)))
      return rule;
  }
  return core::invalid(
      "placement: layers '{}', expected [FIRST-LAST] or [FIRST-LAST:EXPERT-EXPERT], the first "
      "being 0",
      text);
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
    TRY(placement.parse_part(part.substr(0, equals), part.substr(equals + 1)));
  }
  return placement;
}

core::Result<void> Placement::parse_part(std::string_view target, std::string_view value) {
  if (target == kHot || target == kLink) {
    double& share = target == kHot ? hot_share_ : link_share_;
    if (value == kAuto)
      share = -1;
    else if (!read_share(value, &share))
      return core::invalid("placement: {}={}, expected a share from 0 to 1 or {}", target, value,
                           kAuto);
    return {};
  }
  const size_t bracket = std::min(target.find('['), target.size());
  const std::string_view group = target.substr(0, bracket);
  Rule rule = TRY(parse_layers(target.substr(bracket)));
  rule.place = TRY(parse_place(value));
  if (group != kExperts && group != kRest)
    return core::invalid("placement: '{}' is no group, expected {}, {}, {} or {}", group, kExperts,
                         kRest, kHot, kLink);
  if (group == kRest) {
    if (rule.place == Place::kHost || bracket < target.size())
      return core::invalid("placement: '{}={}', but the rest of all layers lies on {}", target,
                           value, kDevice);
    return {};
  }
  if (!rule.experts.is_all() && rule.place == Place::kHost)
    return core::invalid("placement: '{}={}', but single experts can only be on {} besides", target,
                         value, kDevice);
  add(rule);
  return {};
}

Place Placement::experts(int32_t layer) const {
  Place place = Place::kDevice;
  for (const Rule& rule : rules_)
    if (rule.experts.is_all() && rule.layers.has(layer)) place = rule.place;
  return place;
}

std::vector<int32_t> Placement::named_residents(int32_t layer, int32_t count) const {
  std::vector<int32_t> named;
  for (int32_t expert = 0; expert < count; ++expert)
    if (std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) {
          return !rule.experts.is_all() && rule.layers.has(layer) && rule.experts.has(expert);
        }))
      named.push_back(expert);
  return named;
}

int32_t Placement::residents(int32_t layer, int32_t count) const {
  ASSERT(hot_share_ >= 0, "hot experts without a share: {}", text());
  const auto named = static_cast<int32_t>(named_residents(layer, count).size());
  return std::min(count, named + static_cast<int32_t>(std::lround(hot_share_ * count)));
}

bool Placement::has_residents(Span layers, int32_t count) const {
  for (int32_t layer = layers.first; layer <= layers.last; ++layer)
    if (experts(layer) == Place::kHost && (has_hot_to_fit() || residents(layer, count) > 0))
      return true;
  return false;
}

bool Placement::has_host_experts(Span layers) const {
  for (int32_t layer = layers.first; layer <= layers.last; ++layer)
    if (experts(layer) == Place::kHost) return true;
  return false;
}

std::string Placement::text() const {
  std::string text;
  const auto add_span = [&](const Span& span) {
    text += fmt::format("{}-{}", span.first, span.last);
  };
  for (const Rule& rule : rules_) {
    text += kExperts;
    if (!rule.layers.is_all() || !rule.experts.is_all()) {
      text += '[';
      add_span(rule.layers);
      if (!rule.experts.is_all()) {
        text += ':';
        add_span(rule.experts);
      }
      text += ']';
    }
    text += fmt::format("={},", name_of(rule.place));
  }
  if (has_hot_to_fit())
    text += fmt::format("{}={},", kHot, kAuto);
  else if (hot_share_ > 0)
    text += fmt::format("{}={:.4g},", kHot, hot_share_);
  if (!has_link_to_measure()) text += fmt::format("{}={:.4g},", kLink, link_share_);
  return text + fmt::format("{}={}", kRest, kDevice);
}

int64_t PlacementSizes::device_bytes(const Placement& placement) const {
  int64_t bytes = rest_bytes + resident_bytes(placement);
  for (size_t layer = 0; layer < expert_bytes.size(); ++layer)
    if (placement.experts(static_cast<int32_t>(layer)) == Place::kDevice)
      bytes += expert_bytes[layer];
  return bytes;
}

int64_t PlacementSizes::resident_bytes(const Placement& placement) const {
  int64_t bytes = 0;
  for (size_t i = 0; i < expert_bytes.size(); ++i) {
    const auto layer = static_cast<int32_t>(i);
    if (placement.experts(layer) == Place::kHost)
      bytes += expert_bytes[i] / experts * placement.residents(layer, experts);
  }
  return bytes;
}

int64_t PlacementSizes::host_bytes(const Placement& placement) const {
  int64_t bytes = 0;
  for (size_t layer = 0; layer < expert_bytes.size(); ++layer)
    if (placement.experts(static_cast<int32_t>(layer)) == Place::kHost)
      bytes += expert_bytes[layer];
  return bytes;
}

Placement fit_hot_experts(const PlacementSizes& sizes, Placement placement, int64_t kept_bytes) {
  placement.set_hot_share(0);
  const int64_t host_bytes = sizes.host_bytes(placement);
  const int64_t left = sizes.free_bytes - kept_bytes - sizes.device_bytes(placement);
  const bool is_limited = sizes.free_bytes > 0;
  if (host_bytes == 0 || (is_limited && left <= 0)) return placement;
  // Whole experts, so that the share says how many.
  const double fitting = static_cast<double>(left) / static_cast<double>(host_bytes);
  const double share = is_limited ? std::min(1.0, fitting) : 1;
  placement.set_hot_share(std::floor(share * sizes.experts) / sizes.experts);
  return placement;
}

TokenBytes token_bytes(const Placement& placement, const PlacementSizes& sizes) {
  TokenBytes read{.device = static_cast<double>(sizes.rest_bytes - sizes.unread_bytes)};
  for (size_t i = 0; i < sizes.expert_bytes.size(); ++i) {
    const auto layer = static_cast<int32_t>(i);
    const double bytes = sizes.used_share * static_cast<double>(sizes.expert_bytes[i]);
    const double host_share =
        placement.experts(layer) == Place::kDevice
            ? 0
            : 1 - 1.0 * placement.residents(layer, sizes.experts) / sizes.experts;
    read.host += host_share * bytes;
    read.device += (1 - host_share) * bytes;
  }
  return read;
}

double tokens_per_s(const TokenBytes& bytes, const MachineSpeeds& speeds) {
  if (speeds.device_read_gb_s <= 0 || (bytes.host > 0 && speeds.host_read_gb_s <= 0)) return 0;
  double seconds = bytes.device / (speeds.device_read_gb_s * 1e9);
  if (bytes.host > 0) seconds += bytes.host / (speeds.host_read_gb_s * 1e9);
  return 1 / seconds;
}

double pull_share(const MachineSpeeds& speeds) {
  // More did worse by trial (docs/kernels/cuda-experts.md).
  constexpr double kShareMax = 0.3;
  if (speeds.link_gb_s <= 0 || speeds.host_read_gb_s <= 0) return 0;
  return std::min(kShareMax, speeds.link_gb_s / (speeds.link_gb_s + speeds.host_read_gb_s));
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
  const int64_t resident = sizes.resident_bytes(placement);
  std::string text = fmt::format("{}: {:.2f} GB on the device", placement.text(), gb(on_device));
  if (resident > 0) text += fmt::format(", {:.2f} GB of these experts of the host", gb(resident));
  if (resident > 0 && sizes.free_bytes > 0)
    text += fmt::format(", {:.2f} GB left for KV and steps", gb(sizes.free_bytes - on_device));
  text +=
      fmt::format(", {:.2f} GB of experts in the host's memory", gb(sizes.host_bytes(placement)));
  if (const double predicted = tokens_per_s(token_bytes(placement, sizes), speeds); predicted > 0)
    text += fmt::format("; at most {:.1f} tokens/s in one stream{}", predicted,
                        resident > 0 ? " if experts are chosen alike" : "");
  return text;
}

core::Result<Placement> fit_experts(const PlacementSizes& sizes, int64_t kept_bytes) {
  Placement placement;
  const auto layers = static_cast<int32_t>(sizes.expert_bytes.size());
  for (int32_t first = layers; first >= 0; --first) {
    placement = Placement();
    if (first < layers)
      placement.add({.layers = {first, layers - 1}, .experts = {}, .place = Place::kHost});
    if (sizes.device_bytes(placement) + kept_bytes <= sizes.free_bytes) return placement;
  }
  return core::Error{
      core::ErrorCode::kLimit,
      fmt::format("without routed experts the weights need {:.2f} GB and KV and steps {:.2f} GB, "
                  "{:.2f} GB of the device are free",
                  gb(sizes.rest_bytes), gb(kept_bytes), gb(sizes.free_bytes))};
}

core::Result<void> check_host(int64_t host_bytes, int64_t memory_bytes) {
  if (memory_bytes == 0 || host_bytes <= memory_bytes) return {};
  return core::Error{core::ErrorCode::kLimit,
                     fmt::format("experts in the host's memory need {:.2f} GB, it has {:.2f} GB",
                                 gb(host_bytes), gb(memory_bytes))};
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
