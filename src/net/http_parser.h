// Incremental HTTP/1.1 parsers for foreign bytes (RFC 9112), as strict as the standard allows: what
// two implementations could read differently is refused (docs/adr/0004-http-parser.md). However the
// bytes are cut into pieces, the result is the same.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "net/byte_buffer.h"
#include "net/http.h"

namespace sluice::net {

struct MessageLimits {
  int64_t header_bytes_max = 64 << 10;  // start line and headers
  int64_t target_bytes_max = 8 << 10;
  int32_t headers_max = 128;
  int64_t body_bytes_max = 32 << 20;
  int64_t chunk_line_bytes_max = 256;        // one chunk's size and extensions
  int64_t chunk_extension_bytes_max = 4096;  // all extensions of a body
  int64_t trailer_bytes_max = 8 << 10;
};

// Why a message was refused: the status that a server answers with, and a text for the sender.
struct ParseError {
  int status = 0;  // 0: none
  const char* message = "";
};

// What the header lines say about where the message ends. Filled by HeaderFields.
struct Framing {
  static constexpr int64_t kAbsent = -1;
  int64_t content_length = kAbsent;
  bool chunked = false;
  bool close = false;       // "Connection: close"
  bool keep_alive = false;  // "Connection: keep-alive"
  bool expect_continue = false;
  bool expect_unknown = false;
  int32_t hosts = 0;
};

// The header lines of one message, as offsets into its buffer.
class HeaderFields {
 public:
  // line: without its CRLF; offset: of the line in the message. Keeps name and value and reads what
  // concerns framing.
  ParseError add(std::string_view line, size_t offset, const MessageLimits& limits);
  const Framing& framing() const { return framing_; }
  // Views into `message`, into `headers` (replaced).
  void resolve(const char* message, std::vector<Header>* headers) const;
  void reset();

 private:
  struct Field {
    uint32_t name, name_bytes, value, value_bytes;
  };
  ParseError read_framing(std::string_view name, std::string_view value);
  std::vector<Field> fields_;
  Framing framing_;
};

// Finds line ends, remembering what was searched already.
class LineScanner {
 public:
  enum class Found { kNothing, kLine, kBareLf };
  struct Line {
    Found found = Found::kNothing;
    std::string_view text = {};  // without its line end
    size_t next = 0;             // offset of the line after it
  };
  // The line that begins at offset `begin`.
  Line find(const char* data, size_t size, size_t begin);
  void reset() { searched_ = 0; }

 private:
  size_t searched_ = 0;
};

// Takes the frames off a chunked body.
class ChunkDecoder {
 public:
  enum class Status { kNeedMore, kData, kDone, kFailed };
  struct Step {
    Status status = Status::kNeedMore;
    size_t consumed = 0;         // bytes of the input that are done with, data included
    std::string_view data = {};  // kData: body bytes, inside the input
  };
  explicit ChunkDecoder(const MessageLimits* limits) : limits_(limits) {}
  // `input` begins where the last step stopped consuming.
  Step step(std::string_view input);
  const ParseError& error() const { return error_; }
  void reset();

 private:
  enum class State : uint8_t { kSizeLine, kData, kDataEnd, kTrailers, kDone };
  Step fail(int status, const char* message);
  bool read_size_line(std::string_view line);
  Step read_trailer(std::string_view input, size_t consumed);

  const MessageLimits* limits_;
  State state_ = State::kSizeLine;
  int64_t chunk_bytes_left_ = 0;
  int64_t body_bytes_ = 0;       // announced so far
  int64_t extension_bytes_ = 0;  // seen so far
  int64_t trailer_bytes_ = 0;
  ParseError error_;
};

// A request, kept whole in the buffer that it arrives in.
class RequestParser {
 public:
  enum class Status { kNeedMore, kComplete, kFailed };
  explicit RequestParser(const MessageLimits* limits) : limits_(limits), chunks_(limits) {}

  // `input` begins with the first byte of the message, at each call with the bytes of the last one
  // and more. Chunked bodies are joined in place.
  Status parse(ByteBuffer& input);

  // kFailed only.
  const ParseError& error() const { return error_; }
  // Some byte of the message was seen.
  bool begun() const { return begun_; }
  bool head_complete() const { return state_ >= State::kBody; }
  // The head is complete, the body is not, and the sender waits for "100 Continue".
  bool waits_for_continue() const;
  // Bytes of the body that have arrived, framing of chunks left out.
  int64_t body_bytes() const { return static_cast<int64_t>(body_end_ - body_begin_); }
  // Bytes that the whole message takes in the buffer; a guess for a chunked one.
  size_t message_bytes() const;

  // head_complete() only: views into `input`, header views into `headers`. Before kComplete the
  // body is empty.
  Request request(const ByteBuffer& input, std::vector<Header>* headers) const;
  // kComplete only: takes the message out of `input` and starts again.
  void next_message(ByteBuffer& input);

 private:
  enum class State : uint8_t { kRequestLine, kHeaders, kBody, kChunkedBody, kComplete, kFailed };
  Status fail(ParseError error);
  Status read_head(const char* data, size_t size);
  ParseError read_request_line(std::string_view line, size_t offset);
  ParseError check_head() const;
  Status read_chunks(ByteBuffer& input);

  const MessageLimits* limits_;
  State state_ = State::kRequestLine;
  bool begun_ = false;
  bool skipped_empty_line_ = false;
  Method method_ = Method::kGet;
  Version version_ = Version::kHttp11;
  LineScanner scanner_;
  HeaderFields fields_;
  ChunkDecoder chunks_;
  size_t line_begin_ = 0;
  uint32_t target_ = 0, target_bytes_ = 0;
  size_t body_begin_ = 0;
  size_t body_end_ = 0;
  ParseError error_;
};

struct ResponseHead {
  int status = 0;
  std::span<const Header> headers;
  bool keep_alive = true;  // the connection can carry another request after this response
  bool has_body = true;

  std::optional<std::string_view> header(std::string_view name) const {
    return find_header(headers, name);
  }
};

// A response, handed on piece by piece as it arrives.
class ResponseParser {
 public:
  enum class Event { kNeedMore, kHead, kBody, kDone, kFailed };
  explicit ResponseParser(const MessageLimits* limits) : limits_(limits), chunks_(limits) {}

  // Before each response: the method it answers.
  void start(Method method);
  // What comes next in `input`; used bytes are taken out of it at the following call, which ends
  // the views of head() and body(). 1xx responses are skipped.
  Event next(ByteBuffer& input);
  // The peer closed: true when that is how this response ends.
  bool ends_with_connection() const { return state_ == State::kUntilClose; }

  const ResponseHead& head() const { return head_; }  // at kHead
  // At kHead: the body, where all of it is in `input` in one piece. skip_whole_body() then makes
  // the next event kDone.
  std::optional<std::string_view> whole_body(const ByteBuffer& input) const;
  void skip_whole_body();
  std::string_view body() const { return body_; }     // at kBody
  const ParseError& error() const { return error_; }  // at kFailed
  bool begun() const { return begun_; }               // some byte of the response was seen

 private:
  enum class State : uint8_t {
    kStatusLine,
    kHeaders,
    kBody,
    kChunkedBody,
    kUntilClose,
    kDone,
    kFailed
  };
  Event fail(ParseError error);
  Event read_head(const ByteBuffer& input);
  ParseError read_status_line(std::string_view line);
  Event finish_head(const ByteBuffer& input);
  Event read_chunk(const ByteBuffer& input);

  const MessageLimits* limits_;
  State state_ = State::kDone;
  bool begun_ = false;
  Method method_ = Method::kGet;
  Version version_ = Version::kHttp11;
  LineScanner scanner_;
  HeaderFields fields_;
  ChunkDecoder chunks_;
  std::vector<Header> headers_;
  ResponseHead head_;
  std::string_view body_;
  size_t line_begin_ = 0;
  size_t used_bytes_ = 0;  // of the input, taken out at the next call
  int64_t body_bytes_left_ = 0;
  ParseError error_;
};

}  // namespace sluice::net
