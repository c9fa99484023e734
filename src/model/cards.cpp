#include "model/cards.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace sluice::model {
namespace {

double gb(int64_t bytes) {
  return static_cast<double>(bytes) * 1e-9;
}

// Latent attention has one latent vector a token, which all heads read: every card keeps it.
bool has_kv_heads(const Spec& spec) {
  return spec.latent.rank == 0;
}

struct Counts {
  std::array<std::string_view, 5> names = {"heads", "heads of keys and values",
                                           "columns of the feed-forward part",
                                           "columns of the shared experts", "experts of a layer"};
  std::array<int32_t, 5> values{};
};

// What is split; 0: the model has none.
Counts counts_of(const Spec& spec) {
  const bool has_dense = spec.experts.count == 0 || spec.experts.leading_dense > 0;
  Counts counts;
  counts.values = {spec.heads, has_kv_heads(spec) ? spec.kv_heads : 0, has_dense ? spec.ffn : 0,
                   spec.experts.shared_ffn, spec.experts.count};
  return counts;
}

}  // namespace

core::Result<std::vector<int32_t>> parse_cards(std::string_view devices) {
  if (devices == "cpu") return std::vector<int32_t>();
  if (devices == "cuda") return std::vector<int32_t>{0};
  constexpr std::string_view kBackend = "cuda:";
  std::vector<int32_t> cards;
  for (size_t at = 0; at <= devices.size();) {
    const size_t end = std::min(devices.find(',', at), devices.size());
    const std::string_view device = devices.substr(at, end - at);
    int32_t card = -1;
    const char* const last = device.data() + device.size();
    if (device.starts_with(kBackend)) {
      const auto read = std::from_chars(device.data() + kBackend.size(), last, card);
      if (read.ec != std::errc() || read.ptr != last) card = -1;
    }
    if (card < 0)
      return core::invalid(
          "device '{}': expected 'cpu', 'cuda', 'cuda:N' or several as "
          "'cuda:0,cuda:1'",
          devices);
    cards.push_back(card);
    at = end + 1;
  }
  return cards;
}

core::Result<Spec> spec_of_card(const Spec& spec, int32_t cards) {
  const Counts counts = counts_of(spec);
  std::string faults;
  for (size_t i = 0; i < counts.values.size(); ++i)
    if (counts.values[i] % cards != 0)
      faults +=
          fmt::format("{}{} {}", faults.empty() ? "" : ", ", counts.values[i], counts.names[i]);
  if (!faults.empty())
    return core::unsupported("a model over {} cards: {} cannot be split evenly", cards, faults);
  Spec of_card = spec;
  of_card.heads /= cards;
  if (has_kv_heads(spec)) of_card.kv_heads /= cards;
  of_card.ffn /= cards;
  of_card.experts.shared_ffn /= cards;
  return of_card;
}

namespace {

int64_t host_layers(const Placement& placement, const PlacementSizes& sizes) {
  int64_t layers = 0;
  for (size_t layer = 0; layer < sizes.expert_bytes.size(); ++layer)
    layers += placement.experts(static_cast<int32_t>(layer)) == Place::kHost ? 1 : 0;
  return layers;
}

// The last layers' experts go to the host until every card has room: until the fullest has.
core::Result<Placement> fit_over_cards(std::span<const PlacementSizes> cards, int64_t kv_bytes) {
  Placement fitting;
  for (size_t i = 0; i < cards.size(); ++i) {
    if (cards[i].free_bytes == 0) continue;
    auto of_card = fit_experts(cards[i], bytes_kept(cards[i], kv_bytes));
    if (!of_card.ok()) return of_card.error().within(fmt::format("card {} of {}", i, cards.size()));
    if (host_layers(*of_card, cards[i]) > host_layers(fitting, cards[i])) fitting = *of_card;
  }
  return fitting;
}

// As many on each card as on the one that has room for the fewest.
Placement fit_hot_over_cards(std::span<const PlacementSizes> cards, const Placement& placement,
                             int64_t kv_bytes) {
  Placement fitting;
  int64_t fewest = INT64_MAX;
  for (const PlacementSizes& card : cards) {
    const Placement of_card = fit_hot_experts(card, placement, bytes_kept(card, kv_bytes));
    if (card.resident_bytes(of_card) >= fewest) continue;
    fewest = card.resident_bytes(of_card);
    fitting = of_card;
  }
  return fitting;
}

}  // namespace

core::Result<Placement> place_over_cards(std::span<const PlacementSizes> cards,
                                         const std::optional<Placement>& wanted, int64_t kv_bytes) {
  if (!wanted) return fit_over_cards(cards, kv_bytes);
  const Placement placement =
      wanted->has_hot_to_fit() ? fit_hot_over_cards(cards, *wanted, kv_bytes) : *wanted;
  for (size_t i = 0; i < cards.size(); ++i) {
    const int64_t weight_bytes = cards[i].device_bytes(placement);
    const int64_t kept_bytes = bytes_kept(cards[i], kv_bytes);
    if (cards[i].free_bytes == 0 || weight_bytes + kept_bytes <= cards[i].free_bytes) continue;
    const auto fitting = fit_over_cards(cards, kv_bytes);
    return core::Error{
        core::ErrorCode::kLimit,
        fmt::format("card {} of {}: its weights need {:.2f} GB and KV and steps {:.2f} GB, {:.2f} "
                    "GB are free{}",
                    i, cards.size(), gb(weight_bytes), gb(kept_bytes), gb(cards[i].free_bytes),
                    fitting.ok() ? fmt::format(": --place '{}' fits", fitting->text()) : "")};
  }
  return placement;
}

TokenBytes token_bytes(const Placement& placement, std::span<const PlacementSizes> cards) {
  TokenBytes read;
  for (const PlacementSizes& card : cards) {
    const TokenBytes of_card = token_bytes(placement, card);
    read.device = std::max(read.device, of_card.device);
    read.host += of_card.host;
  }
  return read;
}

std::string describe_cards(const Spec& spec, std::span<const PlacementSizes> cards,
                           const Placement& placement, const MachineSpeeds& speeds) {
  const auto count = static_cast<int32_t>(cards.size());
  int64_t host_bytes = 0, resident_bytes = 0;
  bool has_experts = false;
  for (const PlacementSizes& card : cards) {
    const int64_t resident = card.resident_bytes(placement);
    host_bytes += card.host_bytes(placement);
    resident_bytes += resident;
    has_experts = has_experts || card.device_bytes(placement) - resident > card.rest_bytes;
  }
  Counts counts = counts_of(spec);
  if (!has_experts) counts.values.back() = 0;
  std::string text = host_bytes > 0 ? placement.text() + ": " : "";
  text += fmt::format("{} cards, each with", count);
  std::string_view between = "";
  for (size_t i = 0; i < counts.values.size(); ++i) {
    if (counts.values[i] == 0) continue;
    text += fmt::format("{} {} of {} {}", between, counts.values[i] / count, counts.values[i],
                        counts.names[i]);
    between = ",";
  }
  between = ": ";
  for (const PlacementSizes& card : cards) {
    text += fmt::format("{}{:.2f}", between, gb(card.device_bytes(placement)));
    between = " + ";
  }
  text += " GB of weights";
  if (resident_bytes > 0)
    text += fmt::format(", {:.2f} GB of these experts of the host", gb(resident_bytes));
  if (host_bytes > 0)
    text += fmt::format(", {:.2f} GB of experts in the host's memory", gb(host_bytes));
  if (const double most = tokens_per_s(token_bytes(placement, cards), speeds); most > 0)
    text += fmt::format("; at most {:.1f} tokens/s in one stream", most);
  return text;
}

}  // namespace sluice::model
