// The one byte form of each record: what the journal keeps and the SHA-256 of a record covers.
//
// A record is its fields in the order of contract/usage_event.h: unsigned integers and enumerators
// as LEB128 varints, signed integers zigzag first, fixed 64-bit ids little-endian, strings and the
// list of lines with their length before them. Canonical: a value has one form and decode() takes
// no other (shortest varints, enumerators that exist, nothing after the end), so that
// encode(decode(bytes)) == bytes. Decoding is total over foreign bytes; lengths are checked against
// what is left before anything is allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "contract/usage_event.h"
#include "core/result.h"

namespace sluice::contract {

using Record = std::variant<Reservation, UsageEvent, ChangeRecord, BalanceChange>;
RecordKind kind_of(const Record& record);

// Of the form above; goes up when a field is added, and decode() then knows both.
inline constexpr uint8_t kRecordVersion = 1;

// A record is no longer than this: hundreds of lines in an event.
inline constexpr size_t kRecordBytesMax = 64 * 1024;

// The number of bytes written to the front of `out`; nullopt where they do not fit.
std::optional<size_t> encode(const Reservation& reservation, std::span<std::byte> out);
std::optional<size_t> encode(const UsageEvent& event, std::span<std::byte> out);
std::optional<size_t> encode(const ChangeRecord& change, std::span<std::byte> out);
std::optional<size_t> encode(const BalanceChange& change, std::span<std::byte> out);

// kUnsupported for a version or kind that this build does not know.
core::Result<Record> decode(RecordKind kind, uint8_t version, std::span<const std::byte> bytes);

}  // namespace sluice::contract
