// sluice chat: a conversation in the terminal, over an engine in this process or with a server.
#include <unistd.h>

#include <clocale>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <optional>
#include <random>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "apps/model/served_model.h"
#include "apps/terminal/conversation.h"
#include "apps/terminal/line_editor.h"
#include "apps/terminal/remote_conversation.h"
#include "apps/verbs.h"
#include "core/clock.h"
#include "engine/engine.h"
#include "engine/step_runner.h"
#include "prompt/prompt_builder.h"
#include "server/choice_text.h"
#include "server/engine_request.h"
#include "server/event_bridge.h"

namespace sluice::apps {
namespace {

struct ChatOptions {
  ServedModelOptions served;
  std::string url;     // of a server; "": an engine in this process
  std::string key;     // for it
  std::string prompt;  // one question, then the end
  std::string system;
  api::GenerationFields fields;
  int64_t max_tokens = 0;  // 0: as many as the context holds
};

constexpr std::string_view kHelp =
    "/clear       forgets the conversation\n"
    "/system TEXT sets the system prompt (none: removes it) and forgets the conversation\n"
    "/exit        leaves (Ctrl-D too); Ctrl-C stops an answer\n";

class LocalConversation final : public Conversation {
 public:
  LocalConversation(const ChatOptions& options, const ServedModel& served)
      : options_(options),
        served_(served),
        bridge_(loop_),
        runner_(*served.opened.model),
        engine_(served.engine,
                {.runner = &runner_,
                 .pool = &served.opened.model->pool(),
                 .ops = &served.opened.model->ops(),
                 .clock = &clock_,
                 .sink = [this](const engine::StepEvents& events) { bridge_.on_step(events); },
                 .observer = {}}),
        builder_(
            {.vocabulary = &served.text.vocabulary,
             .chat_template = served.text.chat_template ? &*served.text.chat_template : nullptr,
             .thinks = served.text.thinks,
             .context_tokens_max = served.engine.limits.context_tokens_max,
             .clock = &clock_}),
        styled_(isatty(STDOUT_FILENO) != 0),
        system_(options.system) {
    bridge_.set_receiver([this](const server::EventBatch& batch) { take(batch); });
    if (is_interactive())
      loop_.handle_signals({SIGINT}, [this](int) {
        if (answering_) engine_.cancel({answers_});
      });
    clear();
  }

  void clear() override {
    messages_.clear();
    if (!system_.empty())
      messages_.push_back(
          {.role = "system", .content = system_, .name = {}, .reasoning_content = {}});
  }
  void set_system(std::string text) override {
    system_ = std::move(text);
    clear();
  }

  core::Result<void> ask(const std::string& question) override {
    api::ChatRequest request;
    request.generation = options_.fields;
    request.messages = messages_;
    request.messages.push_back(
        {.role = "user", .content = question, .name = {}, .reasoning_content = {}});
    request.template_variables = api::Json{api::Json::Object{}};
    auto prompt = builder_.chat(request);
    if (!prompt.ok()) return core::invalid("{}", prompt.error().message);
    TRY(answer(request.generation, std::move(prompt).value()));
    messages_ = request.messages;
    messages_.push_back(
        {.role = "assistant", .content = content_, .name = {}, .reasoning_content = {}});
    return {};
  }

 private:
  core::Result<void> answer(const api::GenerationFields& fields, prompt::BuiltPrompt prompt) {
    forget_interrupts(loop_);
    ++answers_;
    text_.emplace(
        served_.text.vocabulary,
        server::ChoiceTextOptions{.stops = fields.stopping.stop, .reasoning = prompt.reasoning});
    content_.clear();
    const uint64_t seed = fields.sampling.seed ? static_cast<uint64_t>(*fields.sampling.seed)
                                               : std::random_device()();
    const engine::Admission admission =
        engine_.submit(server::make_engine_requests({.fields = fields,
                                                     .prompt_ids = prompt.ids,
                                                     .max_tokens = prompt.max_tokens,
                                                     .seed = seed + answers_},
                                                    answers_));
    if (admission == engine::Admission::kBadPrompt)
      return core::invalid("the chat template makes no token of this conversation");
    ASSERT(admission == engine::Admission::kAccepted, "admission {}", static_cast<int>(admission));
    answering_ = true;
    loop_.run();
    answering_ = false;
    return {};
  }

  void take(const server::EventBatch& batch) {
    for (const auto& token : batch.tokens)
      if (text_->add_token(token) == server::ChoiceText::Next::kStopped)
        engine_.finish_early(token.event.id);
    for (const engine::FinishEvent& event : batch.finished) text_->end(event.reason);
    print(*text_);
    for (const engine::FinishEvent& event : batch.finished) end(event);
  }

  void print(server::ChoiceText& text) {
    const std::optional<api::Choice> choice = text.take();
    if (!choice) return;
    if (!choice->reasoning.empty())
      fmt::print("{}{}{}", styled_ ? "\x1b[2m" : "", choice->reasoning, styled_ ? "\x1b[0m" : "");
    if (!choice->text.empty() && content_.empty() && text.reasoning_tokens() > 0)
      fmt::print("\n\n");
    fmt::print("{}", choice->text);
    std::fflush(stdout);
    content_ += choice->text;
  }

  void end(const engine::FinishEvent& event) {
    const bool stopped = event.reason == engine::FinishReason::kCancelled;
    fmt::print("{}\n", stopped && styled_ ? " \x1b[2m[stopped]\x1b[0m" : "");
    if (event.reason == engine::FinishReason::kError)
      fmt::print(stderr, "the model gave values that are no numbers\n");
    if (styled_ && event.decode_ns > 0)
      fmt::print("\x1b[2m{} tokens, {:.1f} tok/s, first after {} ms\x1b[0m\n",
                 event.completion_tokens,
                 static_cast<double>(event.completion_tokens - 1) * 1e9 /
                     static_cast<double>(event.decode_ns),
                 (event.queue_ns + event.prefill_ns) / 1'000'000);
    std::fflush(stdout);
    loop_.stop();
  }

  const ChatOptions& options_;
  const ServedModel& served_;
  core::SystemClock clock_;
  net::EventLoop loop_;
  server::EventBridge bridge_;
  engine::ModelRunner runner_;
  engine::Engine engine_;
  prompt::PromptBuilder builder_;
  const bool styled_;
  std::string system_;
  std::vector<api::ChatMessage> messages_;
  std::optional<server::ChoiceText> text_;  // of the answer in progress
  std::string content_;                     // of it, without thoughts
  uint64_t answers_ = 0;                    // begun; the engine's id of the last one
  bool answering_ = false;
};

enum class Turn { kGoOn, kFailed, kLeave };

// A question may begin with a path: only a lone word behind the slash is a command.
bool is_unknown_command(const std::string& line) {
  return line.size() > 1 && line[0] == '/' && line.find_first_of(" /", 1) == std::string::npos;
}

Turn refuse(const std::string& why) {
  fmt::print(stderr, "{}", why);
  return Turn::kFailed;
}

Turn take_line(Conversation& conversation, const std::string& line) {
  if (line.empty()) return Turn::kGoOn;
  if (line == "/exit" || line == "/quit") return Turn::kLeave;
  constexpr std::string_view kSystem = "/system ";
  if (line == "/clear")
    conversation.clear();
  else if (line.starts_with(kSystem))
    conversation.set_system(line.substr(kSystem.size()));
  else if (line == "/system")
    conversation.set_system("");
  else if (line == "/help")
    fmt::print("{}", kHelp);
  else if (is_unknown_command(line))
    return refuse(fmt::format("'{}' is no command; these are:\n{}", line, kHelp));
  else if (const auto asked = conversation.ask(line); !asked.ok())
    return refuse(asked.error().message + '\n');
  return Turn::kGoOn;
}

void talk(Conversation& conversation) {
  LineEditor editor;
  fmt::print("{}\n", kHelp);
  for (;;) {
    const LineEditor::Line line = editor.read("> ");
    if (line.end == LineEditor::End::kEndOfInput) return;
    if (line.end == LineEditor::End::kInterrupted) continue;
    if (take_line(conversation, line.text) == Turn::kLeave) return;
  }
}

// Each line of a pipe is a turn.
core::Result<void> read_pipe(Conversation& conversation) {
  std::string line;
  int64_t lines = 0, failed = 0;
  while (std::getline(std::cin, line)) {
    const Turn turn = take_line(conversation, line);
    if (turn == Turn::kLeave) break;
    ++lines;
    if (turn == Turn::kFailed) ++failed;
  }
  if (failed > 0) return core::invalid("{} of {} lines failed", failed, lines);
  return {};
}

core::Result<void> converse(const ChatOptions& options, Conversation& conversation) {
  if (!options.prompt.empty()) return conversation.ask(options.prompt);
  if (!is_interactive()) return read_pipe(conversation);
  talk(conversation);
  return {};
}

core::Result<void> chat(ChatOptions options) {
  if (options.max_tokens > 0) options.fields.stopping.max_tokens = options.max_tokens;
  if (!options.url.empty()) {
    const auto remote = TRY(connect({.url = options.url,
                                     .key = options.key,
                                     .model = options.served.model.model,
                                     .system = options.system,
                                     .fields = options.fields}));
    return converse(options, *remote);
  }
  options.served.limits.sequences_max = 1;
  const ServedModel served = TRY(open_served_model(options.served));
  LocalConversation conversation(options, served);
  return converse(options, conversation);
}

void add_sampling_options(CLI::App& app, ChatOptions* options) {
  api::SamplingFields& sampling = options->fields.sampling;
  sampling.temperature = 0.7;
  const auto number = [&](const char* name, double* value, double least, double most) {
    app.add_option(name, *value)
        ->capture_default_str()
        ->check(CLI::Range(least, most))
        ->group("Sampling");
  };
  number("--temperature", &sampling.temperature, 0, 2);
  number("--top-p", &sampling.top_p, 1e-6, 1);
  number("--min-p", &sampling.min_p, 0, 1);
  number("--repetition-penalty", &sampling.repetition_penalty, 1e-3, 100);
  app.add_option("--top-k", sampling.top_k, "0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 30))
      ->group("Sampling");
  app.add_option("--seed", sampling.seed, "the same seed gives the same answers")
      ->group("Sampling");
  app.add_option("--max-tokens", options->max_tokens, "of an answer; 0: what the context holds")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 30))
      ->group("Sampling");
  app.add_option("--stop", options->fields.stopping.stop, "texts that end an answer")
      ->group("Sampling");
}

}  // namespace

int run_chat(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "C.UTF-8");
  ChatOptions options;
  CLI::App app{
      "Talk to a model in the terminal. Without a terminal, each line of the input is a "
      "turn.",
      "sluice chat"};
  add_served_model_options(app, &options.served);
  app.add_option("--url", options.url,
                 "talk to this server, like http://127.0.0.1:8000; MODEL is then a name "
                 "that it lists, by default the first");
  app.add_option("--api-key", options.key, "for it")->envname("SLUICE_API_KEY");
  app.get_option("MODEL")->required(false);
  app.add_option("-p,--prompt", options.prompt, "one question; its answer, then the end");
  app.add_option("--system", options.system, "system prompt");
  add_sampling_options(app, &options);
  app.footer(
      "Examples: sluice chat model.gguf -p 'Why is the sky blue?'\n"
      "          sluice chat --url http://127.0.0.1:8000");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  if (options.url.empty() && options.served.model.model.empty()) {
    fmt::print(stderr, "sluice chat: with whom? MODEL or --url\n");
    return 2;
  }
  const auto done = chat(std::move(options));
  return done.ok() ? 0 : report("chat", done.error());
}

}  // namespace sluice::apps
