// The kernels of this folder as a kernels::Device: memory, one stream, recorded steps.
#include <array>

#include "core/clock.h"
#include "core/math.h"
#include "kernels/cuda/card.h"
#include "kernels/cuda/copy.cuh"
#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/handover.cuh"
#include "kernels/cuda/join.cuh"
#include "kernels/cuda/latent.cuh"
#include "kernels/cuda/open_cuda.h"
#include "kernels/cuda/ops.cuh"
#include "kernels/cuda/products.h"
#include "kernels/cuda/pull.cuh"
#include "kernels/cuda/queue.h"
#include "kernels/cuda/rows_by_codes.cuh"
#include "kernels/cuda/sample.cuh"
#include "kernels/cuda/sum.cuh"
#include "kernels/cuda/unpack.cuh"

namespace sluice::kernels {

void cuda::check(cudaError_t error, const char* what) {
  ASSERT(error == cudaSuccess, "CUDA device failed: {}: {}", what, cudaGetErrorString(error));
}

namespace {

constexpr int64_t kMeasuredSize = 8192;  // of the square product that measure_roof() times
// Rows from which on a prompt's latent attention is not absorbed: keys and values of all its tokens
// are made for them.
constexpr int32_t kPromptRowsMin = 128;
constexpr int32_t kStampsMax = 4096;  // clocks of the queue

using cuda::check;
using cuda::enter;
using cuda::Queue;

struct RecordedGraph final : Recording {
  ~RecordedGraph() override {
    if (graph != nullptr) cudaGraphExecDestroy(graph);
  }
  cudaGraphExec_t graph = nullptr;
};

class CudaDevice final : public Device {
 public:
  CudaDevice(DeviceInfo info, int32_t card, std::unique_ptr<cuda::CublasLt> wide)
      : info_(std::move(info)), card_(card), stream_(card), products_(std::move(wide), stream_) {
    check(cudaEventCreateWithFlags(&met_, cudaEventDisableTiming), "event");
    check(cudaEventCreateWithFlags(&queued_, cudaEventDisableTiming), "event");
    check(cudaEventCreateWithFlags(&picked_, cudaEventDisableTiming), "event");
    check(cudaEventCreateWithFlags(&pulled_, cudaEventDisableTiming), "event");
    check(cudaStreamCreateWithFlags(&pulling_, cudaStreamNonBlocking), "stream");
    for (cudaEvent_t& mark : marks_)
      check(cudaEventCreateWithFlags(&mark, cudaEventDisableTiming), "event");
    for (Side& side : sides_) {
      check(cudaStreamCreateWithFlags(&side.stream, cudaStreamNonBlocking), "stream");
      for (cudaEvent_t& brought : side.brought)
        check(cudaEventCreateWithFlags(&brought, cudaEventDisableTiming), "event");
    }
  }
  ~CudaDevice() override {
    enter(card_);
    for (Side& side : sides_) {
      for (cudaEvent_t brought : side.brought) cudaEventDestroy(brought);
      cudaStreamDestroy(side.stream);
    }
    for (cudaEvent_t mark : marks_) cudaEventDestroy(mark);
    cudaStreamDestroy(pulling_);
    cudaEventDestroy(picked_);
    cudaEventDestroy(pulled_);
    cudaEventDestroy(queued_);
    cudaEventDestroy(met_);
  }

  const DeviceInfo& info() const override { return info_; }
  DeviceRoof measure_roof() override;

  core::Result<DeviceBuffer> allocate(int64_t bytes, MemoryKind kind) override;
  core::Result<DeviceBuffer> adopt(std::byte* data, int64_t bytes) override;
  core::Result<void> reserve(const DeviceLimits& limits) override;
  int64_t reserved_bytes() const override { return scratch_.bytes(); }

  void upload(std::byte* to, const std::byte* from, int64_t bytes) override {
    enter(card_);
    check(cudaMemcpy(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice), "upload");
    // Of pageable memory the last piece may be on its way yet, and no queue here waits for this
    // stream.
    check(cudaStreamSynchronize(cudaStreamLegacy), "upload");
  }
  void send(std::byte* to, const std::byte* from, int64_t bytes) override {
    copy(to, from, bytes, cudaMemcpyHostToDevice);
  }
  void fetch(std::byte* to, const std::byte* from, int64_t bytes) override {
    copy(to, from, bytes, cudaMemcpyDeviceToHost);
  }
  void wait() override { check(cudaStreamSynchronize(stream_), "a step"); }
  void mark(int slot) override {
    check(cudaEventRecord(marks_[static_cast<size_t>(slot)], stream_), "event");
  }
  void await(int slot) override {
    check(cudaEventSynchronize(marks_[static_cast<size_t>(slot)]), "a step");
  }
  void check_alive() override {
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state != cudaErrorNotReady) check(state, "a step");
  }
  void bring(const DeviceBringArgs& args) override;
  bool has_brought(int32_t slot) override {
    for (const Side& side : sides_) {
      const cudaError_t state = cudaEventQuery(side.brought[static_cast<size_t>(slot)]);
      if (state == cudaErrorNotReady) return false;
      check(state, "weights");
    }
    return true;
  }
  void await_brought(int32_t slot) override {
    for (const Side& side : sides_)
      check(cudaStreamWaitEvent(stream_, side.brought[static_cast<size_t>(slot)]), "weights");
  }
  void meet(std::span<Device* const> others) override;
  std::unique_ptr<Recording> record(std::function<void()> ops,
                                    std::span<Device* const> others) override;
  void replay(const Recording& recording) override;
  void stamp(int32_t slot) override {
    ASSERT(slot >= 0 && slot < kStampsMax, "clock {} of {}", slot, kStampsMax);
    cuda::stamp(reinterpret_cast<uint64_t*>(stamps_.data()) + slot, stream_);
  }
  int64_t stamped_ns(int32_t from, int32_t to) override {
    const auto* ns = reinterpret_cast<const uint64_t*>(stamps_.data());
    return static_cast<int64_t>(ns[to] - ns[from]);
  }

  void embed(const EmbedArgs& args) override { cuda::embed(args, stream_); }
  void join(const DeviceJoinArgs& args) override { cuda::join_rows(args, stream_); }
  void linear(const DeviceLinearArgs& args) override { products_.linear(args); }
  void turn(const DeviceTurnArgs& args) override { cuda::turn(args, stream_); }
  void attention(const DeviceAttentionArgs& args) override {
    cuda::attend_prompts(args, stream_);
    cuda::attend_singles(args, attention_, stream_);
  }
  void turn_and_attend(const DeviceTurnArgs& turn, const DeviceAttentionArgs& args) override {
    if (args.tile_count == 0) return cuda::turn_and_attend_singles(turn, args, attention_, stream_);
    Device::turn_and_attend(turn, args);
  }
  void latent_attention(const DeviceLatentArgs& args) override {
    if (args.heads == 0) return cuda::turn_latent(args, latent_, stream_);
    if (is_deterministic_) return attend_alike(args);
    if (cuda::latent_rows_are_few(args)) {
      cuda::make_queries(args, latent_, stream_);
      const auto splits = cuda::attend_latent_parts(args, latent_, stream_);
      return cuda::make_values(args, latent_, splits, stream_);
    }
    cuda::turn_latent(args, latent_, stream_);
    int64_t next = 0;  // row that is not attended yet
    bool is_decoded = false;
    for (const LatentPrompt& prompt : args.prompts) {
      const int32_t heads = place_latent_room(args, prompt);
      if (heads == 0) continue;
      attend_absorbed(args, next, prompt.first_row);
      if (!is_decoded) {
        cuda::decode_heads(args.k_b, cuda::HeadMatrices::kTurned, latent_.room.k_b, stream_);
        cuda::decode_heads(args.v_b, cuda::HeadMatrices::kAsTheyAre, latent_.room.v_b, stream_);
      }
      is_decoded = true;
      attend_prompt(args, prompt, heads);
      next = prompt.first_row + prompt.rows;
    }
    attend_absorbed(args, next, args.rows.rows);
  }
  void route(const DeviceRouteArgs& args) override { cuda::route(args, experts_, stream_); }
  void experts(const DeviceExpertArgs& args) override {
    cuda::run_experts(args, experts_, stream_);
  }
  void pick(const DevicePickArgs& args) override { cuda::pick(args, stream_); }
  void pull(const DevicePullArgs& args) override {
    check(cudaEventRecord(picked_, stream_), "event");
    check(cudaStreamWaitEvent(pulling_, picked_), "experts over the link");
    cuda::pull(args, pulling_);
    check(cudaEventRecord(pulled_, pulling_), "event");
  }
  void await_pulled() override {
    check(cudaStreamWaitEvent(stream_, pulled_), "experts over the link");
  }
  void post(const DevicePostArgs& args) override { cuda::post(args, stream_); }
  void post_guess(const DeviceGuessArgs& args) override { cuda::post_guess(args, stream_); }
  void collect(const DeviceCollectArgs& args) override { cuda::collect(args, stream_); }
  void add(float* to, const float* from, int64_t count) override {
    cuda::add(to, from, count, stream_);
  }
  void clear(float* to, int64_t count) override {
    check(cudaMemsetAsync(to, 0, static_cast<size_t>(count) * sizeof(float), stream_), "clear");
  }
  void sum(const DeviceSumArgs& args) override { cuda::sum(args, stream_); }
  void sample(const DeviceSampleArgs& args) override {
    if (args.how != nullptr || args.columns < args.stride) cuda::mask_logits(args, stream_);
    cuda::argmax({args.logits, args.rows, args.stride, args.ids}, argmax_, stream_);
    if (args.how != nullptr) cuda::choose_tokens(args, stream_);
  }
  void take_sampled(int32_t* ids, int64_t rows, const int32_t* sampled) override {
    cuda::take_sampled(ids, rows, sampled, stream_);
  }

 private:
  void release(std::byte* data, MemoryKind kind) override {
    enter(card_);
    check(kind == MemoryKind::kPinned    ? cudaFreeHost(data)
          : kind == MemoryKind::kAdopted ? cudaHostUnregister(data)
                                         : cudaFree(data),
          "free");
  }
  void copy(std::byte* to, const std::byte* from, int64_t bytes, cudaMemcpyKind kind) {
    if (bytes > 0 && bytes % 4 == 0 && bytes <= cuda::kSmallCopyBytes)
      return cuda::copy_small(to, from, bytes, stream_);
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kind, stream_), "copy");
  }
  // Measures where base is null, otherwise sets what points into the scratch.
  void place_scratch(const DeviceLimits& limits, std::byte* base);
  int32_t place_latent_room(const DeviceLatentArgs& args, const LatentPrompt& prompt);
  void attend_prompt(const DeviceLatentArgs& args, const LatentPrompt& prompt, int32_t heads);
  void attend_absorbed(const DeviceLatentArgs& args, int64_t begin, int64_t end);
  void attend_alike(const DeviceLatentArgs& args);
  double measure_link();
  // What this stream has so far comes before what the other one gets.
  void precede(CudaDevice& other) {
    check(cudaEventRecord(met_, stream_), "cards that meet");
    check(cudaStreamWaitEvent(other.stream_, met_), "cards that meet");
  }

  const DeviceInfo info_;
  const int32_t card_;
  const Queue stream_;
  cuda::Products products_;
  cudaEvent_t met_ = nullptr;

  // Copies and unpacking beside the queue: one side copies while the other unpacks.
  struct Side {
    cudaStream_t stream = nullptr;
    std::array<cudaEvent_t, kBringSlots> brought{};
  };
  std::array<Side, 2> sides_;
  cudaEvent_t queued_ = nullptr;
  cudaStream_t pulling_ = nullptr;  // experts over the link, beside the queue
  cudaEvent_t picked_ = nullptr;
  cudaEvent_t pulled_ = nullptr;
  std::array<cudaEvent_t, kMarks> marks_{};
  DeviceBuffer stamps_;  // u64 (kStampsMax), pinned

  bool is_deterministic_ = false;  // of DeviceLimits
  int64_t scratch_bytes_ = 0;
  DeviceBuffer scratch_;  // what follows points into it
  cuda::AttentionScratch attention_;
  cuda::ArgmaxScratch argmax_;
  cuda::ProductScratch product_;
  cuda::ExpertScratch experts_;
  cuda::LatentScratch latent_;
};

core::Result<DeviceBuffer> CudaDevice::allocate(int64_t bytes, MemoryKind kind) {
  enter(card_);
  size_t free_bytes = 0, all_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &all_bytes), "memory");
  void* data = nullptr;
  const auto size = static_cast<size_t>(bytes);
  const cudaError_t error =
      kind == MemoryKind::kPinned ? cudaMallocHost(&data, size) : cudaMalloc(&data, size);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    return core::Error{
        core::ErrorCode::kLimit,
        fmt::format("{}: {:.2f} GB wanted, {:.2f} GB of {:.2f} GB are free",
                    kind == MemoryKind::kPinned ? "pinned memory" : info_.name,
                    static_cast<double>(bytes) * 1e-9, static_cast<double>(free_bytes) * 1e-9,
                    static_cast<double>(all_bytes) * 1e-9)};
  }
  check(error, "memory");
  return DeviceBuffer(this, kind, static_cast<std::byte*>(data), bytes);
}

core::Result<DeviceBuffer> CudaDevice::adopt(std::byte* data, int64_t bytes) {
  enter(card_);
  // For all cards: of several each copies its part of the host's experts from there.
  const cudaError_t error =
      cudaHostRegister(data, static_cast<size_t>(bytes), cudaHostRegisterPortable);
  if (error == cudaSuccess) return DeviceBuffer(this, MemoryKind::kAdopted, data, bytes);
  (void)cudaGetLastError();
  return core::unsupported("{:.2f} GB of memory cannot be pinned: {}",
                           static_cast<double>(bytes) * 1e-9, cudaGetErrorString(error));
}

void CudaDevice::bring(const DeviceBringArgs& args) {
  check(cudaEventRecord(queued_, stream_), "event");
  for (Side& side : sides_) check(cudaStreamWaitEvent(side.stream, queued_), "weights");
  for (size_t i = 0; i < args.matrices.size(); ++i) {
    const BroughtMatrix& m = args.matrices[i];
    const size_t s = i % sides_.size();
    std::byte* staging = args.staging + static_cast<int64_t>(s) * args.staging_bytes;
    check(cudaMemcpyAsync(staging, m.from, static_cast<size_t>(m.bytes), cudaMemcpyHostToDevice,
                          sides_[s].stream),
          "weights");
    cuda::unpack(m, staging, sides_[s].stream);
  }
  for (Side& side : sides_)
    check(cudaEventRecord(side.brought[static_cast<size_t>(args.slot)], side.stream), "event");
}

void CudaDevice::place_scratch(const DeviceLimits& limits, std::byte* base) {
  int64_t bytes = 0;
  const auto place = [&]<typename T>(T*& out, int64_t count) {
    if (base != nullptr) out = reinterpret_cast<T*>(base + bytes);
    bytes += core::round_up(count * int64_t{sizeof(T)}, 256);
  };
  const int64_t rows = limits.rows_max, heads = rows * limits.heads;
  const int64_t choices = rows * limits.experts_used;
  place(attention_.parts, cuda::attention_scratch_bytes(limits.head_dim) / int64_t{sizeof(float)});
  place(attention_.counters, cuda::kAttentionPartsMax);
  place(argmax_.best, cuda::kArgmaxRowsMax);
  place(argmax_.counters, cuda::kArgmaxRowsMax);
  place(product_.workspace, cuda::CublasLt::kWorkspaceBytes);
  place(product_.counters, cuda::kCodeCounters);
  place(product_.normed, rows * limits.inputs_max);
  place(product_.gate, rows * limits.outputs_max);
  place(product_.up, rows * limits.outputs_max);
  place(product_.decoded, limits.matrix_values_max);
  if (limits.experts > 0) {
    place(experts_.plan.choices, choices);
    place(experts_.plan.places, choices);
    place(experts_.plan.tiles, cuda::expert_tiles_max(choices, limits.experts));
    place(experts_.plan.tile_count, 1);
    place(experts_.activated, choices * limits.expert_ffn);
    place(experts_.out, choices * limits.expert_inputs);
    place(experts_.scores, cuda::score_floats(rows, limits.experts));
  }
  if (limits.latent_rank > 0) {
    place(latent_.q_nope, heads * limits.nope_dims);
    place(latent_.queries, heads * limits.latent_row);
    place(latent_.attended, heads * limits.latent_rank);
    // One of them for parts of rows, as no prompt has keys of its own.
    place(latent_.parts, limits.is_deterministic ? cuda::kLatentRoomBytes / int64_t{sizeof(float)}
                                                 : cuda::latent_part_floats());
    place(latent_.room_bytes, limits.is_deterministic ? 0 : cuda::kLatentRoomBytes);
  }
  scratch_bytes_ = bytes;
}

core::Result<void> CudaDevice::reserve(const DeviceLimits& limits) {
  place_scratch(limits, nullptr);
  scratch_ = TRY(allocate(scratch_bytes_, MemoryKind::kDevice));
  stamps_ = TRY(allocate(kStampsMax * int64_t{sizeof(uint64_t)}, MemoryKind::kPinned));
  place_scratch(limits, scratch_.data());
  products_.use(product_, limits);
  is_deterministic_ = experts_.is_deterministic = limits.is_deterministic;
  // Zero between ops too.
  const auto clear_counters = [&](auto* counters, size_t count) {
    check(cudaMemsetAsync(counters, 0, count * sizeof(*counters), stream_), "counters");
  };
  clear_counters(attention_.counters, cuda::kAttentionPartsMax);
  clear_counters(product_.counters, cuda::kCodeCounters);
  clear_counters(argmax_.best, cuda::kArgmaxRowsMax);
  clear_counters(argmax_.counters, cuda::kArgmaxRowsMax);
  return {};
}

// Through this device: all others come before what follows here, and that before them.
void CudaDevice::meet(std::span<Device* const> others) {
  for (Device* other : others) static_cast<CudaDevice*>(other)->precede(*this);
  for (Device* other : others) precede(*static_cast<CudaDevice*>(other));
}

// One graph of all streams: the others' join the recording by what they wait for, and this one
// waits for them at its end.
std::unique_ptr<Recording> CudaDevice::record(std::function<void()> ops,
                                              std::span<Device* const> others) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording");
  for (Device* other : others) precede(*static_cast<CudaDevice*>(other));
  ops();
  for (Device* other : others) static_cast<CudaDevice*>(other)->precede(*this);
  check(cudaStreamEndCapture(stream_, &graph), "recording");
  auto recorded = std::make_unique<RecordedGraph>();
  check(cudaGraphInstantiate(&recorded->graph, graph, 0), "recording");
  check(cudaGraphDestroy(graph), "recording");
  return recorded;
}

void CudaDevice::replay(const Recording& recording) {
  check(cudaGraphLaunch(static_cast<const RecordedGraph&>(recording).graph, stream_),
        "a recorded step");
}

// Heads of a group whose keys and values have room at once; 0: the prompt is better absorbed.
int32_t CudaDevice::place_latent_room(const DeviceLatentArgs& args, const LatentPrompt& prompt) {
  const int64_t rank = args.kv.latent_rank, nope = args.k_b.first.inputs;
  const int64_t values = args.v_b.first.outputs;
  if (prompt.rows < kPromptRowsMin || nope > cuda::kLatentPromptDims ||
      values > cuda::kLatentPromptDims || values % 8 != 0 || args.rope.dims % 8 != 0)
    return 0;
  const int64_t tokens = cuda::latent_padded(prompt.tokens);
  int64_t at = 0;
  const auto place = [&](uint16_t*& out, int64_t count) {
    out = reinterpret_cast<uint16_t*>(latent_.room_bytes + at);
    at += core::round_up(count * 2, 256);
  };
  cuda::LatentRoom& room = latent_.room;
  place(room.k_b, args.heads * nope * rank);
  place(room.v_b, args.heads * values * rank);
  place(room.latents, tokens * rank);
  place(room.turned, tokens * cuda::kLatentTurned);
  const int64_t left = cuda::kLatentRoomBytes - at - 256;
  const int64_t heads = std::clamp<int64_t>(left / (tokens * (nope + values) * 2), 0, args.heads);
  place(room.keys, tokens * heads * nope);
  place(room.values, tokens * heads * values);
  return static_cast<int32_t>(heads);
}

void CudaDevice::attend_prompt(const DeviceLatentArgs& args, const LatentPrompt& prompt,
                               int32_t heads) {
  const int64_t rank = args.kv.latent_rank, nope = args.k_b.first.inputs;
  const int64_t values = args.v_b.first.outputs;
  const cuda::LatentRoom& room = latent_.room;
  cuda::gather_latents(args, prompt, room, stream_);
  cuda::WideProduct product{.x = room.latents,
                            .inputs = rank,
                            .rows = cuda::latent_padded(prompt.tokens),
                            .into = cuda::WideProduct::Into::kF16};
  for (int32_t first = 0; first < args.heads; first += heads) {
    const cuda::LatentPromptHeads group{first, std::min(heads, args.heads - first)};
    product.weights = room.k_b + first * nope * rank;
    product.outputs = group.heads * nope;
    product.y = room.keys;
    products_.multiply(product);
    product.weights = room.v_b + first * values * rank;
    product.outputs = group.heads * values;
    product.y = room.values;
    products_.multiply(product);
    cuda::attend_latent_prompt(args, prompt, group, latent_, stream_);
  }
}

void CudaDevice::attend_absorbed(const DeviceLatentArgs& args, int64_t begin, int64_t end) {
  if (begin == end) return;
  const auto [rows, scratch] = cuda::latent_rows(args, latent_, begin, end);
  cuda::multiply_k_b(rows, scratch, stream_);
  cuda::attend_latent(rows, scratch, stream_);
  cuda::multiply_v_b(rows, scratch, stream_);
}

// All rows absorbed: whether a row is of a prompt depends on how that was cut. Of prompts the host
// knows how many tokens they have at most.
void CudaDevice::attend_alike(const DeviceLatentArgs& args) {
  cuda::turn_latent(args, latent_, stream_);
  cuda::multiply_k_b(args, latent_, stream_);
  const auto attend = [&](int64_t begin, int64_t end, int64_t tokens_max) {
    if (begin == end) return;
    const auto [rows, scratch] = cuda::latent_rows(args, latent_, begin, end);
    cuda::attend_latent_alike(rows, tokens_max, scratch, stream_);
  };
  int64_t next = 0;
  for (const LatentPrompt& prompt : args.prompts) {
    attend(next, prompt.first_row, INT32_MAX);
    next = prompt.first_row + prompt.rows;
    attend(prompt.first_row, next, prompt.tokens);
  }
  attend(next, args.rows.rows, INT32_MAX);
  cuda::multiply_v_b(args, latent_, stream_);
}

double CudaDevice::measure_link() {
  constexpr int64_t kBytes = int64_t{128} << 20;
  const DeviceBuffer from = allocate(kBytes, MemoryKind::kPinned).value();
  const DeviceBuffer to = allocate(kBytes, MemoryKind::kDevice).value();
  const core::SystemClock clock;
  double best = 0;
  for (int pass = 0; pass < 4; ++pass) {
    const int64_t start_ns = clock.now_ns();
    send(to.data(), from.data(), kBytes);
    wait();
    best = std::max(best,
                    static_cast<double>(kBytes) / static_cast<double>(clock.now_ns() - start_ns));
  }
  return best;
}

DeviceRoof CudaDevice::measure_roof() {
  DeviceRoof roof{.read_gb_s = cuda::measure_read_gb_s(stream_), .link_gb_s = measure_link()};
  constexpr int64_t kMatrix = kMeasuredSize * kMeasuredSize;
  const DeviceBuffer memory =
      allocate(3 * kMatrix * 2 + cuda::CublasLt::kWorkspaceBytes, MemoryKind::kDevice).value();
  auto* values = reinterpret_cast<uint16_t*>(memory.data());
  cuda::fill_random_bf16(values, 2 * kMatrix, stream_);
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  for (int pass = 0; pass < 8; ++pass) {
    check(cudaEventRecord(begin, stream_), "event");
    products_.library().multiply({.weights = values,
                                  .x = values + kMatrix,
                                  .outputs = kMeasuredSize,
                                  .inputs = kMeasuredSize,
                                  .rows = kMeasuredSize,
                                  .into = cuda::WideProduct::Into::kBf16,
                                  .y = values + 2 * kMatrix},
                                 memory.data() + 3 * kMatrix * 2, stream_);
    check(cudaEventRecord(end, stream_), "event");
    check(cudaEventSynchronize(end), "a product");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    constexpr double kOperations = 2.0 * kMeasuredSize * kMatrix;
    roof.bf16_tflops = std::max(roof.bf16_tflops, kOperations / (static_cast<double>(ms) * 1e9));
  }
  check(cudaEventDestroy(begin), "event");
  check(cudaEventDestroy(end), "event");
  return roof;
}

}  // namespace

core::Result<std::unique_ptr<Device>> open_cuda(int32_t number, int32_t sharers) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0)
    return core::unsupported("no CUDA device: {}", error != cudaSuccess ? cudaGetErrorString(error)
                                                                        : "the driver has no card");
  if (number < 0 || number >= count)
    return core::unsupported("no CUDA device {}: this machine has {}, from 0 on", number, count);
  cudaDeviceProp card{};
  check(cudaGetDeviceProperties(&card, number), "properties");
  enter(number);
  const int code = cuda::code_of_card();
  if (code == 0)
    return core::unsupported(
        "{} has compute capability {}.{}, for which this build has no code (it needs 8.0 or newer; "
        "make cuda builds for 9.0 alone, make release for all)",
        card.name, card.major, card.minor);
  if (code != cuda::card().code)
    return core::unsupported(
        "CUDA device {}, {}, runs other code than the first card: one process takes cards of one "
        "generation",
        number, card.name);
  const int64_t shared_bytes = cuda::card().shared_bytes_max + cuda::kDeclaredBytesMax;
  if (static_cast<int64_t>(card.sharedMemPerBlockOptin) < shared_bytes)
    return core::unsupported("{} gives a block {} KiB of shared memory, {} KiB are needed",
                             card.name, card.sharedMemPerBlockOptin / 1024, shared_bytes / 1024);
  auto wide = TRY(cuda::CublasLt::open());
  size_t free_bytes = 0, all_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &all_bytes), "memory");
  DeviceInfo info{.name = card.name,
                  .backend = "cuda",
                  .memory_bytes = static_cast<int64_t>(all_bytes),
                  .free_bytes = static_cast<int64_t>(free_bytes) / sharers,
                  .sharers = sharers};
  return std::unique_ptr<Device>(
      std::make_unique<CudaDevice>(std::move(info), number, std::move(wide)));
}

}  // namespace sluice::kernels
