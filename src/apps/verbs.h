// The verbs of the binary: each is one file in apps/ and reads its own command line.
// argv[0] is the verb. Returns the exit code: 0 done, 1 failed, 2 wrong usage.
#pragma once

namespace sluice::apps {

int run_bench(int argc, char** argv);
int run_chat(int argc, char** argv);
int run_gateway(int argc, char** argv);
int run_generate(int argc, char** argv);
int run_keys(int argc, char** argv);
int run_logits(int argc, char** argv);
int run_perplexity(int argc, char** argv);
int run_plan(int argc, char** argv);
int run_quantize(int argc, char** argv);
int run_serve(int argc, char** argv);
int run_simulate(int argc, char** argv);
int run_synth(int argc, char** argv);
int run_tokenize(int argc, char** argv);
int run_up(int argc, char** argv);
int run_usage(int argc, char** argv);

}  // namespace sluice::apps
