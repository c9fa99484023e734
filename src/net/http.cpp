#include "net/http.h"

#include <algorithm>
#include <array>

#include "net/http_syntax.h"

namespace sluice::net {
namespace {

struct MethodRow {
  Method method;
  std::string_view text;
};
constexpr std::array<MethodRow, 7> kMethods = {{
    {Method::kGet, "GET"},
    {Method::kHead, "HEAD"},
    {Method::kPost, "POST"},
    {Method::kPut, "PUT"},
    {Method::kDelete, "DELETE"},
    {Method::kOptions, "OPTIONS"},
    {Method::kPatch, "PATCH"},
}};

struct StatusRow {
  int status;
  std::string_view text;
};
constexpr StatusRow kStatuses[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

constexpr std::string_view kHopByHop[] = {
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
};

// `space` stands for a space.
std::optional<std::string> decode(std::string_view text, char space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i] == space ? ' ' : text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]);
    const int low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

}  // namespace

std::string_view method_text(Method method) {
  return kMethods[static_cast<size_t>(method)].text;
}

std::optional<Method> method_from_text(std::string_view text) {
  for (const MethodRow& row : kMethods)
    if (row.text == text) return row.method;
  return std::nullopt;
}

std::string_view status_text(int status) {
  for (const StatusRow& row : kStatuses)
    if (row.status == status) return row.text;
  return "Unknown";
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

std::optional<std::string_view> find_header(std::span<const Header> headers,
                                            std::string_view name) {
  for (const Header& header : headers)
    if (equal_ignoring_case(header.name, name)) return header.value;
  return std::nullopt;
}

bool is_hop_by_hop(std::string_view name) {
  for (std::string_view known : kHopByHop)
    if (equal_ignoring_case(name, known)) return true;
  return false;
}

std::vector<Header> end_to_end(std::span<const Header> headers) {
  std::vector<std::string_view> named;
  for (const Header& header : headers) {
    if (!equal_ignoring_case(header.name, "connection")) continue;
    for (std::string_view rest = header.value; !rest.empty();) {
      const std::string_view item = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), item.size() + 1));
      named.push_back(trimmed(item));
    }
  }
  std::vector<Header> kept;
  kept.reserve(headers.size());
  for (const Header& header : headers) {
    const bool dropped = is_hop_by_hop(header.name) ||
                         std::any_of(named.begin(), named.end(), [&](std::string_view name) {
                           return equal_ignoring_case(name, header.name);
                         });
    if (!dropped) kept.push_back(header);
  }
  return kept;
}

std::optional<std::string> percent_decode(std::string_view text) {
  return decode(text, ' ');
}

std::optional<std::string> query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(pair.size() == query.size() ? pair.size() : pair.size() + 1);
    const size_t equals = pair.find('=');
    if (decode(pair.substr(0, equals), '+') != name) continue;
    return decode(equals == std::string_view::npos ? "" : pair.substr(equals + 1), '+');
  }
  return std::nullopt;
}

}  // namespace sluice::net
