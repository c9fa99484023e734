// The three kinds of `sluice bench`, one file each. argv[0] is the kind.
#pragma once

namespace sluice::apps {

int run_bench_model(int argc, char** argv);  // bench MODEL
int run_bench_op(int argc, char** argv);     // bench op
int run_bench_serve(int argc, char** argv);  // bench serve

}  // namespace sluice::apps
