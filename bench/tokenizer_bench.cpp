// Speed of encoding and decoding, in bytes of text a second on one core.
//
//     tokenizer_bench MODEL.gguf|tokenizer.json [TEXT_FILE...] [--benchmark_...]
//
// What it should say stands in docs/contract.md.
//
// Beside the given files: generated English and Chinese, and texts of 1 MB without a place to cut.
#include <cmath>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include "core/rng.h"
#include "core/utf8.h"
#include "formats/byte_source.h"
#include "formats/checkpoint.h"
#include "tokenizer/decoder.h"
#include "tokenizer/encoder.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/unicode.h"

namespace sluice {
namespace {

constexpr int64_t kTextBytes = 1 << 20;

struct NamedText {
  std::string name;
  std::string text;
};

std::string_view text_of(const formats::ByteSource& source) {
  return {reinterpret_cast<const char*>(source.bytes().data()), source.bytes().size()};
}

core::Result<tokenizer::Vocabulary> open(const std::string& path) {
  if (path.ends_with(".json")) {
    const auto source = TRY(formats::map_file(path));
    return tokenizer::read_tokenizer_json({.tokenizer_json = text_of(*source), .config_json = {}});
  }
  const auto checkpoint = TRY(formats::Checkpoint::open(path));
  return tokenizer::read_gguf_vocabulary(checkpoint->metadata());
}

// A rank from 0 to count - 1 after Zipf's law, nearly: uniform in its logarithm.
int64_t zipf(core::Rng& rng, int64_t count) {
  return static_cast<int64_t>(std::pow(static_cast<double>(count), rng.unit())) - 1;
}

// Made-up words of one to four syllables, by Zipf's law from 50,000 of them.
std::string generate_english() {
  constexpr std::string_view kSyllables[] = {"the", "an",  "in",   "re", "con", "ing", "er", "ly",
                                             "to",  "mer", "ta",   "of", "pro", "al",  "is", "den",
                                             "sto", "a",   "ment", "un", "ble", "i",   "ch", "por"};
  core::Rng rng(1);
  std::string text;
  while (std::ssize(text) < kTextBytes) {
    const auto word = static_cast<uint64_t>(zipf(rng, 50'000));
    const int64_t syllables =
        1 + static_cast<int64_t>(std::log10(static_cast<double>(word + 1)) / 1.3);
    for (int64_t i = 0; i < syllables; ++i)
      text += kSyllables[core::random_bits(word, static_cast<uint64_t>(i)) % std::size(kSyllables)];
    text += rng.below(12) == 0 ? ", " : rng.below(15) == 0 ? ".\n" : " ";
  }
  return text;
}

// Characters by Zipf's law from 3,500 ideographs, in clauses of 4 to 20.
std::string generate_chinese() {
  core::Rng rng(2);
  std::string text;
  while (std::ssize(text) < kTextBytes) {
    const int64_t characters = 4 + rng.below(17);
    for (int64_t i = 0; i < characters; ++i) {
      const auto rank = static_cast<uint64_t>(zipf(rng, 3'500));
      core::append_utf8(0x4e00 + static_cast<uint32_t>(core::random_bits(3, rank) % 20'000), text);
    }
    core::append_utf8(rng.below(3) == 0 ? 0x3002 : 0xff0c, text);
  }
  return text;
}

template <typename NextByte>
std::string generate(NextByte next_byte) {
  std::string text;
  for (int64_t i = 0; i < kTextBytes; ++i) text.push_back(next_byte());
  return text;
}

std::vector<NamedText> generated_texts() {
  core::Rng rng(4);
  std::string ideographs;
  while (std::ssize(ideographs) < kTextBytes)
    core::append_utf8(0x4e00 + static_cast<uint32_t>(rng.below(20'000)), ideographs);
  return {
      {"generated_english", generate_english()},
      {"generated_chinese", generate_chinese()},
      {"one_word_of_a", std::string(kTextBytes, 'a')},
      {"one_word_of_letters", generate([&] { return static_cast<char>('a' + rng.below(26)); })},
      {"one_word_of_ideographs", ideographs},
      {"spaces", std::string(kTextBytes, ' ')},
      {"line_breaks", std::string(kTextBytes, '\n')},
      {"digits", generate([&] { return static_cast<char>('0' + rng.below(10)); })},
      {"signs", std::string(kTextBytes, '=')},
      {"less_than", std::string(kTextBytes, '<')},
  };
}

void bench_encode(benchmark::State& state, const tokenizer::Vocabulary& vocabulary,
                  const std::string& text) {
  size_t ids = 0;
  for (auto _ : state) ids = tokenizer::Encoder(vocabulary).encode(text).size();  // empty cache
  state.SetBytesProcessed(state.iterations() * std::ssize(text));
  state.counters["bytes_per_id"] = static_cast<double>(text.size()) / static_cast<double>(ids);
}

void bench_decode(benchmark::State& state, const tokenizer::Vocabulary& vocabulary,
                  const std::string& text) {
  const auto ids = tokenizer::Encoder(vocabulary).encode(text);
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer::decode(vocabulary, ids));
  state.SetBytesProcessed(state.iterations() * std::ssize(text));
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc < 2) {
    fmt::print(stderr, "usage: tokenizer_bench MODEL.gguf|tokenizer.json [TEXT_FILE...]\n");
    return 2;
  }
  const auto vocabulary = open(argv[1]);
  if (!vocabulary.ok()) {
    fmt::print(stderr, "tokenizer_bench: {}\n", vocabulary.error().message);
    return 1;
  }
  std::vector<NamedText> texts = generated_texts();
  for (int i = 2; i < argc; ++i) {
    const auto source = formats::map_file(argv[i]);
    if (!source.ok()) {
      fmt::print(stderr, "tokenizer_bench: {}\n", source.error().message);
      return 1;
    }
    texts.push_back({argv[i], std::string(text_of(**source))});
  }
  for (const NamedText& t : texts) {
    const auto encode = [&](benchmark::State& state) { bench_encode(state, *vocabulary, t.text); };
    const auto decode = [&](benchmark::State& state) { bench_decode(state, *vocabulary, t.text); };
    benchmark::RegisterBenchmark(("encode/" + t.name).c_str(), encode)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("decode/" + t.name).c_str(), decode)
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  return sluice::run(argc, argv);
}
