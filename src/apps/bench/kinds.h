// The kinds of `sluice bench`, one file each. argv[0] is the kind.
#pragma once

namespace sluice::apps {

int run_bench_model(int argc, char** argv);   // bench MODEL
int run_bench_op(int argc, char** argv);      // bench op
int run_bench_serve(int argc, char** argv);   // bench serve
int run_bench_report(int argc, char** argv);  // bench report

}  // namespace sluice::apps
