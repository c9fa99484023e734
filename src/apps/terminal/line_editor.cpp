#include "apps/terminal/line_editor.h"

#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cwchar>

#include <fmt/core.h>
#include <sys/ioctl.h>

namespace sluice::apps {
namespace {

constexpr char control(char letter) {
  return static_cast<char>(letter & 0x1f);
}
constexpr char kEscape = 0x1b;
constexpr char kDelete = 0x7f;
constexpr size_t kHistoryMax = 1000;

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

// Keys come as they are pressed while this lives.
class RawMode {
 public:
  RawMode() {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_iflag &= ~static_cast<tcflag_t>(ICRNL | IXON);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    fmt::print("\x1b[?2004h");  // pasted text is marked
  }
  ~RawMode() {
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
    fmt::print("\x1b[?2004l");
    std::fflush(stdout);
  }
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;

 private:
  termios before_;
};

int terminal_columns() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

// Columns that a character takes; its bytes are text[at, …).
int width_of(std::string_view text, size_t at, size_t bytes) {
  wchar_t wide = 0;
  std::mbstate_t state{};
  const size_t used = std::mbrtowc(&wide, text.data() + at, bytes, &state);
  const int columns = used == 0 || used > bytes ? 1 : wcwidth(wide);
  return std::max(columns, 0);
}

}  // namespace

void LineBuffer::insert(std::string_view text) {
  text_.insert(cursor_, text);
  cursor_ += text.size();
}

void LineBuffer::left() {
  if (cursor_ == 0) return;
  do --cursor_;
  while (cursor_ > 0 && continues_character(text_[cursor_]));
}

void LineBuffer::right() {
  if (cursor_ == text_.size()) return;
  do ++cursor_;
  while (cursor_ < text_.size() && continues_character(text_[cursor_]));
}

void LineBuffer::erase_before() {
  const size_t end = cursor_;
  left();
  text_.erase(cursor_, end - cursor_);
}

void LineBuffer::erase_at() {
  if (cursor_ == text_.size()) return;
  right();
  erase_before();
}

void LineBuffer::erase_word_before() {
  size_t start = cursor_;
  while (start > 0 && text_[start - 1] == ' ') --start;
  while (start > 0 && text_[start - 1] != ' ') --start;
  text_.erase(start, cursor_ - start);
  cursor_ = start;
}

void LineBuffer::erase_to_start() {
  text_.erase(0, cursor_);
  cursor_ = 0;
}

void LineBuffer::erase_to_end() {
  text_.erase(cursor_);
}

void LineBuffer::show(size_t place) {
  if (back_ == 0) written_ = text_;
  back_ = place;
  text_ = back_ == 0 ? written_ : history_[history_.size() - back_];
  cursor_ = text_.size();
}

void LineBuffer::older() {
  if (back_ < history_.size()) show(back_ + 1);
}

void LineBuffer::newer() {
  if (back_ > 0) show(back_ - 1);
}

std::optional<char> LineEditor::next_byte() {
  char byte = 0;
  ssize_t got = 0;
  do got = ::read(STDIN_FILENO, &byte, 1);
  while (got < 0 && errno == EINTR);
  return got == 1 ? std::optional(byte) : std::nullopt;
}

// As much of the line as one row of the terminal holds, with the cursor in it.
void LineEditor::draw(std::string_view prompt, const LineBuffer& buffer) const {
  const std::string& text = buffer.text();
  const int room = std::max(8, terminal_columns() - static_cast<int>(prompt.size()) - 1);
  struct Cell {
    std::string bytes;
    int columns;
  };
  std::vector<Cell> cells;
  size_t cursor_cell = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    while (end < text.size() && continues_character(text[end])) ++end;
    if (at < buffer.cursor()) cursor_cell = cells.size() + 1;
    if (text[at] == '\n' || text[at] == '\t')
      cells.push_back({text[at] == '\n' ? "⏎" : " ", 1});
    else
      cells.push_back({text.substr(at, end - at), width_of(text, at, end - at)});
    at = end;
  }
  int before = 0;
  size_t first = cursor_cell;
  while (first > 0 && before + cells[first - 1].columns <= room) before += cells[--first].columns;
  std::string row;
  int columns = 0;
  for (size_t i = first; i < cells.size() && columns + cells[i].columns <= room; ++i) {
    row += cells[i].bytes;
    columns += cells[i].columns;
  }
  fmt::print("\r{}{}\x1b[K\r\x1b[{}C", prompt, row, static_cast<int>(prompt.size()) + before);
  std::fflush(stdout);
}

void LineEditor::take_paste(LineBuffer* buffer) {
  constexpr std::string_view kEnd = "\x1b[201~";
  std::string text;
  while (!text.ends_with(kEnd)) {
    const std::optional<char> byte = next_byte();
    if (!byte) return;
    text += *byte == '\r' ? '\n' : *byte;
  }
  buffer->insert(text.substr(0, text.size() - kEnd.size()));
}

// CSI sequences: ESC [ parameters letter.
void LineEditor::take_escape(LineBuffer* buffer) {
  if (next_byte() != '[') return;
  std::string sequence;
  std::optional<char> byte;
  while ((byte = next_byte())) {
    sequence += *byte;
    if (*byte >= 0x40 && *byte <= 0x7e) break;
  }
  if (sequence == "200~") return take_paste(buffer);
  if (sequence == "A") return buffer->older();
  if (sequence == "B") return buffer->newer();
  if (sequence == "C") return buffer->right();
  if (sequence == "D") return buffer->left();
  if (sequence == "H" || sequence == "1~") return buffer->to_start();
  if (sequence == "F" || sequence == "4~") return buffer->to_end();
  if (sequence == "3~") return buffer->erase_at();
}

LineEditor::Step LineEditor::take_key(char key, LineBuffer* buffer, Line* line) {
  switch (key) {
    case '\r':
    case '\n':
      *line = {.end = End::kLine, .text = buffer->text()};
      return Step::kDone;
    case control('C'):
      line->end = End::kInterrupted;
      return Step::kDone;
    case control('D'):
      if (!buffer->text().empty()) {
        buffer->erase_at();
        return Step::kEdit;
      }
      line->end = End::kEndOfInput;
      return Step::kDone;
    case control('A'):
      buffer->to_start();
      break;
    case control('B'):
      buffer->left();
      break;
    case control('E'):
      buffer->to_end();
      break;
    case control('F'):
      buffer->right();
      break;
    case control('H'):
    case kDelete:
      buffer->erase_before();
      break;
    case control('K'):
      buffer->erase_to_end();
      break;
    case control('L'):
      fmt::print("\x1b[H\x1b[2J");
      break;
    case control('N'):
      buffer->newer();
      break;
    case control('P'):
      buffer->older();
      break;
    case control('U'):
      buffer->erase_to_start();
      break;
    case control('W'):
      buffer->erase_word_before();
      break;
    case kEscape:
      take_escape(buffer);
      break;
    default:
      if (static_cast<unsigned char>(key) >= 0x20) buffer->insert({&key, 1});
  }
  return Step::kEdit;
}

LineEditor::Line LineEditor::read(std::string_view prompt) {
  const RawMode raw;
  LineBuffer buffer(history_);
  Line line{.end = End::kEndOfInput, .text = {}};
  for (;;) {
    draw(prompt, buffer);
    const std::optional<char> key = next_byte();
    if (!key || take_key(*key, &buffer, &line) == Step::kDone) break;
  }
  buffer.to_end();
  draw(prompt, buffer);
  fmt::print("\r\n");
  if (line.end == End::kLine && !line.text.empty()) history_.push_back(line.text);
  if (history_.size() > kHistoryMax) history_.erase(history_.begin());
  return line;
}

}  // namespace sluice::apps
