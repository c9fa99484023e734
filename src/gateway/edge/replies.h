// Heads of the gateway's answers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/error.h"
#include "contract/money.h"
#include "net/http.h"

namespace sluice::gateway {

// Headers whose values lie in one piece of memory that is used again and again.
class HeaderList {
 public:
  void clear() {
    fields_.clear();
    values_.clear();
  }
  // `name` lives as long as the list is used.
  void add(std::string_view name, std::string_view value);
  void add(std::string_view name, int64_t value);
  // The value is what append_value(&text) appends.
  template <typename AppendValue>
  void add_text(std::string_view name, AppendValue append_value) {
    const size_t begin = values_.size();
    append_value(&values_);
    fields_.push_back({name, begin, values_.size() - begin});
  }
  std::span<const net::Header> view();  // until the next add()

 private:
  struct Field {
    std::string_view name;
    size_t begin = 0;
    size_t size = 0;
  };
  std::vector<Field> fields_;
  std::string values_;
  std::vector<net::Header> views_;
};

// Units of the currency with nine places: "0.000001230".
std::string money_text(contract::NanoMoney amount);

// {"error":…} as a whole response.
net::Response error_response(const api::Error& error, std::string_view request_id);

// Retry-After in whole seconds and retry-after-ms, both rounded up.
void add_retry_after(int64_t retry_after_ns, std::vector<net::OwnedHeader>* headers);

// Headers of an upstream's answer that its client may see.
bool passes_back(std::string_view name);
// Headers of a client that an upstream may see.
bool passes_on(std::string_view name);

}  // namespace sluice::gateway
