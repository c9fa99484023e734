#include "engine/suffix_index.h"

#include <algorithm>
#include <array>
#include <bit>

#include "core/rng.h"

namespace sluice::engine {
namespace {

constexpr size_t kHeadsMax = size_t{1} << 16;

// Places behind occurrences of a suffix, the latest first.
struct Places {
  std::array<int32_t, SuffixIndex::kPlacesMax> at;
  size_t count = 0;
  std::span<const int32_t> all() const { return std::span(at).first(count); }
};

// Of the tokens before `place`, how many are those at the end of `ids`.
int32_t common_suffix(std::span<const int32_t> ids, int32_t place) {
  const int32_t limit = std::min(SuffixIndex::kMatchMax, place);
  int32_t length = 0;
  while (length < limit && ids[static_cast<size_t>(place - 1 - length)] ==
                               ids[ids.size() - 1 - static_cast<size_t>(length)])
    ++length;
  return length;
}

}  // namespace

void SuffixIndex::reserve(int64_t tokens_max) {
  earlier_.reserve(static_cast<size_t>(tokens_max) + 1);
  if (latest_.empty())
    latest_.assign(std::min(std::bit_ceil(static_cast<size_t>(tokens_max) + 1), kHeadsMax), 0);
}

size_t SuffixIndex::slot(int32_t first, int32_t second) const {
  return core::random_bits(static_cast<uint64_t>(first), static_cast<uint64_t>(second)) &
         (latest_.size() - 1);
}

void SuffixIndex::extend(std::span<const int32_t> ids) {
  if (earlier_.empty()) earlier_.assign(kMatchMin, 0);
  while (earlier_.size() <= ids.size() && earlier_.size() < earlier_.capacity()) {
    const size_t place = earlier_.size();
    int32_t& latest = latest_[slot(ids[place - 2], ids[place - 1])];
    earlier_.push_back(latest);
    latest = static_cast<int32_t>(place);
  }
}

SuffixMatch SuffixIndex::continue_with(std::span<const int32_t> ids, std::span<int32_t> out) const {
  const auto end = static_cast<int32_t>(ids.size());
  if (end < kMatchMin || earlier_.size() <= ids.size()) return {};
  SuffixMatch match;
  Places places;
  int32_t place = earlier_[ids.size()];
  for (int32_t seen = 0; place > 0 && seen < kPlacesMax;
       ++seen, place = earlier_[static_cast<size_t>(place)]) {
    const int32_t length = common_suffix(ids, place);
    if (length < kMatchMin || length < match.matched) continue;  // short: another pair's hash
    if (length > match.matched) places.count = 0;
    match.matched = length;
    places.at[places.count++] = place;
  }
  // A continuation that reaches the end goes on with what it has continued itself.
  const auto token_at = [&](int32_t at) {
    return at < end ? ids[static_cast<size_t>(at)] : out[static_cast<size_t>(at - end)];
  };
  if (places.count == 0) return {};
  for (int32_t i = 0; i < static_cast<int32_t>(out.size()); ++i) {
    int64_t most = 0;
    for (const int32_t p : places.all()) {
      const int32_t id = token_at(p + i);
      const int64_t votes = std::count_if(places.all().begin(), places.all().end(),
                                          [&](int32_t other) { return token_at(other + i) == id; });
      if (votes <= most) continue;
      most = votes;
      out[static_cast<size_t>(i)] = id;
    }
    const int32_t chosen = out[static_cast<size_t>(i)];
    const auto kept =
        std::remove_if(places.at.begin(), places.at.begin() + std::ssize(places.all()),
                       [&](int32_t p) { return token_at(p + i) != chosen; });
    places.count = static_cast<size_t>(kept - places.at.begin());
  }
  match.tokens = static_cast<int64_t>(out.size());
  return match;
}

}  // namespace sluice::engine
