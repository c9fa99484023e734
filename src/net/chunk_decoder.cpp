#include <algorithm>

#include "net/http_parser.h"
#include "net/http_syntax.h"

namespace sluice::net {
namespace {

constexpr size_t kSizeDigitsMax = 15;  // below 2^60

}  // namespace

void ChunkDecoder::reset() {
  const MessageLimits* limits = limits_;
  *this = ChunkDecoder(limits);
}

ChunkDecoder::Step ChunkDecoder::fail(int status, const char* message) {
  error_ = {status, message};
  return {.status = Status::kFailed};
}

// chunk-size [ ";" extensions ], RFC 9112 §7.1; sets error_ or the size.
bool ChunkDecoder::read_size_line(std::string_view line) {
  size_t digits = 0;
  int64_t size = 0;
  while (digits < line.size() && hex_digit(line[digits]) >= 0) {
    if (++digits > kSizeDigitsMax) {
      error_ = {400, "chunk size has too many digits"};
      return false;
    }
    size = size * 16 + hex_digit(line[digits - 1]);
  }
  const std::string_view extension = line.substr(digits);
  if (digits == 0 || !(extension.empty() || extension.front() == ';') ||
      !all_are(extension, kValueCharacter)) {
    error_ = {400, "chunk size is not a hexadecimal number"};
    return false;
  }
  extension_bytes_ += bytes(extension.size());
  if (extension_bytes_ > limits_->chunk_extension_bytes_max) {
    error_ = {400, "chunk extensions are too long"};
    return false;
  }
  if (size > limits_->body_bytes_max - body_bytes_) {
    error_ = {413, "body is too large"};
    return false;
  }
  body_bytes_ += size;
  chunk_bytes_left_ = size;
  return true;
}

// One trailer line, checked and dropped; the empty one ends the body.
ChunkDecoder::Step ChunkDecoder::read_trailer(std::string_view input, size_t consumed) {
  const LineScanner::Line line = LineScanner().find(input.data(), input.size(), consumed);
  const bool complete = line.found != LineScanner::Found::kNothing;
  const size_t end = complete ? line.next : input.size();
  if (trailer_bytes_ + bytes(end - consumed) > limits_->trailer_bytes_max)
    return fail(431, "trailers are too long");
  if (!complete) return {.status = Status::kNeedMore, .consumed = consumed};
  if (line.found == LineScanner::Found::kBareLf) return fail(400, "line ends without CR");
  trailer_bytes_ += bytes(end - consumed);
  if (line.text.empty()) {
    state_ = State::kDone;
    return {.status = Status::kDone, .consumed = line.next};
  }
  HeaderFields one_line;  // refuses what is no header line; a body's length cannot change here
  const ParseError error = one_line.add(line.text, 0, *limits_);
  if (error.status != 0) return fail(error.status, error.message);
  return {.status = Status::kData, .consumed = line.next};
}

ChunkDecoder::Step ChunkDecoder::step(std::string_view input) {
  size_t at = 0;
  if (state_ == State::kDataEnd) {
    if (!input.empty() && input[0] != '\r') return fail(400, "chunk is longer than its size");
    if (input.size() < 2) return {};
    if (input[1] != '\n') return fail(400, "chunk is longer than its size");
    at = 2;
    state_ = State::kSizeLine;
  }
  if (state_ == State::kSizeLine) {
    const LineScanner::Line line = LineScanner().find(input.data(), input.size(), at);
    const bool complete = line.found != LineScanner::Found::kNothing;
    const size_t length = complete ? line.text.size() : input.size() - at;
    const int64_t most = limits_->chunk_line_bytes_max + (complete ? 0 : 1);  // a CR may be last
    if (bytes(length) > most) return fail(400, "chunk size line is too long");
    if (line.found == LineScanner::Found::kBareLf) return fail(400, "line ends without CR");
    if (!complete) return {.status = Status::kNeedMore, .consumed = at};
    if (!read_size_line(line.text)) return {.status = Status::kFailed};
    at = line.next;
    state_ = chunk_bytes_left_ == 0 ? State::kTrailers : State::kData;
  }
  if (state_ == State::kTrailers) return read_trailer(input, at);
  if (state_ == State::kDone) return {.status = Status::kDone};
  const size_t take = std::min(input.size() - at, static_cast<size_t>(chunk_bytes_left_));
  if (take == 0) return {.status = Status::kNeedMore, .consumed = at};
  chunk_bytes_left_ -= bytes(take);
  if (chunk_bytes_left_ == 0) state_ = State::kDataEnd;
  return {.status = Status::kData, .consumed = at + take, .data = input.substr(at, take)};
}

}  // namespace sluice::net
