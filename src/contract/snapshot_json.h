// The snapshot and its objects as canonical JSON: one text for one value (order of keys fixed, no
// white space), so that a hash of the text is a hash of the object. Times that are durations are
// milliseconds ("ttft_ms": 1.5), money is a decimal string of the currency ("0.15"), rates are per
// million tokens and per second of compute. Readers take what the writers write, with any key left
// out that has a default, and list everything that is wrong, not the first fault only.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "contract/snapshot.h"
#include "contract/value.h"

namespace sluice::contract {

std::string to_json(const Tenant& object);
std::string to_json(const Project& object);
std::string to_json(const Key& object);
std::string to_json(const Pool& object);
std::string to_json(const Replica& object);
std::string to_json(const Model& object);
std::string to_json(const Price& object);
std::string to_json(const Snapshot& object);

// Sets in `object` what the document names and leaves the rest: reads into a fresh object, changes
// one that exists. What is wrong is appended to `problems`, paths beginning with `path`; then
// `object` is not to be used.
void read_into(const Value& document, std::string_view path, Tenant* object, Problems* problems);
void read_into(const Value& document, std::string_view path, Project* object, Problems* problems);
void read_into(const Value& document, std::string_view path, Key* object, Problems* problems);
void read_into(const Value& document, std::string_view path, Pool* object, Problems* problems);
void read_into(const Value& document, std::string_view path, Replica* object, Problems* problems);
void read_into(const Value& document, std::string_view path, Model* object, Problems* problems);
void read_into(const Value& document, std::string_view path, Price* object, Problems* problems);
void read_into(const Value& document, std::string_view path, Snapshot* object, Problems* problems);

// A whole snapshot out of its text: read, then validated. The Error lists every problem.
core::Result<Snapshot> parse_snapshot(std::string_view json);

// What no single object can see or a reader does not look at: ids twice, references to nothing,
// cycles of fallbacks, a remote pool that takes private data, broken URLs and networks, negative
// limits and rates. Empty: the snapshot can be put in force.
Problems validate(const Snapshot& snapshot);

// "0.15", "-3", "12.000000001"; nullopt: no such number, more than nine places, or out of range.
std::optional<NanoMoney> money_from_text(std::string_view text);
std::string to_text(NanoMoney money);

}  // namespace sluice::contract
