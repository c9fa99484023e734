#include "net/http_parser.h"

#include <algorithm>

#include "net/http_syntax.h"

namespace sluice::net {
namespace {

// Method, version and spaces around the longest target.
constexpr int64_t kRequestLineRest = 64;

// "HTTP/1.1"; status 0 where it is one of the two versions spoken here.
ParseError read_version(std::string_view text, Version* version) {
  if (text.size() != 8 || !text.starts_with("HTTP/") || !is_digit(text[5]) || text[6] != '.' ||
      !is_digit(text[7]))
    return {400, "malformed HTTP version"};
  if (text != "HTTP/1.1" && text != "HTTP/1.0")
    return {505, "only HTTP/1.1 and HTTP/1.0 are spoken here"};
  *version = text.back() == '1' ? Version::kHttp11 : Version::kHttp10;
  return {};
}

ParseError check_target(Method method, std::string_view target) {
  if (!all_are(target, kTargetCharacter)) return {400, "invalid character in the request target"};
  if (target == "*" && method == Method::kOptions) return {};
  if (target.empty() || target.front() != '/')
    return {400, "the request target must be a path that begins with '/'"};
  return {};
}

bool keeps_alive(Version version, const Framing& framing) {
  if (framing.close) return false;
  return version == Version::kHttp11 || framing.keep_alive;
}

}  // namespace

// ---- RequestParser ----

RequestParser::Status RequestParser::fail(ParseError error) {
  state_ = State::kFailed;
  error_ = error;
  return Status::kFailed;
}

ParseError RequestParser::read_request_line(std::string_view line, size_t offset) {
  const size_t first_space = line.find(' ');
  const size_t last_space = line.rfind(' ');
  if (first_space == std::string_view::npos || first_space == last_space)
    return {400, "malformed request line"};
  const std::string_view method = line.substr(0, first_space);
  const std::string_view target = line.substr(first_space + 1, last_space - first_space - 1);
  if (method.empty() || !all_are(method, kTokenCharacter)) return {400, "malformed method"};
  const ParseError version_error = read_version(line.substr(last_space + 1), &version_);
  if (version_error.status != 0) return version_error;
  if (method == "CONNECT" || method == "TRACE") return {405, "this method is not allowed here"};
  const std::optional<Method> known = method_from_text(method);
  if (!known) return {501, "unknown method"};
  method_ = *known;
  if (bytes(target.size()) > limits_->target_bytes_max) return {414, "request target is too long"};
  target_ = static_cast<uint32_t>(offset + first_space + 1);
  target_bytes_ = static_cast<uint32_t>(target.size());
  return check_target(method_, target);
}

// What only the whole head can tell.
ParseError RequestParser::check_head() const {
  const Framing& framing = fields_.framing();
  if (framing.hosts == 0 && version_ == Version::kHttp11) return {400, "Host header is missing"};
  if (framing.chunked && framing.content_length != Framing::kAbsent)
    return {400, "both Content-Length and Transfer-Encoding"};
  if (framing.chunked && version_ == Version::kHttp10)
    return {400, "Transfer-Encoding in an HTTP/1.0 request"};
  if (framing.content_length > limits_->body_bytes_max) return {413, "body is too large"};
  if (framing.expect_unknown) return {417, "the only known expectation is 100-continue"};
  return {};
}

// Lines are judged one by one when they are complete, and by nothing but their own bytes and their
// place, so that the result does not depend on how they arrive.
RequestParser::Status RequestParser::read_head(const char* data, size_t size) {
  while (state_ == State::kRequestLine || state_ == State::kHeaders) {
    const LineScanner::Line line = scanner_.find(data, size, line_begin_);
    const bool complete = line.found != LineScanner::Found::kNothing;
    const size_t length = complete ? line.text.size() : size - line_begin_;
    const int64_t line_most =
        limits_->target_bytes_max + kRequestLineRest + (complete ? 0 : 1);  // a CR may be last
    if (state_ == State::kRequestLine && bytes(length) > line_most)
      return fail({414, "request line is too long"});
    if (bytes(complete ? line.next : size) > limits_->header_bytes_max)
      return fail({431, "headers are too long"});
    if (!complete) return Status::kNeedMore;
    if (line.found == LineScanner::Found::kBareLf) return fail({400, "line ends without CR"});
    const size_t offset = line_begin_;
    line_begin_ = line.next;
    if (state_ == State::kRequestLine) {
      if (line.text.empty() && !skipped_empty_line_) {  // RFC 9112 §2.2 asks to ignore one
        skipped_empty_line_ = true;
        continue;
      }
      const ParseError error = read_request_line(line.text, offset);
      if (error.status != 0) return fail(error);
      state_ = State::kHeaders;
    } else if (!line.text.empty()) {
      const ParseError error = fields_.add(line.text, offset, *limits_);
      if (error.status != 0) return fail(error);
    } else {
      const ParseError error = check_head();
      if (error.status != 0) return fail(error);
      state_ = fields_.framing().chunked ? State::kChunkedBody : State::kBody;
      body_begin_ = body_end_ = line_begin_;
    }
  }
  return Status::kNeedMore;
}

RequestParser::Status RequestParser::read_chunks(ByteBuffer& input) {
  size_t at = body_end_;
  for (;;) {
    const ChunkDecoder::Step step = chunks_.step(input.view().substr(at));
    if (step.status == ChunkDecoder::Status::kFailed) return fail(chunks_.error());
    if (!step.data.empty())
      std::memmove(input.data() + body_end_, step.data.data(), step.data.size());
    body_end_ += step.data.size();
    at += step.consumed;
    if (step.status == ChunkDecoder::Status::kData) continue;
    input.erase(body_end_, at);
    if (step.status == ChunkDecoder::Status::kNeedMore) return Status::kNeedMore;
    state_ = State::kComplete;
    return Status::kComplete;
  }
}

RequestParser::Status RequestParser::parse(ByteBuffer& input) {
  if (!input.empty()) begun_ = true;
  if (state_ < State::kBody) {
    const Status status = read_head(input.data(), input.size());
    if (status == Status::kFailed || state_ < State::kBody) return status;
  }
  if (state_ == State::kChunkedBody) return read_chunks(input);
  if (state_ == State::kBody) {
    const size_t length =
        static_cast<size_t>(std::max<int64_t>(fields_.framing().content_length, 0));
    body_end_ = std::min(input.size(), body_begin_ + length);
    if (body_end_ < body_begin_ + length) return Status::kNeedMore;
    state_ = State::kComplete;
  }
  return state_ == State::kComplete ? Status::kComplete : Status::kFailed;
}

bool RequestParser::waits_for_continue() const {
  const bool incomplete = state_ == State::kBody || state_ == State::kChunkedBody;
  return incomplete && fields_.framing().expect_continue && version_ == Version::kHttp11;
}

size_t RequestParser::message_bytes() const {
  if (state_ != State::kBody) return body_end_;
  return body_begin_ + static_cast<size_t>(fields_.framing().content_length);
}

Request RequestParser::request(const ByteBuffer& input, std::vector<Header>* headers) const {
  ASSERT(head_complete() && state_ != State::kFailed, "request() before the end of the head");
  fields_.resolve(input.data(), headers);
  const std::string_view target(input.data() + target_, target_bytes_);
  const size_t question = target.find('?');
  Request request;
  request.method = method_;
  request.version = version_;
  request.target = target;
  request.path = target.substr(0, question);
  if (question != std::string_view::npos) request.query = target.substr(question + 1);
  request.headers = *headers;
  if (state_ == State::kComplete)
    request.body = {input.data() + body_begin_, body_end_ - body_begin_};
  request.keep_alive = keeps_alive(version_, fields_.framing());
  return request;
}

void RequestParser::next_message(ByteBuffer& input) {
  ASSERT(state_ == State::kComplete, "next_message() before the end of the message");
  input.consume(body_end_);
  state_ = State::kRequestLine;
  begun_ = skipped_empty_line_ = false;
  scanner_.reset();
  fields_.reset();
  chunks_.reset();
  line_begin_ = body_begin_ = body_end_ = 0;
}

}  // namespace sluice::net
