#include "store/journal_format.h"

#include <xxhash.h>

#include <cstddef>
#include <cstring>

#include <fmt/format.h>
#include <openssl/evp.h>

#include "contract/record_codec.h"
#include "core/assert.h"

namespace sluice::store {
namespace {

template <typename Checked>
uint64_t xxh3_before_check(const Checked& checked) {
  return XXH3_64bits(&checked, offsetof(Checked, check));
}

uint64_t first_word(std::span<const std::byte> segment, int64_t offset) {
  const auto* word = reinterpret_cast<const uint64_t*>(segment.data() + offset);
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

RecordView damaged(std::string damage) {
  return {.found = Found::kDamaged, .head = {}, .bytes = {}, .damage = std::move(damage)};
}

}  // namespace

RecordDigest::RecordDigest() : algorithm_(EVP_MD_fetch(nullptr, "SHA256", nullptr)) {
  ASSERT(algorithm_ != nullptr, "OpenSSL has no SHA-256");
}

RecordDigest::~RecordDigest() {
  EVP_MD_free(algorithm_);
}

Sha256 RecordDigest::of(const RecordHead& head, std::span<const std::byte> bytes) const {
  // One buffer: a one-shot digest costs less than a context of our own for each thread.
  constexpr size_t kPrefixBytes = 10;
  std::byte whole[kPrefixBytes + contract::kRecordBytesMax];
  ASSERT(bytes.size() <= contract::kRecordBytesMax, "{} bytes in a record", bytes.size());
  whole[0] = std::byte{head.kind};
  whole[1] = std::byte{head.version};
  std::memcpy(whole + 2, &head.gateway, sizeof head.gateway);
  std::memcpy(whole + kPrefixBytes, bytes.data(), bytes.size());
  Sha256 digest;
  const int done =
      EVP_Digest(whole, kPrefixBytes + bytes.size(), digest.data(), nullptr, algorithm_, nullptr);
  ASSERT(done == 1, "SHA-256 of {} bytes gave {}", bytes.size(), done);
  return digest;
}

uint64_t check_of(const SegmentHead& head) {
  return xxh3_before_check(head);
}
uint64_t check_of(const DurableMark& mark) {
  return xxh3_before_check(mark);
}

bool ends_at(std::span<const std::byte> segment, int64_t offset) {
  const int64_t left = static_cast<int64_t>(segment.size()) - offset;
  if (left < static_cast<int64_t>(sizeof(uint64_t))) return left == 0;
  return first_word(segment, offset) == kSealed;
}

RecordView read_record(std::span<const std::byte> segment, const RecordPlace& place,
                       const RecordDigest& digest) {
  if (ends_at(segment, place.offset))
    return {.found = Found::kEnd, .head = {}, .bytes = {}, .damage = {}};
  const int64_t left = static_cast<int64_t>(segment.size()) - place.offset;
  if (left < static_cast<int64_t>(sizeof(uint64_t)) || first_word(segment, place.offset) == 0)
    return {};
  if (left < static_cast<int64_t>(sizeof(RecordHead)))
    return damaged(fmt::format("{} bytes, too few for a record", left));

  RecordHead head;
  std::memcpy(&head, segment.data() + place.offset, sizeof head);
  if (head.bytes == 0 || head.bytes > contract::kRecordBytesMax || record_bytes(head.bytes) > left)
    return damaged(fmt::format("a record of {} bytes, {} are left", head.bytes, left));
  if (head.zero != 0) return damaged("the head is not one");
  if (head.gateway != place.gateway || head.sequence != place.sequence)
    return damaged(fmt::format("record {} of gateway {:016x}, expected {} of {:016x}",
                               head.sequence, head.gateway, place.sequence, place.gateway));
  const auto bytes = segment.subspan(static_cast<size_t>(place.offset) + sizeof head, head.bytes);
  if (digest.of(head, bytes) != head.sha256) return damaged("the SHA-256 is another");
  return {.found = Found::kRecord, .head = head, .bytes = bytes, .damage = {}};
}

}  // namespace sluice::store
