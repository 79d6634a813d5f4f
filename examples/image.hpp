// SPDX-License-Identifier: Apache-2.0
// Photographs as tensors, for one source file of a program.
#pragma once

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <vector>

#include "heed/core/tensor.hpp"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include "stb_image.h"
#include "stb_image_write.h"

using Image = heed::Tensor<float, 3>;  // (height, width, RGB), black 0, white 1

/// False, with a line on stderr, if the file cannot be read.
inline bool read_image(const char* path, Image& image) {
  int width = 0, height = 0;
  unsigned char* const bytes = stbi_load(path, &width, &height, nullptr, 3);
  if (!bytes) return std::fprintf(stderr, "%s: %s\n", path, stbi_failure_reason()), false;
  image.resize(height, width, 3);
  std::transform(bytes, bytes + image.size(), image.data(), [](unsigned char x) { return float(x) / 255.f; });
  stbi_image_free(bytes);
  return true;
}

inline bool write_side_by_side(const char* path, std::initializer_list<const Image*> images) {
  const auto& size = (*images.begin())->dimensions();
  std::vector<unsigned char> bytes;
  for (heed::Index y = 0; y < size[0]; ++y)
    for (const Image* image : images)
      for (heed::Index i = 0; i < size[1] * 3; ++i)
        bytes.push_back(static_cast<unsigned char>(255.f * std::clamp((*image)(y, i / 3, i % 3), 0.f, 1.f) + 0.5f));
  return stbi_write_png(path, int(images.size()) * int(size[1]), int(size[0]), 3, bytes.data(), 0) != 0;
}
