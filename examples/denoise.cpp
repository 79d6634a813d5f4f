// SPDX-License-Identifier: Apache-2.0
// Denoises a photograph with attention. Every pixel becomes a mean of the pixels around it, weighted by how much the
// patches about them look alike: non-local means (Buades, Coll and Morel 2005), which is softmax attention with
//   queries and keys   the 3 x 3 patches of the noisy image, one per pixel
//   values             its pixels (RGB, so Dv = 3)
//   score              minus the squared distance of two patches, PatchSimilarity below
//   visibility         the 21 x 21 pixels around the query
//
//   denoise [input.png|jpg] [output.png]
//
// Adds noise to the input, removes it, prints how well and how fast, and writes noisy, denoised and clean side by side.
// ctest:
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <thread>
#include <vector>

#include "heed/heed.hpp"
#include "image.hpp"

using heed::Index;

constexpr float kSigma = 25.f / 255.f;       // standard deviation of the noise
constexpr Index kPatch = 3, kRadius = 10;    // side of a patch, half a window
constexpr float kBandwidth = 0.7f * kSigma;  // h: how fast weights fall with the distance, per component of a patch

/// -max(|p_i - p_j|^2 - noise, 0) / h^2, where |a - b|^2 = |a|^2 + |b|^2 - 2 a.b and the engine brings a.b. The softmax
/// makes it a Gaussian weight, 1 for patches that differ by no more than the noise would make them.
struct PatchSimilarity {
  static constexpr bool kMayHide = false;  // never -infinity: spares the engine a look at the values
  heed::View<const float, 1> squared_norm;
  float noise, h_squared;

  template <class Batch>
  Batch operator()(Batch dot, const auto& at) const {
    const Batch distance = at.of_query(squared_norm) + at.of_key(squared_norm) - 2.f * dot;
    return heed::simd::max(distance - noise, Batch(0.f)) * (-1.f / h_squared);
  }
};

/// The patch around every pixel, (height * width, kPatch * kPatch * 3); the image's border repeats outwards.
heed::Tensor<float, 2> patches(const Eigen::ThreadPoolDevice& device, const Image& image) {
  const Index height = image.dimension(0), width = image.dimension(1), half = kPatch / 2;
  heed::Tensor<float, 2> result(height * width, kPatch * kPatch * 3);
  heed::parallel_for(device, height, [&](Index y) {
    float* to = &result(y * width, 0);
    for (Index x = 0; x < width; ++x)
      for (Index dy = -half; dy <= half; ++dy)
        for (Index dx = -half; dx <= half; ++dx)
          for (Index c = 0; c < 3; ++c)
            *to++ = image(std::clamp<Index>(y + dy, 0, height - 1), std::clamp<Index>(x + dx, 0, width - 1), c);
  });
  return result;
}

Image denoise(const Eigen::ThreadPoolDevice& device, const Image& noisy) {
  const Index height = noisy.dimension(0), width = noisy.dimension(1), pixels = height * width;
  const heed::Tensor<float, 2> p = patches(device, noisy);
  heed::Tensor<float, 1> squared_norm(pixels);
  squared_norm.device(device) = p.square().sum(Eigen::array<Index, 1>{1});

  const float components = float(p.dimension(1));
  const PatchSimilarity similarity{squared_norm, 2 * kSigma * kSigma * components,
                                   kBandwidth * kBandwidth * components};
  const auto attend =
      heed::softmax_attention(similarity, heed::window_2d(height, width, kRadius, kRadius), {.scale = 1.0});

  Image result(height, width, 3);
  attend(device, p, p, heed::View<const float, 2>(noisy.data(), {pixels, 3}),
         heed::into(heed::View<float, 2>(result.data(), {pixels, 3})));
  return result;
}

/// Peak signal-to-noise ratio in dB.
double psnr(const Image& image, const Image& clean) {
  const heed::Tensor<float, 0> mean_square = (image - clean).square().mean();
  return -10 * std::log10(double(mean_square()));
}

int main(int argc, char** argv) {
  const char* input = argc > 1 ? argv[1] : HEED_EXAMPLES_DIR "/data/astronaut.png";
  const char* output = argc > 2 ? argv[2] : "denoised.png";
  Image clean;
  if (!read_image(input, clean)) return 2;
  const int height = int(clean.dimension(0)), width = int(clean.dimension(1));

  std::mt19937 generator(1);
  std::normal_distribution<float> noise(0.f, kSigma);
  Image noisy(height, width, 3);
  std::transform(clean.data(), clean.data() + clean.size(), noisy.data(),
                 [&](float x) { return x + noise(generator); });

  const int threads = std::max(1, int(std::thread::hardware_concurrency()));
  Eigen::ThreadPool pool(threads);
  const Eigen::ThreadPoolDevice device(&pool, threads);
  const auto start = std::chrono::steady_clock::now();
  const Image denoised = denoise(device, noisy);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  const double before = psnr(noisy, clean), after = psnr(denoised, clean), megapixels = 1e-6 * width * height;
  std::printf("%s: %d x %d pixels\n", input, width, height);
  std::printf("PSNR %.2f dB noisy, %.2f dB denoised\n", before, after);
  std::printf("%.2f s, %.2f megapixels/s, %d threads\n", seconds, megapixels / seconds, threads);
  if (!write_side_by_side(output, {&noisy, &denoised, &clean}))
    return std::fprintf(stderr, "%s: cannot be written\n", output), 2;
  std::printf("%s: noisy, denoised and clean\n", output);
  return argc > 1 || after - before > 10 ? 0 : 1;  // the photograph that comes with heed gains 10.5 dB
}
