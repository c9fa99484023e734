// docs/billing.md is the truth: its tables are read and run line by line.
#include "ledger/billing.h"

#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::ledger {
namespace {

using contract::Outcome;
using contract::Price;
using contract::PriceSide;
using contract::Unit;

using Cells = std::vector<std::string>;

std::string trim(const std::string& text) {
  const auto first = text.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(trim(part));
  return parts;
}

// The rows of the table below a heading, without its own two first lines.
std::vector<Cells> table_below(const std::string& heading) {
  std::ifstream page("docs/billing.md");
  std::vector<Cells> rows;
  bool there = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("## ")) there = line == "## " + heading;
    if (!there || !line.starts_with("|")) continue;
    Cells cells = split(line.substr(1), '|');
    rows.push_back(std::move(cells));
  }
  EXPECT_GE(rows.size(), 3u) << heading;
  if (rows.size() >= 2) rows.erase(rows.begin(), rows.begin() + 2);
  return rows;
}

template <typename T>
using Words = std::map<std::string, T>;

const Words<AttemptEnd> kEnds = {{"ended the request", AttemptEnd::kWithRequest},
                                 {"was retried elsewhere", AttemptEnd::kRetried},
                                 {"was handed over", AttemptEnd::kHandedOver}};
const Words<AttemptStart> kStarts = {{"fresh", AttemptStart::kFresh},
                                     {"resumed", AttemptStart::kResumed}};
const Words<Known> kKnown = {
    {"usage", Known::kUsage}, {"tokens", Known::kTokens}, {"no token", Known::kNoToken}};
const Words<Basis> kBases = {{"nothing", Basis::kNothing},
                             {"usage", Basis::kUsage},
                             {"counted", Basis::kCounted},
                             {"counted prompt", Basis::kCountedPrompt},
                             {"counted output", Basis::kCountedOutput}};

Words<Outcome> outcomes() {
  Words<Outcome> words;
  for (int i = 0; i < contract::kOutcomes; ++i)
    words[std::string(to_text(static_cast<Outcome>(i)))] = static_cast<Outcome>(i);
  return words;
}

template <typename T>
bool fits(const std::string& cell, const Words<T>& words, T value) {
  return cell == "any" || words.at(cell) == value;
}

TEST(Billing, EveryLineOfThePublishedRulesHoldsAndNoneIsIdle) {
  const std::vector<Cells> rows = table_below("Rules");
  std::set<size_t> used;
  for (const auto& [end_word, end] : kEnds) {
    for (const auto& [outcome_word, outcome] : outcomes()) {
      for (const auto& [start_word, start] : kStarts) {
        for (const auto& [known_word, known] : kKnown) {
          size_t row = 0;
          while (row < rows.size() &&
                 !(fits(rows[row][0], kEnds, end) && fits(rows[row][1], outcomes(), outcome) &&
                   fits(rows[row][2], kStarts, start) && fits(rows[row][3], kKnown, known)))
            ++row;
          ASSERT_LT(row, rows.size());
          used.insert(row);
          const Charge published = {kBases.at(rows[row][4]), kBases.at(rows[row][5])};
          EXPECT_EQ(charge_of(outcome, end, start, known), published)
              << end_word << ", " << outcome_word << ", " << start_word << ", " << known_word;
        }
      }
    }
  }
  EXPECT_EQ(used.size(), rows.size()) << "a line that never holds";
}

Price price(PriceSide side, int64_t prompt, int64_t cached, int64_t output) {
  constexpr int64_t kMillion = 1'000'000;
  Price out;
  out.version = side == PriceSide::kSale ? 1 : 2;
  out.side = side;
  out.rates[static_cast<size_t>(Unit::kPromptToken)] = {prompt * kMillion};
  out.rates[static_cast<size_t>(Unit::kCachedPromptToken)] = {cached * kMillion};
  out.rates[static_cast<size_t>(Unit::kOutputToken)] = {output * kMillion};
  return out;
}

Quantities quantities(const std::string& text) {
  const std::vector<std::string> parts = split(text, '+');
  Quantities out = {};
  out[static_cast<size_t>(Unit::kPromptToken)] = std::stoll(parts.at(0));
  out[static_cast<size_t>(Unit::kCachedPromptToken)] = std::stoll(parts.at(1));
  out[static_cast<size_t>(Unit::kOutputToken)] = std::stoll(parts.at(2));
  return out;
}

struct WrittenAttempt {
  std::string replica;
  Attempt attempt;
};

// "b resumed: usage 12+100+18 counted 112+0+18"
WrittenAttempt parse_attempt(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string how = text.substr(0, colon);
  WrittenAttempt out = {.replica = how.substr(0, how.find(' ')), .attempt = {}};
  if (how.find("resumed") != std::string::npos) out.attempt.start = AttemptStart::kResumed;
  if (how.find("retried") != std::string::npos) out.attempt.end = AttemptEnd::kRetried;
  if (how.find("handed over") != std::string::npos) out.attempt.end = AttemptEnd::kHandedOver;
  std::istringstream words(text.substr(colon + 1));
  for (std::string word, numbers; words >> word >> numbers;) {
    if (word == "usage") {
      out.attempt.usage = quantities(numbers);
    } else {
      EXPECT_EQ(word, "counted") << text;
      out.attempt.counted = quantities(numbers);
    }
  }
  return out;
}

int64_t last_number(const std::string& cell) {
  const size_t equals = cell.rfind('=');
  return std::stoll(equals == std::string::npos ? cell : cell.substr(equals + 1));
}

TEST(Billing, EveryPublishedCaseComesToWhatThePageSays) {
  const Price sale = price(PriceSide::kSale, 10, 2, 40);
  const Price cost = price(PriceSide::kCost, 5, 1, 20);
  for (const Cells& row : table_below("Cases")) {
    SCOPED_TRACE(row[0]);
    std::vector<WrittenAttempt> written;
    if (row[2] != "none")
      for (const std::string& text : split(row[2], ';')) written.push_back(parse_attempt(text));
    std::vector<Attempt> attempts;
    for (WrittenAttempt& each : written) {
      each.attempt.replica = each.attempt.owner = each.replica;
      each.attempt.sale = &sale;
      each.attempt.cost = &cost;
      attempts.push_back(each.attempt);
    }
    const auto lines = lines_of(outcomes().at(row[1]), attempts);

    EXPECT_EQ(total_amount(lines).nano, last_number(row[3]));
    std::map<std::string, int64_t> owed;
    for (const contract::UsageLine& line : lines) owed[line.owner] += line.cost.nano;
    if (row[4] == "none") {
      EXPECT_TRUE(lines.empty());
      continue;
    }
    for (const std::string& part : split(row[4], ','))
      EXPECT_EQ(owed[part.substr(0, part.find(' '))], std::stoll(part.substr(part.find(' '))))
          << part;
  }
}

TEST(Billing, ALineSaysWhomItChargesAndAtWhichPrice) {
  const Price sale = price(PriceSide::kSale, 10, 2, 40);
  const Attempt attempt = {.replica = "b",
                           .pool = "far",
                           .owner = "gpu-co",
                           .sale = &sale,
                           .start = AttemptStart::kResumed,
                           .usage = quantities("12+100+18"),
                           .counted = quantities("112+0+17")};
  const auto lines = lines_of(Outcome::kComplete, std::span(&attempt, 1));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].side, contract::LineSide::kCostOnly);
  EXPECT_EQ(lines[0].sale_version, 0);
  EXPECT_EQ(lines[0].amount.nano, 0);
  EXPECT_EQ(lines[2].unit, Unit::kOutputToken);
  EXPECT_EQ(lines[2].side, contract::LineSide::kSaleOnly);
  EXPECT_EQ(lines[2].quantity, 17);
  EXPECT_EQ(lines[2].sale_version, 1);
  EXPECT_EQ(lines[3].side, contract::LineSide::kCostOnly);
  EXPECT_EQ(lines[3].quantity, 18);
  EXPECT_EQ(lines[3].cost_version, 0) << "no cost price matched";
}

TEST(Billing, TheMostParticularPriceHoldsAndOfEqualsTheLatest) {
  const auto make = [](int64_t version, std::string model, std::string pool, int64_t from) {
    Price out;
    out.version = version;
    out.model = std::move(model);
    out.pool = std::move(pool);
    out.valid_from_unix_s = from;
    return out;
  };
  std::vector<Price> prices = {make(1, "", "", 0),    make(2, "", "p", 0),  make(3, "m", "", 0),
                               make(4, "m", "p", 10), make(5, "m", "", 20), make(6, "m", "", 15)};
  prices.push_back(make(7, "m", "p", 0));
  prices.back().side = PriceSide::kCost;
  const auto version = [&](std::string_view model, std::string_view pool, int64_t at) {
    const Price* found =
        price_of(prices, {.side = PriceSide::kSale, .model = model, .pool = pool, .unix_s = at});
    return found == nullptr ? 0 : found->version;
  };
  EXPECT_EQ(version("x", "x", 0), 1);
  EXPECT_EQ(version("x", "p", 0), 2);
  EXPECT_EQ(version("m", "p", 9), 3) << "4 is not in force yet, 7 is of the other side";
  EXPECT_EQ(version("m", "p", 10), 4);
  EXPECT_EQ(version("m", "x", 19), 6);
  EXPECT_EQ(version("m", "x", 20), 5);
  EXPECT_EQ(version("x", "x", -1), 0);
}

}  // namespace
}  // namespace sluice::ledger
