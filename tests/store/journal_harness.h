// A folder for one test, a journal in it, and what a reader finds there.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "contract/record_codec.h"
#include "core/clock.h"
#include "store/journal.h"
#include "store/journal_reader.h"

namespace sluice::store {

class TestFolder {
 public:
  TestFolder() {
    std::string path = testing::TempDir() + "/journal_XXXXXX";
    EXPECT_NE(::mkdtemp(path.data()), nullptr);
    path_ = path;
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string journal() const { return path_ / "journal"; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

constexpr int64_t kSmallSegmentBytes = 128 * 1024;

inline JournalOptions small_segments(std::string folder) {
  return {.folder = std::move(folder), .segment_bytes = kSmallSegmentBytes, .gateway_if_new = 0x1d};
}

inline std::unique_ptr<Journal> open_journal(const std::string& folder, const core::Clock* clock) {
  auto journal = Journal::open(small_segments(folder), clock);
  EXPECT_TRUE(journal.ok()) << journal.error().message;
  return journal.ok() ? std::move(journal).value() : nullptr;
}

// Number `i` of the records that tests append: as a reservation, so that it is found again.
inline contract::Reservation numbered(uint64_t i) {
  return {.id = {1, i},
          .tenant = "tenant-" + std::string(i % 50, 'x'),
          .key = "key",
          .model = "model",
          .started_unix_ns = static_cast<int64_t>(i * 1000),
          .amount = {static_cast<int64_t>(i)},
          .tokens = 1};
}

struct Read {
  std::vector<contract::Record> records;
  std::string error;  // "" none
};

// Everything durable behind `after`; sequences are checked.
inline Read read_all(const std::string& folder, uint64_t after = 0) {
  Read out;
  auto reader = JournalReader::open(folder, after);
  if (!reader.ok()) return {{}, reader.error().message};
  while (true) {
    auto record = (*reader)->next();
    if (!record.ok()) {
      out.error = record.error().message;
      return out;
    }
    if (!record->has_value()) return out;
    const JournalRecord& found = **record;
    EXPECT_EQ(found.sequence, after + out.records.size() + 1);
    auto decoded = contract::decode(found.kind, found.version, found.bytes);
    EXPECT_TRUE(decoded.ok()) << decoded.error().message;
    if (!decoded.ok()) return out;
    out.records.push_back(std::move(decoded).value());
  }
}

inline std::vector<std::string> segments_of(const std::string& folder) {
  std::vector<std::string> paths;
  const auto numbers = segment_numbers(folder);
  EXPECT_TRUE(numbers.ok());
  for (const uint64_t number : numbers.value()) paths.push_back(segment_path(folder, number));
  return paths;
}

}  // namespace sluice::store
