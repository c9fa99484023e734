// What an attempt at a replica is billed: one table of rules (docs/billing.md publishes it, a test
// runs the page line by line), prices, and the lines that come out of both.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "contract/money.h"
#include "contract/snapshot.h"
#include "contract/usage_event.h"

namespace sluice::ledger {

// ---- prices ---------------------------------------------------------------------------------

// The price that holds for this model and pool at this time, as contract::Price says; nullptr:
// none.
struct PriceQuestion {
  contract::PriceSide side = contract::PriceSide::kSale;
  std::string_view model;
  std::string_view pool;
  int64_t unix_s = 0;
};
const contract::Price* price_of(std::span<const contract::Price> prices,
                                const PriceQuestion& question);

// ---- what happened at a replica -------------------------------------------------------------

using Quantities = std::array<int64_t, contract::kUnits>;  // by Unit

// How the work at one replica ended. A request has one attempt that ends with it, and before that
// one attempt for each replica that failed it.
enum class AttemptEnd : uint8_t {
  kWithRequest,  // its outcome is the request's
  kRetried,      // failed before the first byte; another replica was asked
  kHandedOver,   // ended after tokens had been sent; another replica goes on with the stream
};

enum class AttemptStart : uint8_t {
  kFresh,
  kResumed,  // goes on with a stream from the tokens already sent
};

// One attempt.
struct Attempt {
  std::string_view replica;
  std::string_view pool;
  std::string_view owner;                 // of the pool
  const contract::Price* sale = nullptr;  // nullptr: nothing
  const contract::Price* cost = nullptr;
  AttemptStart start = AttemptStart::kFresh;
  AttemptEnd end = AttemptEnd::kWithRequest;
  std::optional<Quantities> usage =
      std::nullopt;         // as the replica stated it; prompt without the cached part
  Quantities counted = {};  // by the gateway: what was sent to it, what of it reached the
                            // client
};

// ---- rules ----------------------------------------------------------------------------------

enum class Known : uint8_t {
  kUsage,    // the replica stated its usage
  kTokens,   // it did not; tokens of it have reached the client
  kNoToken,  // it did not; none has
};
Known known_of(const Attempt& attempt);

// Which quantities are charged.
enum class Basis : uint8_t {
  kNothing,
  kUsage,
  kCounted,
  kCountedPrompt,  // the prompt alone
  kCountedOutput,  // output and reasoning alone
};

struct Charge {
  Basis sale = Basis::kNothing;  // to the tenant
  Basis cost = Basis::kNothing;  // owed to the pool's owner
  bool operator==(const Charge&) const = default;
};

// `outcome` is the request's; it counts for the attempt that ended with it.
Charge charge_of(contract::Outcome outcome, AttemptEnd end, AttemptStart start, Known known);

// The lines of a request's event: for each attempt and unit one line where tenant and owner are
// charged for the same quantity, else one for each. Units of quantity 0 have no line.
std::vector<contract::UsageLine> lines_of(contract::Outcome outcome,
                                          std::span<const Attempt> attempts);

// Sum of the amounts: what the tenant pays.
contract::NanoMoney total_amount(std::span<const contract::UsageLine> lines);

}  // namespace sluice::ledger
