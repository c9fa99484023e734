// One line of input from a terminal, with editing and a history.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::apps {

// The line that is edited, without a terminal: keys in, text and cursor out.
class LineBuffer {
 public:
  explicit LineBuffer(const std::vector<std::string>& history) : history_(history) {}

  void insert(std::string_view text);
  void erase_before();       // Backspace
  void erase_at();           // Delete
  void erase_word_before();  // Ctrl-W
  void erase_to_start();     // Ctrl-U
  void erase_to_end();       // Ctrl-K
  void left();
  void right();
  void to_start() { cursor_ = 0; }
  void to_end() { cursor_ = text_.size(); }
  void older();  // Up: the line before in the history; the one being written is kept
  void newer();

  const std::string& text() const { return text_; }
  size_t cursor() const { return cursor_; }  // in bytes, at the start of a character

 private:
  void show(size_t place);

  const std::vector<std::string>& history_;
  size_t back_ = 0;      // lines back in the history; 0: the one being written
  std::string written_;  // that one, while another is shown
  std::string text_;
  size_t cursor_ = 0;
};

class LineEditor {
 public:
  enum class End { kLine, kInterrupted, kEndOfInput };  // Enter, Ctrl-C, Ctrl-D on an empty line
  struct Line {
    End end = End::kLine;
    std::string text;
  };
  // Standard input and output are terminals. Text that is pasted may have line ends in it.
  Line read(std::string_view prompt);

 private:
  enum class Step { kEdit, kDone };
  std::optional<char> next_byte();
  Step take_key(char key, LineBuffer* buffer, Line* line);
  void take_escape(LineBuffer* buffer);
  void take_paste(LineBuffer* buffer);
  void draw(std::string_view prompt, const LineBuffer& buffer) const;

  std::vector<std::string> history_;
};

}  // namespace sluice::apps
