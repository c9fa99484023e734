// An engine as far as time and memory go: continuous batching with chunked prefill, KV taken chunk
// by chunk, the youngest sequence preempted and computed anew when KV runs out (as vLLM v1 does).
//
//   step = step_ns + decoding sequences · step_stream_ns + tokens in KV · step_context_ns
//          + prompt tokens of the step · prompt_token_ns, all times slowdown
//
// It has no clock of its own and can be copied: a copy run ahead shows what would become of it.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace sluice::simulate {

struct EngineModel {
  int64_t kv_tokens = 1 << 20;
  int64_t sequences_max = 256;  // in a step; more wait
  int64_t chunk_tokens = 512;   // of prompts in one step
  int64_t busy_at = 0;          // this many running and waiting: 429; 0: never
  double step_ns = 20e6;
  double step_stream_ns = 0.0;
  double step_context_ns = 0.0;
  double prompt_token_ns = 1e6;
};

struct EngineEvent {
  enum class Kind : uint8_t { kFirstToken, kEnd } kind = Kind::kFirstToken;
  int64_t request = 0;
  int64_t at_ns = 0;
};

class ModelledEngine {
 public:
  static constexpr int64_t kNever = int64_t{1} << 62;

  explicit ModelledEngine(const EngineModel& model);

  struct Work {
    int64_t request = 0;
    int64_t prompt_tokens = 0;
    int64_t output_tokens = 0;  // ≥ 1; prompt and output fit into kv_tokens
  };
  // False: busy.
  [[nodiscard]] bool submit(const Work& work, int64_t now_ns);

  // When the step in progress ends; kNever while there is nothing to do.
  int64_t step_end_ns() const { return step_end_ns_; }
  // Ends that step and begins the next. Appends what came of it.
  void end_step(std::vector<EngineEvent>* events);

  void slow_down(double factor) { slowdown_ = factor; }  // from the next step on
  int64_t sequences() const;                             // running and waiting
  int64_t preemptions() const { return preemptions_; }
  // Appends (request, tokens so far) of those that have begun to decode.
  void produced(std::vector<std::pair<int64_t, int64_t>>* tokens) const;

 private:
  struct Sequence {
    Work work;
    int64_t produced = 0;  // tokens sampled
    int64_t computed = 0;  // tokens in KV, as of decode step `joined`
    int64_t joined = 0;    // decoding since this decode step
    bool decoding = false;
    bool first_told = false;

    int64_t missing() const { return work.prompt_tokens + produced - computed; }
  };

  void begin_step(int64_t now_ns);
  void make_room_for_decodes();
  bool give_chunk(Sequence* sequence, int64_t* budget);
  void preempt_youngest();
  void admit(int64_t* budget);
  void stop_decoding(Sequence* sequence);
  int64_t free_tokens() const { return model_.kv_tokens - used_; }

  EngineModel model_;
  double slowdown_ = 1.0;
  std::vector<Sequence> running_;  // in the order of admission
  std::deque<Sequence> waiting_;
  int64_t used_ = 0;      // tokens in KV
  int64_t decoding_ = 0;  // sequences that decode
  int64_t decode_step_ = 0;
  int64_t step_tokens_ = 0;       // of prompts in the step in progress
  int64_t next_finish_ = kNever;  // decode step at which the first of them ends
  bool preempted_ = false;        // in the step in progress
  int64_t step_end_ns_ = kNever;
  int64_t preemptions_ = 0;
};

}  // namespace sluice::simulate
