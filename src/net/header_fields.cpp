#include <cstring>

#include "net/http_parser.h"
#include "net/http_syntax.h"

namespace sluice::net {
namespace {

constexpr ParseError kOk = {};

// Digits only, once. A number too large for any body is as good as its largest value.
ParseError read_content_length(std::string_view value, Framing* framing) {
  if (framing->content_length != Framing::kAbsent)
    return {400, "more than one Content-Length header"};
  if (value.empty()) return {400, "Content-Length is empty"};
  int64_t length = 0;
  for (char c : value) {
    if (c < '0' || c > '9') return {400, "Content-Length is not a decimal number"};
    if (__builtin_mul_overflow(length, 10, &length) ||
        __builtin_add_overflow(length, c - '0', &length))
      length = INT64_MAX;
  }
  framing->content_length = length;
  return kOk;
}

ParseError read_transfer_encoding(std::string_view value, Framing* framing) {
  if (framing->chunked) return {400, "more than one Transfer-Encoding header"};
  if (!equal_ignoring_case(value, "chunked"))
    return {501, "Transfer-Encoding other than exactly 'chunked' is not supported"};
  framing->chunked = true;
  return kOk;
}

ParseError read_connection(std::string_view value, Framing* framing) {
  while (!value.empty()) {
    const size_t comma = value.find(',');
    const std::string_view option = trimmed(value.substr(0, comma));
    if (equal_ignoring_case(option, "close")) framing->close = true;
    if (equal_ignoring_case(option, "keep-alive")) framing->keep_alive = true;
    value.remove_prefix(comma == std::string_view::npos ? value.size() : comma + 1);
  }
  return kOk;
}

ParseError read_host(std::string_view value, Framing* framing) {
  if (++framing->hosts > 1) return {400, "more than one Host header"};
  if (!all_are(value, kHostCharacter)) return {400, "Host is not a valid host name"};
  return kOk;
}

ParseError read_expect(std::string_view value, Framing* framing) {
  if (equal_ignoring_case(value, "100-continue"))
    framing->expect_continue = true;
  else
    framing->expect_unknown = true;
  return kOk;
}

struct FramingHeader {
  std::string_view name;
  ParseError (*read)(std::string_view value, Framing* framing);
};
constexpr FramingHeader kFramingHeaders[] = {
    {"host", read_host},
    {"content-length", read_content_length},
    {"transfer-encoding", read_transfer_encoding},
    {"connection", read_connection},
    {"expect", read_expect},
};

}  // namespace

ParseError HeaderFields::read_framing(std::string_view name, std::string_view value) {
  for (const FramingHeader& row : kFramingHeaders)
    if (name.size() == row.name.size() && equal_ignoring_case(name, row.name))
      return row.read(value, &framing_);
  return kOk;
}

ParseError HeaderFields::add(std::string_view line, size_t offset, const MessageLimits& limits) {
  if (static_cast<int64_t>(fields_.size()) >= limits.headers_max)
    return {431, "too many header lines"};
  if (line.front() == ' ' || line.front() == '\t')
    return {400, "folded header lines are not allowed"};
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return {400, "header line without a colon"};
  const std::string_view name = line.substr(0, colon);
  if (name.empty()) return {400, "header line without a name"};
  if (!all_are(name, kTokenCharacter)) return {400, "invalid character in a header name"};
  const std::string_view raw_value = line.substr(colon + 1);
  if (!all_are(raw_value, kValueCharacter)) return {400, "control character in a header value"};
  const std::string_view value = trimmed(raw_value);
  const size_t value_offset = value.empty()
                                  ? offset + line.size()
                                  : offset + static_cast<size_t>(value.data() - line.data());
  fields_.push_back({.name = static_cast<uint32_t>(offset),
                     .name_bytes = static_cast<uint32_t>(name.size()),
                     .value = static_cast<uint32_t>(value_offset),
                     .value_bytes = static_cast<uint32_t>(value.size())});
  return read_framing(name, value);
}

void HeaderFields::resolve(const char* message, std::vector<Header>* headers) const {
  headers->clear();
  for (const Field& field : fields_)
    headers->push_back({.name = {message + field.name, field.name_bytes},
                        .value = {message + field.value, field.value_bytes}});
}

void HeaderFields::reset() {
  fields_.clear();
  framing_ = {};
}

LineScanner::Line LineScanner::find(const char* data, size_t size, size_t begin) {
  const size_t from = std::max(begin, searched_);
  const void* found = size > from ? std::memchr(data + from, '\n', size - from) : nullptr;
  if (found == nullptr) {
    searched_ = size;
    return {};
  }
  const size_t line_feed = static_cast<size_t>(static_cast<const char*>(found) - data);
  searched_ = line_feed + 1;
  if (line_feed == begin || data[line_feed - 1] != '\r')
    return {
        .found = Found::kBareLf, .text = {data + begin, line_feed - begin}, .next = line_feed + 1};
  return {
      .found = Found::kLine, .text = {data + begin, line_feed - 1 - begin}, .next = line_feed + 1};
}

}  // namespace sluice::net
