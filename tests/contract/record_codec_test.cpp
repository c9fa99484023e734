#include "contract/record_codec.h"

#include <algorithm>
#include <array>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/contract/record_sample.h"

namespace sluice::contract {
namespace {

std::vector<std::byte> encoded(const Record& record) {
  std::vector<std::byte> out(kRecordBytesMax);
  const auto size = std::visit([&](const auto& each) { return encode(each, out); }, record);
  EXPECT_TRUE(size.has_value());
  out.resize(size.value_or(0));
  return out;
}

TEST(RecordCodec, WhatIsWrittenIsRead) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    const Record record = RecordSample(seed).record();
    const auto read = decode(kind_of(record), kRecordVersion, encoded(record));
    ASSERT_TRUE(read.ok()) << "seed " << seed << ": " << read.error().message;
    ASSERT_TRUE(*read == record) << "seed " << seed;
  }
}

// What decode takes, encode writes again: one form for each record. Bytes that are nearly right
// reach deep into it.
TEST(RecordCodec, ForeignBytesAreAnErrorOrTheOneFormOfARecord) {
  int64_t taken = 0;
  for (uint64_t seed = 1; seed <= 5000; ++seed) {
    core::Rng random(seed);
    const Record record = RecordSample(seed).record();
    std::vector<std::byte> bytes = encoded(record);
    for (int64_t i = random.below(3); i >= 0; --i)
      bytes[static_cast<size_t>(random.below(std::ssize(bytes)))] ^=
          std::byte{static_cast<uint8_t>(1 << random.below(8))};
    if (random.below(4) == 0) bytes.resize(static_cast<size_t>(random.below(std::ssize(bytes))));
    const auto read = decode(kind_of(record), kRecordVersion, bytes);
    if (!read.ok()) continue;
    ++taken;
    ASSERT_EQ(encoded(*read), bytes) << "seed " << seed;
  }
  EXPECT_GT(taken, 500);
}

TEST(RecordCodec, EveryTruncationAndEveryAdditionIsAnError) {
  const Record record = RecordSample(7).event();
  std::vector<std::byte> bytes = encoded(record);
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode(RecordKind::kUsage, kRecordVersion, std::span(bytes).first(size)).ok());
  bytes.push_back(std::byte{0});
  EXPECT_THAT(decode(RecordKind::kUsage, kRecordVersion, bytes).error().message,
              testing::HasSubstr("behind the end"));
}

TEST(RecordCodec, RefusesASecondFormOfAValue) {
  // An empty change: five empty texts, two zeros.
  std::vector<std::byte> bytes(7);
  EXPECT_TRUE(decode(RecordKind::kChange, kRecordVersion, bytes).ok());
  bytes.back() = std::byte{0x80};
  bytes.push_back(std::byte{0});
  EXPECT_THAT(decode(RecordKind::kChange, kRecordVersion, bytes).error().message,
              testing::HasSubstr("shortest"));
}

TEST(RecordCodec, AListThatCannotBeThereTakesNoMemory) {
  UsageEvent event;
  std::vector<std::byte> bytes = encoded(event);
  bytes.pop_back();  // the number of lines
  for (int i = 0; i < 9; ++i) bytes.push_back(std::byte{0xff});
  bytes.push_back(std::byte{1});
  EXPECT_THAT(decode(RecordKind::kUsage, kRecordVersion, bytes).error().message,
              testing::HasSubstr("longer than its bytes"));
}

TEST(RecordCodec, WhatIsOfAnotherVersionOrKindIsNotGuessed) {
  EXPECT_EQ(decode(RecordKind::kUsage, 2, {}).error().code, core::ErrorCode::kUnsupported);
  EXPECT_EQ(decode(static_cast<RecordKind>(9), kRecordVersion, {}).error().code,
            core::ErrorCode::kUnsupported);
}

TEST(RecordCodec, SaysWhereThereIsTooLittleRoom) {
  const Record record = RecordSample(3).event();
  std::vector<std::byte> room = encoded(record);
  const auto& event = std::get<UsageEvent>(record);
  EXPECT_EQ(encode(event, room), room.size());
  for (size_t size = 0; size < room.size(); ++size)
    EXPECT_FALSE(encode(event, std::span(room).first(size)).has_value()) << size;
}

// Journals of older builds are read: these bytes do not change with the version.
TEST(RecordCodec, TheBytesOfVersionOneAreThese) {
  const Reservation reservation = {.id = {0x0102, 0x03},
                                   .tenant = "ab",
                                   .key = "k",
                                   .model = "",
                                   .started_unix_ns = 300,
                                   .amount = {-1},
                                   .tokens = 0};
  const std::vector<std::byte> bytes = encoded(reservation);
  const std::array<uint8_t, 26> expected = {2, 1, 0, 0, 0,   0,   0, 0,   3, 0,    0, 0, 0,
                                            0, 0, 0, 2, 'a', 'b', 1, 'k', 0, 0xd8, 4, 1, 0};
  ASSERT_EQ(bytes.size(), expected.size());
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), bytes.begin(),
                         [](uint8_t a, std::byte b) { return std::byte{a} == b; }));
}

}  // namespace
}  // namespace sluice::contract
