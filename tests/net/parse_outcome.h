// What a parser made of a run of bytes that arrived in pieces, as text to compare.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fmt/core.h"
#include "net/http_parser.h"

namespace sluice::net {

// Every request in `bytes`, then the error or what is missing. `cuts`: offsets at which a piece
// ends, ascending.
inline std::string request_outcome(std::string_view bytes, const std::vector<size_t>& cuts,
                                   const MessageLimits& limits) {
  std::string outcome;
  RequestParser parser(&limits);
  ByteBuffer input;
  std::vector<Header> headers;
  size_t begin = 0;
  for (size_t piece = 0; piece <= cuts.size(); ++piece) {
    const size_t end = piece < cuts.size() ? cuts[piece] : bytes.size();
    input.append(bytes.substr(begin, end - begin));
    begin = end;
    for (;;) {
      const RequestParser::Status status = parser.parse(input);
      if (status == RequestParser::Status::kNeedMore) break;
      if (status == RequestParser::Status::kFailed)
        return outcome + fmt::format("{} {}", parser.error().status, parser.error().message);
      const Request request = parser.request(input, &headers);
      outcome += fmt::format("{} {} {} keep={} body={}\n", method_text(request.method),
                             request.target, request.version == Version::kHttp11 ? "1.1" : "1.0",
                             request.keep_alive, request.body);
      for (const Header& header : request.headers)
        outcome += fmt::format("[{}]=[{}]\n", header.name, header.value);
      parser.next_message(input);
      if (input.empty()) break;
    }
  }
  return outcome + fmt::format("more head={} body={}", parser.head_complete(), parser.body_bytes());
}

// The head, the joined body and how it ended, of one response.
inline std::string response_outcome(std::string_view bytes, const std::vector<size_t>& cuts,
                                    const MessageLimits& limits, Method method) {
  std::string head;
  std::string body;
  ResponseParser parser(&limits);
  parser.start(method);
  ByteBuffer input;
  size_t begin = 0;
  for (size_t piece = 0; piece <= cuts.size(); ++piece) {
    const size_t end = piece < cuts.size() ? cuts[piece] : bytes.size();
    input.append(bytes.substr(begin, end - begin));
    begin = end;
    for (bool more = true; more;) {
      switch (parser.next(input)) {
        case ResponseParser::Event::kHead:
          head = fmt::format("{} keep={} body={}\n", parser.head().status, parser.head().keep_alive,
                             parser.head().has_body);
          for (const Header& header : parser.head().headers)
            head += fmt::format("[{}]=[{}]\n", header.name, header.value);
          break;
        case ResponseParser::Event::kBody:
          body += parser.body();
          break;
        case ResponseParser::Event::kNeedMore:
          more = false;
          break;
        case ResponseParser::Event::kDone:
          return head + body + "\ndone";
        case ResponseParser::Event::kFailed:
          return head + body + "\nfailed " + parser.error().message;
      }
    }
  }
  return head + body + (parser.ends_with_connection() ? "\nuntil close" : "\nmore");
}

}  // namespace sluice::net
