#include "tokenizer/added_tokens.h"

#include "core/assert.h"

namespace sluice::tokenizer {

int32_t AddedTokens::child(int32_t node, unsigned char byte) const {
  int32_t c = nodes_[static_cast<size_t>(node)].first_child;
  while (c >= 0 && nodes_[static_cast<size_t>(c)].byte != byte)
    c = nodes_[static_cast<size_t>(c)].next_sibling;
  return c;
}

void AddedTokens::insert(AddedToken token) {
  ASSERT(!token.text.empty(), "added token {} is empty", token.id);
  const auto add_node = [this](unsigned char byte) {
    nodes_.push_back({.byte = byte});
    return static_cast<int32_t>(nodes_.size()) - 1;
  };
  const auto first = static_cast<unsigned char>(token.text.front());
  if (roots_[first] == 0) roots_[first] = add_node(first) + 1;
  int32_t node = root(first);
  for (const char c : token.text.substr(1)) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t next = child(node, byte);
    if (next < 0) {
      next = add_node(byte);
      nodes_[static_cast<size_t>(next)].next_sibling =
          nodes_[static_cast<size_t>(node)].first_child;
      nodes_[static_cast<size_t>(node)].first_child = next;
    }
    node = next;
  }
  int32_t& slot = nodes_[static_cast<size_t>(node)].token;
  if (slot >= 0) return;
  slot = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

AddedTokens::Match AddedTokens::next(const char* begin, const char* end) const {
  for (const char* at = begin; at < end; ++at) {
    int32_t node = root(static_cast<unsigned char>(*at));
    Match longest{at, at, nullptr};
    for (const char* next = at + 1; node >= 0; ++next) {
      const int32_t token = nodes_[static_cast<size_t>(node)].token;
      if (token >= 0) longest = {at, next, &tokens_[static_cast<size_t>(token)]};
      if (next == end) break;
      node = child(node, static_cast<unsigned char>(*next));
    }
    if (longest.token != nullptr) return longest;
  }
  return {end, end, nullptr};
}

const AddedToken* AddedTokens::find(std::string_view text) const {
  if (text.empty()) return nullptr;
  int32_t node = root(static_cast<unsigned char>(text.front()));
  for (size_t i = 1; i < text.size() && node >= 0; ++i)
    node = child(node, static_cast<unsigned char>(text[i]));
  if (node < 0 || nodes_[static_cast<size_t>(node)].token < 0) return nullptr;
  return &tokens_[static_cast<size_t>(nodes_[static_cast<size_t>(node)].token)];
}

}  // namespace sluice::tokenizer
