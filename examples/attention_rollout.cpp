// SPDX-License-Identifier: Apache-2.0
// Where does what a token knows come from? Attention rollout (Abnar and Zuidema 2020) through a small vision
// transformer on a photograph, before and after attention is taken from sink tokens (Kang et al. 2025).
//   tokens   the 16 x 16 patches, as their colour, low cosine frequencies and position
//   layers   4 of 4 heads, whose queries and keys are random projections of the tokens
//   sinks    the 8 flattest patches, whose keys are planted so that all queries see them, as happens in trained models
// Nothing here is trained. The picture shows how rollout multiplies maps and what sinks do to it; that patches of one
// surface find each other comes from the features, and no object is recognised.
//
//   attention_rollout [input.png|jpg] [output.png] [x y]
//
// Writes the photograph, the rollout of the patch at pixel (x, y), and the rollout after the redistribution.
// ctest:
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numbers>
#include <random>
#include <thread>
#include <vector>

#include "heed/heed.hpp"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include "stb_image.h"
#include "stb_image_write.h"

using heed::Index;
using heed::Tensor;
using heed::View;
using Image = Tensor<float, 3>;  // (height, width, RGB), black 0, white 1

constexpr Index kPatch = 16, kFrequencies = 4, kLayers = 4, kHeads = 4, kWidth = 16, kSinks = 8;
constexpr Index kChannels = 3 * kFrequencies * kFrequencies + 3;  // cosine coefficients, position, mark of a sink
constexpr float kPosition = 0.5f, kSink = 60.f;
constexpr double kSharpness = 10;  // scale of the cosines of queries and keys
constexpr float kPull = 2.f;       // what a sink has on top of its cosine

/// The patches of the image as tokens (N, C), every channel of variance 1; the flattest ones are marked as sinks.
Tensor<float, 2> tokens(const Image& image) {
  const Index rows = image.dimension(0) / kPatch, columns = image.dimension(1) / kPatch, count = rows * columns;
  Tensor<float, 2> x(count, kChannels);
  x.setZero();
  for (Index n = 0; n < count; ++n) {
    for (Index u = 0; u < kFrequencies; ++u)
      for (Index v = 0; v < kFrequencies; ++v)
        for (Index i = 0; i < kPatch * kPatch; ++i) {
          const Index y = n / columns * kPatch + i / kPatch, z = n % columns * kPatch + i % kPatch;
          const double row = std::cos(std::numbers::pi * (double(i / kPatch) + 0.5) * double(u) / double(kPatch));
          const double column = std::cos(std::numbers::pi * (double(i % kPatch) + 0.5) * double(v) / double(kPatch));
          for (Index c = 0; c < 3; ++c) x(n, 3 * (u * kFrequencies + v) + c) += float(row * column) * image(y, z, c);
        }
    x(n, kChannels - 3) = float(n / columns);
    x(n, kChannels - 2) = float(n % columns);
  }
  Tensor<float, 1> flatness(count);
  for (Index n = 0; n < count; ++n) {
    flatness(n) = 0;
    for (Index c = 3; c < kChannels - 3; ++c) flatness(n) -= x(n, c) * x(n, c);
  }
  for (Index c = 0; c < kChannels - 1; ++c) {
    float mean = 0, square = 0;
    for (Index n = 0; n < count; ++n) mean += x(n, c) / float(count);
    for (Index n = 0; n < count; ++n) square += (x(n, c) - mean) * (x(n, c) - mean) / float(count);
    // Colours weigh as much as all the other coefficients together.
    const float weight = c < 3 ? 1.f : c < kChannels - 3 ? 0.25f : kPosition;
    for (Index n = 0; n < count; ++n) x(n, c) = weight * (x(n, c) - mean) / std::sqrt(square + 1e-9f);
  }
  const auto sinks = heed::top_k(flatness, kSinks);
  for (Index i = 0; i < kSinks; ++i) x(sinks.indices(i), kChannels - 1) = kSink;
  return x;
}

/// The attention weights of all layers, (L, H, N, N); a token moves half-way to what it attends to.
Tensor<float, 4> forward(const Eigen::ThreadPoolDevice& device, Tensor<float, 2> x, bool redistribute) {
  const Index count = x.dimension(0);
  const heed::VisualAttentionRedistribution edit{
      {.tau = 5, .rho = 1, .summ = 0, .p = 0.1, .image_len = count, .sink_dims = {kChannels - 1}, .prefill = false}};
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  Tensor<float, 4> all(kLayers, kHeads, count, count);
  for (Index l = 0; l < kLayers; ++l) {
    Tensor<float, 3> projection(kHeads, kChannels - 1, kWidth);
    std::generate_n(projection.data(), projection.size(), [&] { return normal(generator); });
    const View<const float, 3> patches = heed::const_view(x).promote<3>().slice(2, 0, kChannels - 1);
    const auto directions = heed::l2_normalize(device, heed::matmul(device, patches, projection));  // (H, N, D)
    // One more channel, which is 1 in every query: what it holds in a key is added to the key's scores.
    Tensor<float, 3> pull(kHeads, count, 1), ones(kHeads, count, 1);
    ones.setConstant(1.f);
    for (Index i = 0; i < pull.size(); ++i) pull.data()[i] = x(i % count, kChannels - 1) / kSink * kPull;
    const auto q = heed::concat<2>(device, directions, ones), k = heed::concat<2>(device, directions, pull);
    auto weights = heed::attention_weights(device, heed::softmax_attention({.scale = kSharpness}),
                                           heed::const_view(q).promote<4>(), heed::const_view(k).promote<4>());
    if (redistribute) weights = edit(device, weights, heed::const_view(x).promote<3>()).out;
    all.chip(l, 0) = weights.chip(0, 0);
    const auto map = heed::copy_as<2>(device, heed::mean(device, weights, {1}), {count, count});
    const View<float, 2> part = heed::view(x).slice(1, 0, kChannels - 1);
    const auto seen = heed::matmul(device, map, part);
    heed::blend(device, Tensor<float, 2>(1, 1).setConstant(0.5f), part, seen, part);
  }
  return all;
}

/// The photograph in grey under the map, which is white at its 99th percentile.
Image overlay(const Image& image, const View<const float, 1>& map) {
  const Index columns = image.dimension(1) / kPatch;
  std::vector<float> sorted;
  for (Index n = 0; n < map.size(0); ++n) sorted.push_back(map(n));
  std::sort(sorted.begin(), sorted.end());
  const float most = sorted[sorted.size() * 99 / 100];
  Image result(image.dimension(0), image.dimension(1), 3);
  for (Index y = 0; y < image.dimension(0); ++y)
    for (Index x = 0; x < image.dimension(1); ++x) {
      const Index n = std::min(y / kPatch, map.size(0) / columns - 1) * columns + std::min(x / kPatch, columns - 1);
      const float heat = std::clamp(map(n) / most, 0.f, 1.f);
      const float grey = (image(y, x, 0) + image(y, x, 1) + image(y, x, 2)) / 3 * 0.45f;
      for (Index c = 0; c < 3; ++c)
        result(y, x, c) = grey * (1 - heat) + heat * std::clamp(3 * heat - float(c), 0.f, 1.f);
    }
  return result;
}

bool write_side_by_side(const char* path, std::initializer_list<const Image*> images) {
  const auto& size = (*images.begin())->dimensions();
  std::vector<unsigned char> bytes;
  for (Index y = 0; y < size[0]; ++y)
    for (const Image* image : images)
      for (Index i = 0; i < size[1] * 3; ++i)
        bytes.push_back(static_cast<unsigned char>(255.f * std::clamp((*image)(y, i / 3, i % 3), 0.f, 1.f) + 0.5f));
  return stbi_write_png(path, int(images.size()) * int(size[1]), int(size[0]), 3, bytes.data(), 0) != 0;
}

int main(int argc, char** argv) {
  const char* input = argc > 1 ? argv[1] : HEED_EXAMPLES_DIR "/data/astronaut.png";
  const char* output = argc > 2 ? argv[2] : "attention_rollout.png";
  int width = 0, height = 0;
  unsigned char* bytes = stbi_load(input, &width, &height, nullptr, 3);
  if (!bytes) return std::fprintf(stderr, "%s: %s\n", input, stbi_failure_reason()), 2;
  Image image(height, width, 3);
  std::transform(bytes, bytes + image.size(), image.data(), [](unsigned char x) { return float(x) / 255.f; });
  stbi_image_free(bytes);
  const Index columns = width / kPatch, rows = height / kPatch;
  const Index at_x = argc > 4 ? std::atol(argv[3]) : 90, at_y = argc > 4 ? std::atol(argv[4]) : 320;
  if (at_x / kPatch >= columns || at_y / kPatch >= rows || at_x < 0 || at_y < 0 || rows * columns < kSinks)
    return std::fprintf(stderr, "(%ld, %ld) is not in a patch of the image\n", long(at_x), long(at_y)), 2;

  const int threads = std::max(1, int(std::thread::hardware_concurrency()));
  Eigen::ThreadPool pool(threads);
  const Eigen::ThreadPoolDevice device(&pool, threads);
  const Tensor<float, 2> x = tokens(image);
  Image pictures[2];
  double share[2] = {0, 0};
  for (const bool redistribute : {false, true}) {
    const Tensor<float, 3> rollout = heed::AttentionRollout()(device, forward(device, x, redistribute));
    const auto map =
        heed::const_view(rollout).select(0, kLayers - 1).select(0, at_y / kPatch * columns + at_x / kPatch);
    for (Index n = 0; n < map.size(0); ++n)
      if (x(n, kChannels - 1) > 0) share[redistribute] += double(map(n));
    pictures[redistribute] = overlay(image, map);
  }
  std::printf("%s: %ld patches, %ld of them sinks\n", input, long(rows * columns), long(kSinks));
  std::printf("sinks hold %.1f %% of the rollout of the patch at (%ld, %ld), after the redistribution %.1f %%\n",
              100 * share[0], long(at_x), long(at_y), 100 * share[1]);
  if (!write_side_by_side(output, {&image, &pictures[0], &pictures[1]}))
    return std::fprintf(stderr, "%s: cannot be written\n", output), 2;
  std::printf("%s: photograph, rollout, and rollout without what the sinks took\n", output);
  return argc > 1 || share[1] < 0.5 * share[0] ? 0 : 1;
}
