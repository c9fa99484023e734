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

core::Result<void> check_cards(std::span<const PlacementSizes> cards, int64_t kv_bytes) {
  for (size_t i = 0; i < cards.size(); ++i) {
    const int64_t weight_bytes = cards[i].device_bytes(Placement());
    const int64_t kept_bytes = bytes_kept(cards[i], kv_bytes);
    if (cards[i].free_bytes == 0 || weight_bytes + kept_bytes <= cards[i].free_bytes) continue;
    return core::Error{
        core::ErrorCode::kLimit,
        fmt::format("card {} of {}: its weights need {:.2f} GB and KV and steps {:.2f} GB, {:.2f} "
                    "GB are free",
                    i, cards.size(), gb(weight_bytes), gb(kept_bytes), gb(cards[i].free_bytes))};
  }
  return {};
}

std::string describe_cards(const Spec& spec, std::span<const PlacementSizes> cards) {
  const Counts counts = counts_of(spec);
  const auto count = static_cast<int32_t>(cards.size());
  std::string text = fmt::format("{} cards, each with", count);
  std::string_view between = "";
  for (size_t i = 0; i < counts.values.size(); ++i) {
    if (counts.values[i] == 0) continue;
    text += fmt::format("{} {} of {} {}", between, counts.values[i] / count, counts.values[i],
                        counts.names[i]);
    between = ",";
  }
  between = ": ";
  for (const PlacementSizes& card : cards) {
    text += fmt::format("{}{:.2f}", between, gb(card.device_bytes(Placement())));
    between = " + ";
  }
  return text + " GB of weights";
}

}  // namespace sluice::model
