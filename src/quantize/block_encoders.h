// One block of each type; encode.cpp holds the table.
#pragma once

#include <cstdint>

namespace sluice::quantize {

inline constexpr int kBlock = 32;
inline constexpr int kSuperBlock = 256;

// x: (32)
void encode_q4_0(const float* x, uint8_t* block);
void encode_q4_1(const float* x, uint8_t* block);
void encode_q5_0(const float* x, uint8_t* block);
void encode_q5_1(const float* x, uint8_t* block);
void encode_q8_0(const float* x, uint8_t* block);

// x: (256)
void encode_q4_k(const float* x, uint8_t* block);
void encode_q5_k(const float* x, uint8_t* block);
void encode_q6_k(const float* x, uint8_t* block);

}  // namespace sluice::quantize
