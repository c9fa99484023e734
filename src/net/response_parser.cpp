#include <algorithm>

#include "net/http_parser.h"
#include "net/http_syntax.h"

namespace sluice::net {

void ResponseParser::start(Method method) {
  state_ = State::kStatusLine;
  begun_ = false;
  method_ = method;
  scanner_.reset();
  fields_.reset();
  chunks_.reset();
  line_begin_ = 0;
}

ResponseParser::Event ResponseParser::fail(ParseError error) {
  state_ = State::kFailed;
  error_ = error;
  return Event::kFailed;
}

// "HTTP/1.1 200 OK"; the reason may be absent, with or without its space.
ParseError ResponseParser::read_status_line(std::string_view line) {
  const bool well_formed = line.size() >= 12 && line.starts_with("HTTP/") && line[6] == '.' &&
                           line[8] == ' ' && is_digit(line[9]) && is_digit(line[10]) &&
                           is_digit(line[11]) && (line.size() == 12 || line[12] == ' ') &&
                           all_are(line, kValueCharacter);
  if (!well_formed) return {502, "malformed status line"};
  if (line[5] != '1' || (line[7] != '0' && line[7] != '1'))
    return {502, "the peer answers with an unknown HTTP version"};
  version_ = line[7] == '1' ? Version::kHttp11 : Version::kHttp10;
  head_ = {};
  head_.status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
  if (head_.status < 100 || head_.status == 101) return {502, "unexpected status"};
  return {};
}

ResponseParser::Event ResponseParser::finish_head(const ByteBuffer& input) {
  const Framing& framing = fields_.framing();
  if (framing.chunked && framing.content_length != Framing::kAbsent)
    return fail({502, "both Content-Length and Transfer-Encoding"});
  fields_.resolve(input.data(), &headers_);
  head_.headers = headers_;
  head_.has_body = method_ != Method::kHead && head_.status != 204 && head_.status != 304;
  head_.keep_alive = !framing.close && (version_ == Version::kHttp11 || framing.keep_alive);
  if (!head_.has_body) {
    state_ = State::kDone;
  } else if (framing.chunked) {
    state_ = State::kChunkedBody;
  } else if (framing.content_length != Framing::kAbsent) {
    body_bytes_left_ = framing.content_length;
    if (body_bytes_left_ > limits_->body_bytes_max) return fail({502, "body is too large"});
    state_ = body_bytes_left_ == 0 ? State::kDone : State::kBody;
  } else {
    state_ = State::kUntilClose;
    head_.keep_alive = false;
  }
  return Event::kHead;
}

std::optional<std::string_view> ResponseParser::whole_body(const ByteBuffer& input) const {
  if (state_ == State::kDone) return std::string_view();
  if (state_ != State::kBody) return std::nullopt;
  const std::string_view rest = input.view().substr(used_bytes_);
  if (bytes(rest.size()) < body_bytes_left_) return std::nullopt;
  return rest.substr(0, static_cast<size_t>(body_bytes_left_));
}

void ResponseParser::skip_whole_body() {
  if (state_ != State::kBody) return;
  used_bytes_ += static_cast<size_t>(body_bytes_left_);
  body_bytes_left_ = 0;
  state_ = State::kDone;
}

ResponseParser::Event ResponseParser::read_head(const ByteBuffer& input) {
  for (;;) {
    const LineScanner::Line line = scanner_.find(input.data(), input.size(), line_begin_);
    const bool complete = line.found != LineScanner::Found::kNothing;
    if (bytes(complete ? line.next : input.size()) > limits_->header_bytes_max)
      return fail({502, "headers are too long"});
    if (!complete) return Event::kNeedMore;
    if (line.found == LineScanner::Found::kBareLf) return fail({502, "line ends without CR"});
    const size_t offset = line_begin_;
    line_begin_ = line.next;
    if (state_ == State::kStatusLine) {
      const ParseError error = read_status_line(line.text);
      if (error.status != 0) return fail(error);
      state_ = State::kHeaders;
    } else if (!line.text.empty()) {
      const ParseError error = fields_.add(line.text, offset, *limits_);
      if (error.status != 0) return fail(error);
    } else if (head_.status >= 200) {
      used_bytes_ = line_begin_;
      return finish_head(input);
    } else {
      state_ = State::kStatusLine;  // 1xx: the real head follows
      fields_.reset();
    }
  }
}

ResponseParser::Event ResponseParser::read_chunk(const ByteBuffer& input) {
  size_t at = 0;
  for (;;) {
    const ChunkDecoder::Step step = chunks_.step(input.view().substr(at));
    if (step.status == ChunkDecoder::Status::kFailed) return fail(chunks_.error());
    at += step.consumed;
    used_bytes_ = at;
    if (step.status == ChunkDecoder::Status::kNeedMore) return Event::kNeedMore;
    if (step.status == ChunkDecoder::Status::kDone) {
      state_ = State::kDone;
      return Event::kDone;
    }
    if (step.data.empty()) continue;
    body_ = step.data;
    return Event::kBody;
  }
}

ResponseParser::Event ResponseParser::next(ByteBuffer& input) {
  input.consume(used_bytes_);
  used_bytes_ = 0;
  if (!input.empty()) begun_ = true;
  switch (state_) {
    case State::kStatusLine:
    case State::kHeaders:
      return read_head(input);
    case State::kChunkedBody:
      return read_chunk(input);
    case State::kBody:
    case State::kUntilClose:
      break;
    case State::kDone:
      return Event::kDone;
    case State::kFailed:
      return Event::kFailed;
  }
  if (input.empty()) return Event::kNeedMore;
  body_ = input.view();
  if (state_ == State::kBody) {
    body_ = body_.substr(0, static_cast<size_t>(std::min(body_bytes_left_, bytes(body_.size()))));
    body_bytes_left_ -= bytes(body_.size());
    if (body_bytes_left_ == 0) state_ = State::kDone;
  }
  used_bytes_ = body_.size();
  return Event::kBody;
}

}  // namespace sluice::net
