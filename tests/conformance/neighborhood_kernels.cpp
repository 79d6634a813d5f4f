// SPDX-License-Identifier: Apache-2.0
// Adapters for the large kernels of mechanisms/local_linear.md.
#include "heed/neighborhood/boundary_guided_fusion.hpp"
#include "heed/neighborhood/dlkppm.hpp"
#include "heed/neighborhood/pag_fusion.hpp"
#include "heed/neighborhood/visual_attention_block.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <class C, class Unit>
void read_unit(const C& c, Unit& unit) {
  unit.options.dilation = c.integer_or_null("dilation").value_or(3);
  if constexpr (requires { unit.options.mode; }) {
    using Mode = typename Unit::Mode;
    const std::map<std::string, Mode> modes{{"both", Mode::kBoth}, {"h", Mode::kHorizontal}, {"v", Mode::kVertical}};
    if (c.has_attr("mode")) unit.options.mode = modes.at(c.text("mode"));
  }
}

template <class C, class Op>
void run_map(C& c, Op& op) {
  c.parameters(op);
  c.out("out", op(c.in(rank<4>, "x")));
}

// f(unit) for the unit that an attribute names.
template <class C, class F>
void with_unit(const C& c, const F& f) {
  using T = Scalar<C>;
  const std::string unit = c.text("unit");
  const auto run = [&]<class Unit>(Unit one) {
    read_unit(c, one);
    f(one);
  };
  if (unit == "lka") return run(heed::LargeKernelAttention<T>());
  if (unit == "lska") return run(heed::LargeSeparableKernelAttention<T>());
  if (unit == "sdlska") return run(heed::Sdlska<T>());
  throw std::invalid_argument("no unit has the name " + unit);
}

void add_units(Registry& add) {
  add("large_kernel_attention", []<class C>(C& c) {
    heed::LargeKernelAttention<Scalar<C>> op;
    read_unit(c, op);
    run_map(c, op);
  });
  add("large_separable_kernel_attention", []<class C>(C& c) {
    heed::LargeSeparableKernelAttention<Scalar<C>> op;
    read_unit(c, op);
    run_map(c, op);
  });
  add("sdlska", []<class C>(C& c) {
    heed::Sdlska<Scalar<C>> op;
    read_unit(c, op);
    run_map(c, op);
  });
  add("comprehensive_kernel_selection", []<class C>(C& c) {
    heed::ComprehensiveKernelSelection<Scalar<C>> op;
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "small"), c.in(rank<4>, "horizontal"), c.in(rank<4>, "vertical")));
  });
}

void add_blocks(Registry& add) {
  add("visual_attention", []<class C>(C& c) {
    with_unit(c, [&]<class Unit>(const Unit& unit) {
      heed::VisualAttention<Scalar<C>, Unit> op{.unit = unit};
      run_map(c, op);
    });
  });
  add("visual_attention_block", []<class C>(C& c) {
    with_unit(c, [&]<class Unit>(const Unit& unit) {
      heed::VisualAttentionBlock<Scalar<C>, Unit> op{.attn = {.unit = unit}};
      run_map(c, op);
    });
  });
}

void add_fusions(Registry& add) {
  add("dlkppm", []<class C>(C& c) {
    heed::Dlkppm<Scalar<C>> op;
    run_map(c, op);
  });
  add("boundary_guided_fusion", []<class C>(C& c) {
    heed::BoundaryGuidedFusion<Scalar<C>> op;
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "p"), c.in(rank<4>, "i"), c.in(rank<4>, "d")));
  });
  add("pag_fusion", []<class C>(C& c) {
    heed::PagFusion<Scalar<C>> op{{.after_relu = c.has_attr("after_relu") && c.flag("after_relu"),
                                   .with_channel = c.has_attr("with_channel") && c.flag("with_channel")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x"), c.in(rank<4>, "y")));
  });
}

void add_neighborhood_kernels(Registry& add) {
  add_units(add);
  add_blocks(add);
  add_fusions(add);
}

const Adapters kNeighborhoodKernels{add_neighborhood_kernels};

}  // namespace

}  // namespace conformance
