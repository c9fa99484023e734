#include "kernels/cuda/cublas_lt.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <map>
#include <tuple>

namespace sluice::kernels::cuda {
namespace {

// The names of CUDA 13's library: as its loader knows it, and where the toolkit puts it.
constexpr const char* kNames[] = {"libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.13"};

struct Functions {
  decltype(&::cublasLtCreate) create = nullptr;
  decltype(&::cublasLtDestroy) destroy = nullptr;
  decltype(&::cublasLtMatmul) matmul = nullptr;
  decltype(&::cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&::cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
};

template <typename Function>
bool find(void* library, const char* name, Function* out) {
  *out = reinterpret_cast<Function>(dlsym(library, name));
  return *out != nullptr;
}

bool find_all(void* library, Functions* f) {
  return find(library, "cublasLtCreate", &f->create) &&
         find(library, "cublasLtDestroy", &f->destroy) &&
         find(library, "cublasLtMatmul", &f->matmul) &&
         find(library, "cublasLtMatmulDescCreate", &f->desc_create) &&
         find(library, "cublasLtMatmulDescSetAttribute", &f->desc_set) &&
         find(library, "cublasLtMatrixLayoutCreate", &f->layout_create) &&
         find(library, "cublasLtMatmulPreferenceCreate", &f->preference_create) &&
         find(library, "cublasLtMatmulPreferenceSetAttribute", &f->preference_set) &&
         find(library, "cublasLtMatmulPreferenceDestroy", &f->preference_destroy) &&
         find(library, "cublasLtMatmulAlgoGetHeuristic", &f->heuristic);
}

void check(cublasStatus_t status, const char* what) {
  ASSERT(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt: {} gave status {}", what,
         static_cast<int>(status));
}

// A shape's descriptions and algorithm; kept as long as the process.
struct Choice {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t weights = nullptr;  // column-major, as the library has it: transposed
  cublasLtMatrixLayout_t x = nullptr;
  cublasLtMatrixLayout_t y = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
};

using Key = std::tuple<int64_t, int64_t, int64_t, WideProduct::Into>;

}  // namespace

struct CublasLt::State {
  Functions call;
  cublasLtHandle_t handle = nullptr;
  std::map<Key, Choice> choices;

  const Choice& choice_of(const WideProduct& p);
  Choice choose(const WideProduct& p) const;
};

CublasLt::CublasLt(std::unique_ptr<State> state) : state_(std::move(state)) {}
CublasLt::~CublasLt() {
  state_->call.destroy(state_->handle);
}

core::Result<std::unique_ptr<CublasLt>> CublasLt::open() {
  auto state = std::make_unique<State>();
  for (const char* name : kNames) {
    void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr || !find_all(library, &state->call)) continue;
    check(state->call.create(&state->handle), "cublasLtCreate");
    return std::unique_ptr<CublasLt>(new CublasLt(std::move(state)));
  }
  return core::unsupported("{} is not on this machine: put CUDA 13's into LD_LIBRARY_PATH",
                           kNames[0]);
}

Choice CublasLt::State::choose(const WideProduct& p) const {
  Choice choice;
  using Into = WideProduct::Into;
  const cudaDataType_t type = p.into == Into::kF16 ? CUDA_R_16F : CUDA_R_16BF;
  const bool is_float = p.into == Into::kFloat || p.into == Into::kFloatAdd;
  const auto outputs = static_cast<uint64_t>(p.outputs), inputs = static_cast<uint64_t>(p.inputs);
  const auto rows = static_cast<uint64_t>(p.rows);
  check(call.desc_create(&choice.product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
  const cublasOperation_t turned = CUBLAS_OP_T;
  check(call.desc_set(choice.product, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned),
        "transposition");
  check(call.layout_create(&choice.weights, type, inputs, outputs, p.inputs), "layout");
  check(call.layout_create(&choice.x, type, inputs, rows, p.inputs), "layout");
  check(call.layout_create(&choice.y, is_float ? CUDA_R_32F : type, outputs, rows, p.outputs),
        "layout");
  cublasLtMatmulPreference_t preference = nullptr;
  check(call.preference_create(&preference), "preference");
  const auto workspace = static_cast<size_t>(kWorkspaceBytes);
  check(call.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                            sizeof workspace),
        "workspace");
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  check(call.heuristic(handle, choice.product, choice.weights, choice.x, choice.y, choice.y,
                       preference, 1, &found, &count),
        "heuristic");
  ASSERT(count == 1, "cuBLASLt has no algorithm for {}×{} by {} rows", p.outputs, p.inputs, p.rows);
  check(call.preference_destroy(preference), "preference");
  choice.algorithm = found.algo;
  return choice;
}

const Choice& CublasLt::State::choice_of(const WideProduct& p) {
  const Key key{p.outputs, p.inputs, p.rows, p.into};
  const auto known = choices.find(key);
  return known != choices.end() ? known->second : choices.emplace(key, choose(p)).first->second;
}

void CublasLt::multiply(const WideProduct& p, std::byte* workspace, CUstream_st* stream) {
  const Choice& choice = state_->choice_of(p);
  const float one = 1, kept = p.into == WideProduct::Into::kFloatAdd ? 1.0f : 0.0f;
  check(state_->call.matmul(state_->handle, choice.product, &one, p.weights, choice.weights, p.x,
                            choice.x, &kept, p.y, choice.y, p.y, choice.y, &choice.algorithm,
                            workspace, static_cast<size_t>(kWorkspaceBytes), stream),
        "cublasLtMatmul");
}

}  // namespace sluice::kernels::cuda
