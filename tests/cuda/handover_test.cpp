// Rows between the card and the host while its queue runs, and weights brought beside the queue.
#include "core/math.h"
#include "kernels/device_weights.h"
#include "kernels/half.h"
#include "tests/cuda/support.h"
#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

template <typename T>
class Pinned {
 public:
  explicit Pinned(int64_t count)
      : memory_(card().device->allocate(count * int64_t{sizeof(T)}, MemoryKind::kPinned).value()) {
    std::memset(memory_.data(), 0, static_cast<size_t>(memory_.bytes()));
  }
  T* data() const { return reinterpret_cast<T*>(memory_.data()); }

 private:
  DeviceBuffer memory_;
};

// A recorded queue of three turns, replayed: what is posted is what was there, and the host's
// answer to a turn is in what the next one posts.
TEST(CudaHandover, EveryTurnIsAnswered) {
  NEEDS_CARD();
  Device& device = *card().device;
  constexpr int64_t kInputs = 7168;
  constexpr int32_t kUsed = 8, kTurns = 3;
  for (const int64_t rows : {1, 8, 24}) {
    core::Rng rng(11 + static_cast<uint64_t>(rows));
    const int64_t values = rows * kInputs, choices = rows * kUsed;
    const std::vector<uint16_t> x = bf16_of(normals(rng, values));
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < choices; ++i) ids.push_back(static_cast<int32_t>(rng.below(256)));
    const std::vector<float> weights = normals(rng, choices);
    const OnDevice<uint16_t> x_there(device, x);
    const OnDevice<int32_t> ids_there(device, ids);
    const OnDevice<float> weights_there(device, weights),
        sum(device, std::vector<float>(static_cast<size_t>(values), 1.0f));
    const OnDevice<uint32_t> turns(device, {0});
    const Pinned<Mailbox> box(1);
    const Pinned<uint16_t> host_x(values);
    std::vector<int32_t> own = ids;
    for (size_t i = 0; i < own.size(); i += 3) own[i] = -1;
    const OnDevice<int32_t> own_there(device, own);
    const Pinned<int32_t> host_ids(choices), host_own(choices);
    const Pinned<float> host_weights(choices), answer(values);
    const auto recording = device.record(
        [&] {
          for (int32_t turn = 0; turn < kTurns; ++turn) {
            device.post({.x = x_there.data(),
                         .rows = rows,
                         .inputs = kInputs,
                         .used = kUsed,
                         .ids = ids_there.data(),
                         .own = own_there.data(),
                         .weights = weights_there.data(),
                         .host_x = host_x.data(),
                         .host_ids = host_ids.data(),
                         .host_own = host_own.data(),
                         .host_weights = host_weights.data(),
                         .mailbox = box.data(),
                         .turns = turns.data()});
            device.collect({.answer = answer.data(),
                            .to = sum.data(),
                            .count = values,
                            .mailbox = box.data(),
                            .turns = turns.data()});
          }
        },
        {});
    for (uint32_t turn = 1; turn <= 2 * kTurns; ++turn) {
      if (turn % kTurns == 1) device.replay(*recording);
      while (box.data()->posted.load(std::memory_order_acquire) != turn) device.check_alive();
      EXPECT_EQ(std::vector<uint16_t>(host_x.data(), host_x.data() + values), x);
      EXPECT_EQ(std::vector<int32_t>(host_ids.data(), host_ids.data() + choices), ids);
      EXPECT_EQ(std::vector<int32_t>(host_own.data(), host_own.data() + choices), own);
      EXPECT_EQ(std::vector<float>(host_weights.data(), host_weights.data() + choices), weights);
      std::memset(host_x.data(), 0, static_cast<size_t>(values) * sizeof(uint16_t));
      for (int64_t i = 0; i < values; ++i)
        answer.data()[i] = static_cast<float>(turn) * static_cast<float>(i % 5);
      box.data()->answered.store(turn, std::memory_order_release);
    }
    const std::vector<float> sums = sum.values();
    for (int64_t i = 0; i < values; ++i)
      ASSERT_EQ(sums[static_cast<size_t>(i)], 1.0f + 21.0f * static_cast<float>(i % 5)) << i;
  }
}

// A turn's guess lies in the place of its last bit and leaves the other place alone.
TEST(CudaHandover, AGuessIsOfTheNextTurn) {
  NEEDS_CARD();
  Device& device = *card().device;
  constexpr int64_t kChoicesMax = 2048;
  for (const int64_t choices : {int64_t{8}, int64_t{192}, kChoicesMax})
    for (const uint32_t posted : {0u, 5u, 6u}) {
      std::vector<int32_t> ids;
      for (int64_t i = 0; i < choices; ++i) ids.push_back(static_cast<int32_t>(i * 7 % 256) - 1);
      const OnDevice<int32_t> there(device, ids);
      const OnDevice<uint32_t> turns(device, {posted});
      const Pinned<Mailbox> box(1);
      const Pinned<int32_t> guesses(2 * kChoicesMax);
      device.post_guess({.ids = there.data(),
                         .choices = choices,
                         .host_ids = guesses.data(),
                         .choices_max = kChoicesMax,
                         .mailbox = box.data(),
                         .turns = turns.data()});
      const uint32_t place = (posted + 1) % 2;
      while (box.data()->guessed[place].load(std::memory_order_acquire) != posted + 1)
        device.check_alive();
      ids.resize(kChoicesMax);
      const int32_t* const own = guesses.data() + place * kChoicesMax;
      const int32_t* const other = guesses.data() + (1 - place) * kChoicesMax;
      EXPECT_EQ(std::vector<int32_t>(own, own + kChoicesMax), ids);
      EXPECT_EQ(std::vector<int32_t>(other, other + kChoicesMax),
                std::vector<int32_t>(kChoicesMax));
      EXPECT_EQ(box.data()->guessed[1 - place].load(), 0u);
      device.wait();
    }
}

TEST(CudaBring, GivesTheBytesOfTheReference) {
  NEEDS_CARD();
  Device& device = *card().device;
  const auto reference = make_reference_device();
  core::Rng rng(5);
  for (const Ops* ops : runnable_ops())
    for (const DType type : {DType::kQ4_0, DType::kQ4_K, DType::kF8_B128}) {
      const PackedLayout layout = packed_layout(*ops, type);
      if (layout == PackedLayout::kUnknown) continue;
      constexpr int64_t kOutputs = 160, kInputs = 1792;
      constexpr int kMatrices = 5;
      const int64_t host_bytes = core::round_up(ops->packed_bytes(type, kOutputs, kInputs), 256);
      const int64_t bytes = device_weight_bytes(brought_type(layout), kOutputs, kInputs);
      const Pinned<std::byte> from(kMatrices * host_bytes);
      std::vector<BroughtMatrix> matrices;
      const OnDevice<std::byte> to(device,
                                   std::vector<std::byte>(static_cast<size_t>(kMatrices * bytes))),
          staging(device, std::vector<std::byte>(static_cast<size_t>(2 * host_bytes)));
      std::vector<std::byte> expected(static_cast<size_t>(kMatrices * bytes));
      for (int i = 0; i < kMatrices; ++i) {
        const std::vector<std::byte> blocks = random_blocks(rng, type, kOutputs * kInputs);
        std::byte* packed = from.data() + i * host_bytes;
        run_all(ops->pack, PackArgs{.type = type,
                                    .outputs = kOutputs,
                                    .inputs = kInputs,
                                    .weights = blocks.data(),
                                    .packed = packed});
        matrices.push_back({.layout = layout,
                            .outputs = kOutputs,
                            .inputs = kInputs,
                            .from = packed,
                            .bytes = ops->packed_bytes(type, kOutputs, kInputs),
                            .to = to.data() + i * bytes});
      }
      device.bring({.matrices = matrices,
                    .staging = staging.data(),
                    .staging_bytes = host_bytes,
                    .slot = 1});
      device.await_brought(1);
      const std::vector<std::byte> brought = to.values();
      for (int i = 0; i < kMatrices; ++i)
        matrices[static_cast<size_t>(i)].to = expected.data() + i * bytes;
      reference->bring({.matrices = matrices});
      EXPECT_TRUE(brought == expected) << ops->name << ' ' << core::info(type).name;
    }
}

// Every number of rows and cards, with residents and without, and rows of nobody.
TEST(CudaPull, PicksWhatTheReferencePicks) {
  NEEDS_CARD();
  Device& device = *card().device;
  const auto reference = make_reference_device();
  constexpr int32_t kUsed = 8, kRoom = 16;
  core::Rng rng(3);
  int64_t taken_in_all = 0;
  for (const int32_t experts : {16, 256, 384, kPickedExpertsMax})
    for (const int64_t rows : {1, 3, 64, 256})
      for (const int32_t cards : {1, 2, 3})
        for (const uint32_t share : {uint32_t{0}, kPullShareOne / 4, kPullShareOne}) {
          std::vector<int32_t> ids, slots;
          for (int64_t i = 0; i < rows * kUsed; ++i)
            ids.push_back(i % 7 == 3 ? -1 : static_cast<int32_t>(rng.below(experts)));
          for (int32_t i = 0; i < experts; ++i)
            slots.push_back(static_cast<int32_t>(rng.below(9)) - 6);
          const bool has_slots = rng.below(2) == 0;
          const std::vector<int32_t> none(static_cast<size_t>(experts), 77);
          const OnDevice<int32_t> ids_there(device, ids), slots_there(device, slots),
              host_there(device, ids), taken_there(device, std::vector<int32_t>(1 + kRoom)),
              slot_of_there(device, none);
          for (int32_t card = 0; card < cards; ++card) {
            std::vector<int32_t> host(ids.size()), taken(1 + kRoom), slot_of(none);
            DevicePickArgs args{.ids = ids.data(),
                                .rows = rows,
                                .used = kUsed,
                                .experts = experts,
                                .slots = has_slots ? slots.data() : nullptr,
                                .share = share,
                                .room = kRoom,
                                .card = card,
                                .cards = cards,
                                .host_ids = host.data(),
                                .taken = taken.data(),
                                .slot_of = slot_of.data()};
            reference->pick(args);
            args.ids = ids_there.data();
            args.slots = has_slots ? slots_there.data() : nullptr;
            args.host_ids = host_there.data();
            args.taken = taken_there.data();
            args.slot_of = slot_of_there.data();
            device.pick(args);
            EXPECT_EQ(host_there.values(), host);
            EXPECT_EQ(slot_of_there.values(), slot_of);
            std::vector<int32_t> got = taken_there.values();
            ASSERT_EQ(got[0], taken[0]) << experts << ", " << rows << ", card " << card;
            got.resize(static_cast<size_t>(1 + taken[0]));
            taken.resize(got.size());
            EXPECT_EQ(got, taken);
            taken_in_all += taken[0];
          }
        }
  EXPECT_GT(taken_in_all, 100);
}

// Panels of an odd number of blocks and of several runs; all layouts.
TEST(CudaPull, GivesTheBytesOfTheReference) {
  NEEDS_CARD();
  Device& device = *card().device;
  const auto reference = make_reference_device();
  core::Rng rng(9);
  constexpr int32_t kExperts = 5;
  const std::vector<int32_t> taken = {3, 4, 0, 2};
  for (const Ops* ops : runnable_ops())
    for (const DType type : {DType::kQ4_0, DType::kQ4_K, DType::kF8_B128}) {
      const PackedLayout layout = packed_layout(*ops, type);
      if (layout == PackedLayout::kUnknown) continue;
      DevicePullArgs args;
      args.taken = taken.data();
      std::vector<const std::byte*> from(kExperts * kPulledStacks);
      std::vector<std::unique_ptr<Pinned<std::byte>>> matrices;
      int64_t bytes = 0;
      for (size_t s = 0; s < kPulledStacks; ++s) {
        const int64_t more = type == DType::kQ4_0 ? 32 : 0;  // an odd number of blocks
        const int64_t outputs = s == 2 ? 1280 : 160, inputs = (s == 2 ? 256 : 1792) + more;
        for (size_t expert = 0; expert < kExperts; ++expert) {
          matrices.push_back(
              std::make_unique<Pinned<std::byte>>(ops->packed_bytes(type, outputs, inputs)));
          from[expert * kPulledStacks + s] = matrices.back()->data();
          const std::vector<std::byte> blocks = random_blocks(rng, type, outputs * inputs);
          run_all(ops->pack, PackArgs{.type = type,
                                      .outputs = outputs,
                                      .inputs = inputs,
                                      .weights = blocks.data(),
                                      .packed = matrices.back()->data()});
        }
        args.stacks[s] = {.layout = layout, .outputs = outputs, .inputs = inputs};
        args.stacks[s].stride_bytes =
            core::round_up(device_weight_bytes(brought_type(layout), outputs, inputs), 256);
        bytes += taken[0] * args.stacks[s].stride_bytes;
      }
      const std::vector<std::byte> nothing(static_cast<size_t>(bytes));
      std::vector<std::byte> expected = nothing;
      const auto pull = [&](Device& to, std::byte* base) {
        for (PulledStack& stack : args.stacks) {
          stack.to = base;
          base += taken[0] * stack.stride_bytes;
        }
        to.pull(args);
        to.await_pulled();
      };
      args.from = from.data();
      pull(*reference, expected.data());
      const OnDevice<int32_t> taken_there(device, taken);
      const OnDevice<const std::byte*> from_there(device, from);
      const OnDevice<std::byte> there(device, nothing);
      args.taken = taken_there.data();
      args.from = from_there.data();
      pull(device, there.data());
      EXPECT_TRUE(there.values() == expected) << ops->name << ' ' << core::info(type).name;
    }
}

}  // namespace
}  // namespace sluice::kernels
