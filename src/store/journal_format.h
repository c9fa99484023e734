// The bytes of a journal: a folder of segments "0000000007.journal", numbered in order. A segment
// is a page of head and then records, each at a multiple of 8 bytes. All integers are
// little-endian.
//
//     0      SegmentHead   written before the file has its name
//     64     DurableMark   twice, at 64 and 128, written in turns: so far it is on the disk
//     4096   records: RecordHead, canonical bytes, zeros up to a multiple of 8
//            then 8 bytes kSealed where the next segment goes on, or zeros: nothing yet
//
// A record is there when its first word is: that is stored last. So what kill -9 leaves is whole
// records. A power loss may take pages behind the mark in any order; what is not whole behind the
// mark is a torn end and is cut, before it is damage and refused.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

struct evp_md_st;  // OpenSSL's EVP_MD

namespace sluice::store {

static_assert(std::endian::native == std::endian::little, "journals are written as they stand");

using Sha256 = std::array<uint8_t, 32>;

inline constexpr int64_t kSegmentHeadBytes = 4096;
inline constexpr std::array<int64_t, 2> kMarkOffsets = {64, 128};
inline constexpr uint64_t kSegmentMagic = 0x316c6e72756f6a73;  // "sjournl1"
inline constexpr uint32_t kSealed = 0xffffffff;                // in place of a record's length

struct SegmentHead {
  uint64_t magic = kSegmentMagic;
  uint64_t gateway = 0;
  uint64_t number = 0;
  uint64_t first_sequence = 0;
  int64_t created_unix_ns = 0;
  uint64_t check = 0;  // XXH3 of what stands before
};

struct DurableMark {
  uint64_t count = 0;  // of marks written; the higher of two valid ones holds
  int64_t offset = 0;  // up to here
  uint64_t check = 0;  // XXH3 of what stands before
};

struct RecordHead {
  uint32_t bytes = 0;  // of the canonical form; 0: no record
  uint8_t kind = 0;
  uint8_t version = 0;
  uint16_t zero = 0;
  uint64_t gateway = 0;
  uint64_t sequence = 0;
  Sha256 sha256 = {};  // RecordDigest; with the sequence that must stand there it leaves no bit
                       // of head and bytes unchecked
};
static_assert(sizeof(SegmentHead) == 48 && sizeof(DurableMark) == 24 && sizeof(RecordHead) == 56);

// SHA-256 of kind and version (a byte each), gateway (8 bytes) and the canonical bytes. Owns what
// OpenSSL looks up once; from any thread.
class RecordDigest {
 public:
  RecordDigest();
  ~RecordDigest();
  RecordDigest(const RecordDigest&) = delete;
  RecordDigest& operator=(const RecordDigest&) = delete;

  Sha256 of(const RecordHead& head, std::span<const std::byte> bytes) const;

 private:
  evp_md_st* algorithm_;
};

// The XXH3 that belongs into `check`.
uint64_t check_of(const SegmentHead& head);
uint64_t check_of(const DurableMark& mark);

constexpr int64_t record_bytes(int64_t canonical_bytes) {
  return static_cast<int64_t>(sizeof(RecordHead)) + (canonical_bytes + 7) / 8 * 8;
}

// What stands at a place of a segment.
enum class Found : uint8_t { kRecord, kNothingYet, kEnd, kDamaged };

struct RecordView {
  Found found = Found::kNothingYet;
  RecordHead head;
  std::span<const std::byte> bytes;
  std::string damage;  // kDamaged: what is wrong
};

// Whether the segment ends at `offset`: with the seal, or with the file.
bool ends_at(std::span<const std::byte> segment, int64_t offset);

// Reads at `offset` of a mapped segment while another thread may append behind it.
struct RecordPlace {
  int64_t offset = 0;
  uint64_t gateway = 0;   // which must stand there
  uint64_t sequence = 0;  // which must stand there
};
RecordView read_record(std::span<const std::byte> segment, const RecordPlace& place,
                       const RecordDigest& digest);

}  // namespace sluice::store
