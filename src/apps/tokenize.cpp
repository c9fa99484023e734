// sluice tokenize MODEL: text on standard input to token ids.
#include <iostream>
#include <iterator>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "apps/model/model_options.h"
#include "apps/verbs.h"
#include "tokenizer/encoder.h"
#include "tokenizer/open_vocabulary.h"

namespace sluice::apps {
namespace {

struct Options {
  std::string model;
  std::string output = "text";
  bool no_special = false;
  bool add_special = false;
  bool batch = false;
};

void print_json(const std::vector<tokenizer::TokenId>& ids) {
  fmt::print("[{}]\n", fmt::join(ids, ","));
}

// One line an id, its text as a JSON string.
void print_lines(const tokenizer::Vocabulary& vocabulary,
                 const std::vector<tokenizer::TokenId>& ids) {
  for (const tokenizer::TokenId id : ids) {
    const nlohmann::json text = std::string(vocabulary.bytes(id));
    fmt::print("{:>8}  {}\n", id,
               text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
}

int tokenize_batch(tokenizer::Encoder& encoder, tokenizer::EncodeOptions options) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    const auto text = nlohmann::json::parse(line, nullptr, false);
    if (!text.is_string()) {
      fmt::print(stderr, "sluice tokenize: line {} is not a JSON string\n", number);
      return 1;
    }
    print_json(encoder.encode(text.get_ref<const std::string&>(), options));
  }
  return 0;
}

int tokenize(const Options& options) {
  const auto vocabulary = tokenizer::open_vocabulary(options.model);
  if (!vocabulary.ok()) {
    fmt::print(stderr, "sluice tokenize: {}\n", vocabulary.error().message);
    return 1;
  }
  tokenizer::Encoder encoder(*vocabulary);
  const tokenizer::EncodeOptions encode_options{
      .special_text =
          options.no_special ? tokenizer::SpecialText::kPlain : tokenizer::SpecialText::kParse,
      .surrounding_ids =
          options.add_special ? tokenizer::SurroundingIds::kAdd : tokenizer::SurroundingIds::kNone};
  std::ios::sync_with_stdio(false);
  if (options.batch) return tokenize_batch(encoder, encode_options);
  const std::string text(std::istreambuf_iterator<char>(std::cin), {});
  const auto ids = encoder.encode(text, encode_options);
  if (options.output == "json") {
    print_json(ids);
  } else {
    print_lines(*vocabulary, ids);
  }
  return 0;
}

}  // namespace

int run_tokenize(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Text on standard input to token ids, an id and its text a line. Nothing is added to the "
      "text.",
      "sluice tokenize"};
  app.add_option("MODEL", options.model,
                 "GGUF file (a vocabulary is enough), tokenizer.json, or a folder with one")
      ->required();
  add_output_option(app, &options.output);
  app.add_flag("--no-special", options.no_special, "leave control tokens in the text as text");
  app.add_flag("--add-special", options.add_special,
               "add what the model wants around a text (its begin token)");
  app.add_flag("--batch", options.batch,
               "read one JSON string a line, write one array of ids a line");
  app.footer("Example: echo -n 'Hello, world!' | sluice tokenize model.gguf -o json");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  return tokenize(options);
}

}  // namespace sluice::apps
