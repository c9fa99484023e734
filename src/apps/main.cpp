#include <cstdio>
#include <string_view>

#include <fmt/core.h>

#include "apps/verbs.h"

namespace sluice::apps {
namespace {

struct Verb {
  std::string_view name;
  std::string_view summary;
  int (*run)(int argc, char** argv);
};

constexpr Verb kVerbs[] = {
    {"up", "everything on this machine: an API server with a supervised engine", run_up},
    {"serve", "one engine with its OpenAI-compatible HTTP API", run_serve},
    {"gateway", "a front end of engines and providers: keys, limits, routing, metering",
     run_gateway},
    {"keys", "API keys of a running gateway", run_keys},
    {"chat", "talk to a model in the terminal", run_chat},
    {"bench", "speed of a model, of one kernel, of a server, beside this machine's limit",
     run_bench},
    {"plan", "memory and speed of a model on this machine, before it is loaded", run_plan},
    {"quantize", "the same model in other element types", run_quantize},
    {"synth", "a model of random weights at a published model's shapes", run_synth},
    {"usage", "what was used and what it came to; the proof that it adds up", run_usage},
    {"simulate", "the gateway's decisions on a virtual clock, from a scenario file", run_simulate},
    {"tokenize", "text on standard input to token ids", run_tokenize},
    {"generate", "continue a list of token ids", run_generate},
    {"logits", "logits and hidden states after a list of token ids", run_logits},
    {"perplexity", "perplexity of a model on a text", run_perplexity},
};

void print_usage(std::FILE* out) {
  fmt::print(out,
             "usage: sluice VERB [options]\n\n"
             "Serves large language models from the compute you have.\n\n");
  for (const Verb& v : kVerbs) fmt::print(out, "  {:<11} {}\n", v.name, v.summary);
  fmt::print(out,
             "\nsluice VERB --help shows a verb's options with an example.\n"
             "First steps:  sluice chat MODEL.gguf      sluice up MODEL.gguf\n");
}

int run(int argc, char** argv) {
  if (argc < 2) {
    print_usage(stderr);
    return 2;
  }
  const std::string_view name = argv[1];
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage(stdout);
    return 0;
  }
  if (name == "--version") {
    fmt::print("sluice {}\n", SLUICE_VERSION);
    return 0;
  }
  for (const Verb& v : kVerbs)
    if (v.name == name) return v.run(argc - 1, argv + 1);
  fmt::print(stderr, "sluice: '{}' is no verb; known:", name);
  for (const Verb& v : kVerbs) fmt::print(stderr, " {}", v.name);
  fmt::print(stderr, "\n");
  return 2;
}

}  // namespace
}  // namespace sluice::apps

int main(int argc, char** argv) {
  const int code = sluice::apps::run(argc, argv);
  // A full disk shows only here, where output is buffered: what was not written was not done.
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  fmt::print(stderr, "sluice: the output could not be written\n");
  return code == 0 ? 1 : code;
}
