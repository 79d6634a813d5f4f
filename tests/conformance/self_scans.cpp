// SPDX-License-Identifier: Apache-2.0
// Adapters for the scans, gates and landmarks of mechanisms/self.md.
#include "heed/self/elementwise_gated_attention.hpp"
#include "heed/self/gaussian_adaptive_attention.hpp"
#include "heed/self/importance_factor.hpp"
#include "heed/self/landmark_attention.hpp"
#include "heed/self/landmark_retrieval_attention.hpp"
#include "heed/self/single_head_self_attention.hpp"
#include "heed/self/taylor_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <template <class> class Op>
void add_scan(Registry& add, const char* name) {
  add(name, []<class C>(C& c) {
    Op<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .causal = !c.has_attr("causal") || c.flag("causal")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

template <int R, class C>
void run_gaussian_attention(C& c) {
  heed::GaussianAdaptiveAttention<Scalar<C>> op{{.axis = int(c.integer("axis")),
                                                 .num_heads = c.integer("num_heads"),
                                                 .padding_value = c.number_or_null("padding_value"),
                                                 .eps = c.number_or_null("eps").value_or(1e-8)}};
  c.parameters(op);
  const auto result = op(c.in(rank<R>, "x"));
  c.out("out", result.out);
  c.out("weights", result.weights);
}

template <int R, class C>
void run_gaussian_block(C& c) {
  heed::GaussianAdaptiveBlock<Scalar<C>> op;
  const auto axes = c.integers("axes"), heads = c.integers("num_heads");
  for (std::size_t l = 0; l < axes.size(); ++l)
    op.layer.push_back({{.axis = int(axes[l]),
                         .num_heads = heads[l],
                         .padding_value = c.number_or_null("padding_value"),
                         .eps = c.number_or_null("eps").value_or(1e-8)}});
  c.parameters(op);
  c.out("out", op(c.in(rank<R>, "x")));
}

// f(rank<R>) for the rank R of an input.
template <class C, class F>
void of_rank(C& c, std::string_view name, const F& f) {
  switch (c.shape(name).size()) {
    case 1:
      return f(rank<1>);
    case 2:
      return f(rank<2>);
    case 3:
      return f(rank<3>);
    case 4:
      return f(rank<4>);
    case 5:
      return f(rank<5>);
    default:
      throw std::invalid_argument("an input of more axes than 5");
  }
}

void add_gaussian(Registry& add) {
  add("gaussian_adaptive_attention", []<class C>(C& c) {
    of_rank(c, "x", [&]<int R>(RankTag<R>) {
      if constexpr (R > 1) run_gaussian_attention<R>(c);
    });
  });
  add("gaussian_adaptive_block", []<class C>(C& c) {
    of_rank(c, "x", [&]<int R>(RankTag<R>) {
      if constexpr (R > 1) run_gaussian_block<R>(c);
    });
  });
  add("importance_factor", []<class C>(C& c) {
    of_rank(c, "x", [&]<int R>(RankTag<R>) {
      if (!c.has_attr("average") || !c.flag("average")) {
        c.out("importance", heed::importance_factor(c.in(rank<R>, "x")));
      } else if constexpr (R > 1) {
        c.out("importance", heed::importance_factor<true>(c.in(rank<R>, "x")));
      }
    });
  });
}

void add_landmark_attention(Registry& add) {
  add("landmark_attention", []<class C>(C& c) {
    const heed::LandmarkAttention op{{.scale = c.number_or_null("scale")}};
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), c.mask(rank<2>, "is_landmark")));
  });
}

heed::BlockSelection block_selection(const std::string& name) {
  if (name == "per_token_and_head") return heed::BlockSelection::kPerTokenAndHead;
  if (name == "max_over_heads") return heed::BlockSelection::kMaxOverHeads;
  if (name == "max_over_tokens") return heed::BlockSelection::kMaxOverTokens;
  throw std::invalid_argument("no selection of blocks has the name " + name);
}

void add_landmark_retrieval_attention(Registry& add) {
  add("landmark_retrieval_attention", []<class C>(C& c) {
    heed::LandmarkRetrievalAttention op;
    if (c.has_attr("top_k")) op.options.top_k = c.integer("top_k");
    if (c.has_attr("selection")) op.options.selection = block_selection(c.text("selection"));
    if (c.has_attr("rope_base")) op.options.rope_base = c.number("rope_base");
    c.out("out", op(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), c.mask(rank<2>, "is_landmark"),
                    c.in(rank<5>, "block_k"), c.in(rank<5>, "block_v")));
  });
}

void add_single_head_self_attention(Registry& add) {
  add("single_head_self_attention", []<class C>(C& c) {
    heed::SingleHeadSelfAttention<Scalar<C>> op{
        {.partial_dim = c.integer("partial_dim"), .qk_dim = c.integer_or_null("qk_dim").value_or(16)}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "x")));
  });
}

void add_self_scans(Registry& add) {
  add_scan<heed::ElementwiseGatedAttention>(add, "elementwise_gated_attention");
  add_scan<heed::TaylorAttention>(add, "taylor_attention");
  add_gaussian(add);
  add_landmark_attention(add);
  add_single_head_self_attention(add);
  add_landmark_retrieval_attention(add);
}

const Adapters kSelfScans{add_self_scans};

}  // namespace

}  // namespace conformance
