// Scales for a short run of values that share one: the codes that come of them lose least.
//
// The loss is Σ weight · (value − decoded)². Rounding to the largest value ("absmax") is rarely the
// best choice at few bits: a grid of scales around it is tried, each with the least-squares scale
// of the codes it gives, and the best one is refined until its codes stay.
#pragma once

namespace sluice::quantize {

// Values that share a scale, and how much an error of each counts.
struct Run {
  const float* values = nullptr;   // (count), finite
  const float* weights = nullptr;  // (count), at least 0
  int count = 0;                   // a multiple of 4
};

// The weights used here: large values matter more, small ones are not free.
void error_weights(const float* values, int count, float* out);

// value ≈ scale · code, code in [low, high], low < 0 < high. The scale may be negative, so that the
// longer side of the codes serves the longer side of the values. 0 where all values are.
struct CodeRange {
  int low = 0;
  int high = 0;
};
float fit_scale(const Run& run, CodeRange codes);

// value ≈ scale · code − minimum, code in [0, high], scale at least 0.
struct Affine {
  float scale = 0;
  float minimum = 0;
};
enum class Minimum { kAtLeastZero, kAny };
Affine fit_affine(const Run& run, int high, Minimum allowed);

// The nearest codes, as floats, and the loss with them.
void nearest_codes(const Run& run, float scale, CodeRange codes, float* out);
void nearest_codes(const Run& run, Affine affine, int high, float* out);
float loss(const Run& run, float scale, CodeRange codes);
float loss(const Run& run, Affine affine, int high);

}  // namespace sluice::quantize
