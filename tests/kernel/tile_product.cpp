// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/tile_product.hpp"

#include "catch.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/rows.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::kernel::Part;
using heed::kernel::Write;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

template <class T>
heed::kernel::Tile<T> tile_of(heed::ScratchFrame& frame, const heed::Tensor<T, 2>& x) {
  const Index stride = heed::kernel::padded<T>(x.dimension(1));
  const heed::kernel::Tile<T> tile{frame.take<T>(x.dimension(0) * stride), stride};
  std::fill_n(tile.data, x.dimension(0) * stride, T(0));
  for (Index i = 0; i < x.size(); ++i) tile.row(i / x.dimension(1))[i % x.dimension(1)] = x.data()[i];
  return tile;
}

// One product, of `a` as it lies and transposed; elements of a beyond the part are NaN.
template <class T, Write write, Part part>
void check(Index rows, Index depth, Index columns) {
  INFO("rows " << rows << ", depth " << depth << ", columns " << columns << ", part " << int(part));
  heed::ScratchFrame frame;
  auto a = random_tensor<T, 2>({rows, depth}, 1);
  const auto b = random_tensor<T, 2>({depth, columns}, 2), start = random_tensor<T, 2>({rows, columns}, 3);
  heed::Tensor<T, 2> across(depth, rows);
  heed::Tensor<double, 2> want(rows, columns);
  for (Index i = 0; i < rows; ++i)
    for (Index c = 0; c < columns; ++c) want(i, c) = write == Write::kAdd ? double(start(i, c)) : 0;
  for (Index i = 0; i < rows; ++i)
    for (Index k = 0; k < depth; ++k) {
      const bool counts = part == Part::kAll || (part == Part::kLower ? k <= i : k >= i);
      if (!counts) a(i, k) = T(kNaN);
      across(k, i) = a(i, k);
      for (Index c = 0; c < columns && counts; ++c) want(i, c) += double(a(i, k)) * double(b(k, c));
    }
  const auto right = tile_of(frame, b);
  for (const bool transposed : {false, true}) {
    const auto out = tile_of(frame, start);
    const auto left =
        transposed ? heed::kernel::transposed(tile_of(frame, across)) : heed::kernel::Scalars<T>(tile_of(frame, a));
    heed::kernel::tile_product<write, part>(left, rows, depth, right, columns, out);
    const heed::View<T, 2> got(out.data, {rows, columns}, {out.stride, 1});
    CHECK(heed::test::error_of(got, want) < (sizeof(T) == 4 ? 1e-5 : 1e-13));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("tile_product: all of a factor, or a triangle of it", "", float, double) {
  for (const Index rows : {1, 3, 17, 64})
    for (const Index columns : {1, 3, 17, 64, 130}) {
      check<TestType, Write::kAssign, Part::kAll>(rows, 5, columns);
      check<TestType, Write::kAdd, Part::kAll>(rows, 0, columns);
      check<TestType, Write::kAdd, Part::kLower>(rows, rows, columns);
      check<TestType, Write::kAdd, Part::kUpper>(rows, rows, columns);
    }
}
