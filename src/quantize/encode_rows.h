// Rows of a matrix in the formats of Hugging Face folders, the counterpart of
// kernels/stored_formats.h. Values are finite.
#pragma once

#include <cstdint>

namespace sluice::quantize {

// Columns that share a scale: a multiple of 32 that divides `columns`.
struct Int4Row {
  int64_t columns = 0;
  int64_t group = 128;
  int32_t* words = nullptr;    // (columns / 8): codes with the zero 8, code k of a word at bit 4k
  uint16_t* scales = nullptr;  // (columns / group) bf16
};
void encode_int4_row(const float* x, const Int4Row& out);

// One scale for the row; columns: a multiple of 4.
void encode_int8_row(const float* x, int64_t columns, int8_t* codes, float* scale);

// Up to 128 rows: e4m3 codes and a scale for each 128 columns, the last ones fewer.
struct Fp8Band {
  int64_t rows = 0;
  int64_t columns = 0;
  uint8_t* codes = nullptr;  // (rows, columns)
  float* scales = nullptr;   // (columns / 128), rounded up
};
void encode_fp8_band(const float* x, const Fp8Band& out);

// The nearest value of e4m3, ties to even, at most 448.
uint8_t e4m3_of_float(float value);

}  // namespace sluice::quantize
