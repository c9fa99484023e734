#include "tests/server/running_api.h"

#include "net/sse.h"

namespace sluice::server::testing {
namespace {

// Characters in pieces, texts that begin others, tags of thoughts.
std::vector<std::pair<std::string, tokenizer::TokenType>> tiny_tokens() {
  using enum tokenizer::TokenType;
  std::vector<std::pair<std::string, tokenizer::TokenType>> tokens = {{"<|end|>", kControl},
                                                                      {"<|x|>", kControl},
                                                                      {"<think>", kUserDefined},
                                                                      {"</think>", kUserDefined}};
  const std::vector<int> first = {0xc3, 0xa9, 0xf0, 0x9f, 0x98, 0x80, 0xff};
  for (const int byte : first) tokens.emplace_back(fmt::format("<0x{:02X}>", byte), kByte);
  for (char c = 'a'; c <= 'h'; ++c) tokens.emplace_back(std::string(1, c), kNormal);
  for (const char* text : {"▁", "ab", "bc", "abc", "ca", "▁b", "dd", "ef", "▁a", "gh", "hg"})
    tokens.emplace_back(text, kNormal);
  for (int i = static_cast<int>(tokens.size()); i < 64; ++i)
    tokens.emplace_back(fmt::format("{}{}", static_cast<char>('a' + i % 8), i), kNormal);
  for (int byte = 0; byte < 256; ++byte)
    if (std::find(first.begin(), first.end(), byte) == first.end())
      tokens.emplace_back(fmt::format("<0x{:02X}>", byte), kByte);
  return tokens;
}

}  // namespace

const tokenizer::Vocabulary& tiny_vocabulary() {
  static const tokenizer::Vocabulary* const kTiny = [] {
    static const auto tokens = tiny_tokens();
    tokenizer::VocabularySource source;
    source.algorithm = tokenizer::Algorithm::kSentencePieceBpe;
    for (const auto& [text, type] : tokens) {
      source.tokens.push_back(text);
      source.types.push_back(type);
    }
    source.scores.assign(tokens.size(), 0.0f);
    source.special.eos = kEnd;
    auto built = tokenizer::Vocabulary::build(source);
    ASSERT(built.ok(), "{}", built.error().message);
    return new tokenizer::Vocabulary(std::move(built).value());
  }();
  return *kTiny;
}

void PacedRunner::run(const model::StepBatch& batch, float* logits) {
  std::promise<void> sent;
  loop_.post([&] { sent.set_value(); });
  sent.get_future().wait();
  runner_.run(batch, logits);
}

RunningApi::RunningApi(const ApiOptions& options)
    : loaded_(model::testing::load_model(SLUICE_TESTS_DIR "/data/models/llama.gguf",
                                         {.threads = 1, .step_tokens_max = 64},
                                         options.kv_pages * kernels::kPageTokens)),
      pages_(options.page_changes_max),
      bridge_(thread_.loop()),
      runner_(std::make_unique<PacedRunner>(*loaded_.model, thread_.loop())) {
  engine::EngineConfig config;
  config.limits = {
      .sequences_max = options.sequences_max,
      .queue_max = 64,
      .context_tokens_max = std::min<int64_t>(options.kv_pages, 8) * kernels::kPageTokens,
      .step_tokens_max = 64,
      .chunk_tokens_max = 64,
      .prefill_tokens_min = 8,
      .kv_pages = options.kv_pages,
      .logit_rows_max = 16,
      .logprobs_top_max = 5};
  config.cache_namespace = 42;
  const std::vector<int32_t> ends = {kEnd};
  const auto set = engine::set_vocabulary({.tokens = tiny_vocabulary().size(),
                                           .logit_columns = loaded_.model->spec().vocab,
                                           .end_token_ids = ends},
                                          &config);
  ASSERT(set.ok(), "{}", set.error().message);
  const int64_t context = config.limits.context_tokens_max;
  engine_ = std::make_unique<engine::Engine>(
      config, engine::EngineParts{
                  .runner = runner_.get(),
                  .pool = &loaded_.model->pool(),
                  .ops = &loaded_.model->ops(),
                  .clock = &clock_,
                  .sink = [this](const engine::StepEvents& events) { bridge_.on_step(events); },
                  .pages = [this](std::span<const kv::PageChange> changes) { pages_.add(changes); },
                  .observer = {}});
  thread_.run([&] {
    ApiServerConfig api;
    api.model_names = {"tiny"};
    api.gateway_key = options.gateway_key;
    api.page_tokens = kernels::kPageTokens;
    api.id_seed = 1;
    api.secret_seed = 2;
    server_ = std::make_unique<ApiServer>(
        std::move(api), ApiServerParts{.loop = thread_.loop(),
                                       .engine = *engine_,
                                       .bridge = bridge_,
                                       .pages = pages_,
                                       .prompt_model = {.vocabulary = &tiny_vocabulary(),
                                                        .thinks = true,
                                                        .context_tokens_max = context,
                                                        .clock = &clock_},
                                       .clock = clock_,
                                       .resident_bytes = [] { return int64_t{0}; }});
    port_ = server_->listen("127.0.0.1", 0).value();
  });
}

RunningApi::~RunningApi() {
  thread_.run([&] { server_.reset(); });
  bridge_.set_receiver([](const EventBatch&) {});
  engine_->stop();
  thread_.run([] {});  // what the engine has posted
}

void RunningApi::drain() {
  std::promise<void> drained;
  thread_.run([&] { server_->drain([&] { drained.set_value(); }); });
  drained.get_future().wait();
}

net::Response RunningApi::post(const std::string& path, const nlohmann::json& body) const {
  const net::Header headers[] = {{"x-sluice-key", kGatewayKey}};
  return post(path, body, headers);
}

net::Response RunningApi::post(const std::string& path, const nlohmann::json& body,
                               std::span<const net::Header> headers) const {
  net::BlockingClient client({.host = "127.0.0.1", .port = port_});
  const std::string text = body.dump();
  return client
      .request({.method = net::Method::kPost, .target = path, .headers = headers, .body = text})
      .value();
}

Stream read_stream(const std::string& body) {
  Stream stream;
  net::SseParser parser;
  const auto read = parser.feed(body, [&](const net::SseEvent& event) {
    if (event.data == "[DONE]") return;
    const auto json = nlohmann::json::parse(event.data);
    if (json.contains("error")) {
      stream.error = json["error"];
      return;
    }
    if (json["choices"].empty()) {
      stream.usage = json["usage"];
      return;
    }
    const auto& choice = json["choices"][0];
    Chunk chunk;
    const auto delta = choice.value("delta", nlohmann::json::object());
    chunk.text = choice.value("text", delta.value("content", ""));
    chunk.reasoning = delta.value("reasoning_content", "");
    chunk.ids = choice.value("token_ids", std::vector<int32_t>());
    chunk.names_the_role = delta.contains("role");
    if (!choice["finish_reason"].is_null())
      chunk.finish = {choice["finish_reason"], choice["stop_reason"]};
    stream.chunks.push_back(std::move(chunk));
  });
  ASSERT(read.ok(), "{}", read.error().message);
  return stream;
}

std::string Stream::text(size_t from, size_t to) const {
  std::string joined;
  for (size_t i = from; i < to; ++i) joined += chunks[i].text;
  return joined;
}

std::string Stream::reasoning(size_t from, size_t to) const {
  std::string joined;
  for (size_t i = from; i < to; ++i) joined += chunks[i].reasoning;
  return joined;
}

std::vector<int32_t> Stream::ids(size_t from, size_t to) const {
  std::vector<int32_t> joined;
  for (size_t i = from; i < to; ++i)
    joined.insert(joined.end(), chunks[i].ids.begin(), chunks[i].ids.end());
  return joined;
}

}  // namespace sluice::server::testing
