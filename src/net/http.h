// The nouns of HTTP/1.1 (RFC 9110, RFC 9112) that server, client and handlers share.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::net {

enum class Method : uint8_t { kGet, kHead, kPost, kPut, kDelete, kOptions, kPatch };

std::string_view method_text(Method method);
std::optional<Method> method_from_text(std::string_view text);

// A header as a view of bytes that someone else owns.
struct Header {
  std::string_view name;  // as written; compare with equal_ignoring_case()
  std::string_view value;
};

// The first header of that name, in any case.
std::optional<std::string_view> find_header(std::span<const Header> headers, std::string_view name);

enum class Version : uint8_t { kHttp10, kHttp11 };

// A whole request. All views end with the call that hands the request over: copy what is kept.
struct Request {
  Method method = Method::kGet;
  Version version = Version::kHttp11;
  std::string_view target;  // "/v1/models?limit=2", as written
  std::string_view path;    // "/v1/models", still percent-encoded
  std::string_view query;   // "limit=2", still percent-encoded
  std::span<const Header> headers;
  std::string_view body;            // chunks already joined
  std::string_view remote_address;  // "127.0.0.1", "::1"
  bool keep_alive = true;           // the client wants to send more on this connection

  std::optional<std::string_view> header(std::string_view name) const {
    return find_header(headers, name);
  }
};

struct OwnedHeader {
  std::string name;
  std::string value;
};

// A whole response. Framing headers (Content-Length, Transfer-Encoding, Connection) and Date are
// the server's: those given here are left out.
struct Response {
  int status = 200;
  std::vector<OwnedHeader> headers = {};
  std::string body = {};
};

// "Not Found"; "Unknown" for a status without a registered text.
std::string_view status_text(int status);

bool equal_ignoring_case(std::string_view a, std::string_view b);  // ASCII

// A header that belongs to one connection (RFC 9110 §7.6.1): a proxy does not pass it on.
bool is_hop_by_hop(std::string_view name);

// What a proxy passes on: all but the hop-by-hop headers and those that Connection names.
std::vector<Header> end_to_end(std::span<const Header> headers);

// nullopt for a broken escape ("%4", "%zz") and for an encoded NUL.
std::optional<std::string> percent_decode(std::string_view text);

// The decoded value of `name` in "a=1&name=x%20y"; "+" is a space. nullopt where it is absent or
// its escapes are broken.
std::optional<std::string> query_value(std::string_view query, std::string_view name);

}  // namespace sluice::net
