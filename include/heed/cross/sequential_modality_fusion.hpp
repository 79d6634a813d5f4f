// SPDX-License-Identifier: Apache-2.0
// sequential_modality_fusion: a state that visits one encoder per modality.
#pragma once

#include <string>
#include <vector>

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// s_0 = init_state and s_{e+1} = encoder e of (x_e, s_e), or s_e where modality e is missing; predictions[t, d] =
/// sigmoid(decoder_d(s_t)). No attention: a recurrence over modalities. An encoder is layers with a ReLU, of which the
/// last takes [z, s_e] and has none.
///
///   heed::SequentialModalityFusion<float> fuse({.hidden = {{32}, {}}, .num_decoders = 2});
///   auto [states, predictions] = fuse(std::vector{x0, x1});  // or fuse(device, xs, {.present = present})
///
/// x_e (B, F_e); init_state (1, S); encoder{e}.fc{l} of widths F_e, hidden[e].., S, the last with S more inputs;
/// decoder{d} S to n_classes, the same for all. states (E + 1, B, S), predictions (E + 1, D, B, n_classes). A missing
/// modality is not read, NaN included. Throws heed::Error for shapes and options that do not fit. Time of the layers.
/// Source: Swamy et al. 2023 (MultiModN); there a batch with a NaN counts as missing, here the caller says so.
template <Real T>
struct SequentialModalityFusion {
  struct Options {
    std::vector<std::vector<Index>> hidden = {};  ///< hidden widths of each encoder
    Index num_decoders = 1;
  };
  struct Inputs {
    std::vector<bool> present = {};  ///< empty: all
  };
  template <class States, class Predictions>
  struct Result {
    States states;
    Predictions predictions;
  };
  struct Encoder {
    std::vector<Linear<T>> fc;

    template <class F>
    void for_each_parameter(F&& f) {
      for (std::size_t l = 0; l < fc.size(); ++l) visit_part("fc" + std::to_string(l + 1) + ".", fc[l], f);
    }
  };

  Options options;
  Tensor<T, 2> init_state = {};
  std::vector<Encoder> encoder;
  std::vector<Linear<T>> decoder;

  explicit SequentialModalityFusion(const Options& o = {}) : options(o), encoder(o.hidden.size()) {
    require(o.num_decoders > 0, kName, "num_decoders must be 1 or more, got ", o.num_decoders);
    decoder.resize(std::size_t(o.num_decoders));
    for (std::size_t e = 0; e < encoder.size(); ++e) encoder[e].fc.resize(o.hidden[e].size() + 1);
  }

  template <class F>
  void for_each_parameter(F&& f) {
    f("init_state", init_state);
    for (std::size_t e = 0; e < encoder.size(); ++e) visit_part("encoder" + std::to_string(e) + ".", encoder[e], f);
    for (std::size_t d = 0; d < decoder.size(); ++d) visit_part("decoder" + std::to_string(d) + ".", decoder[d], f);
  }

  template <Operand X>
  auto operator()(const std::vector<X>& x, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), x, inputs);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const std::vector<X>& x, const Inputs& inputs = {}) const {
    static_assert(kOperandRank<X> == 2, "heed::SequentialModalityFusion: each input is (B, F)");
    const Index steps = Index(encoder.size()) + 1, heads = Index(decoder.size());
    check(x, inputs);
    const Index batch = sizes_of(x[0])[0], width = init_state.dimension(1), classes = decoder[0].weight.dimension(0);
    auto states = make_output<T, 3>(kName, {steps, batch, width}, x[0]);
    auto scores = make_output<T, 4>(kName, {steps, heads, batch, classes}, x[0]);
    const auto first = parameter_with(init_state, x[0]);
    for (Index t = 0; t < steps; ++t) {
      const auto state = view(states).slice(0, t, 1);
      if (t == 0) {
        for (Index b = 0; b < batch; ++b) concat_into<1>(device, state.slice(1, b, 1), view(first).split(0, 1));
      } else {
        const auto last = view(states).slice(0, t - 1, 1);
        const auto e = std::size_t(t - 1);
        if (inputs.present.empty() || inputs.present[e])
          encode(device, encoder[e], x[e], last.merge(0), state.merge(0));
        else
          concat_into<1>(device, state, last);
      }
      for (Index d = 0; d < heads; ++d)
        decoder[std::size_t(d)](device, state.merge(0), view(scores).select(0, t).select(0, d));
    }
    auto predictions = sigmoid(device, scores);
    return Result<decltype(states), decltype(predictions)>{std::move(states), std::move(predictions)};
  }

 private:
  static constexpr std::string_view kName = "sequential_modality_fusion";

  template <class D, class X, class S, class O>
  static void encode(const D& device, const Encoder& by, const X& x, const S& state, const O& out) {
    auto features = contiguous(device, x);
    for (std::size_t l = 0; l + 1 < by.fc.size(); ++l) features = relu(device, by.fc[l](device, features));
    by.fc.back()(device, concat<1>(device, features, state), out);
  }

  template <class X>
  void check(const std::vector<X>& x, const Inputs& inputs) const {
    require(!x.empty() && x.size() == encoder.size(), kName, "needs one input for each of ", encoder.size(),
            " encoders, got ", x.size());
    require(inputs.present.empty() || inputs.present.size() == x.size(), kName, "present must have ", x.size(),
            " entries, got ", inputs.present.size());
    const Index width = init_state.dimension(1);
    require(init_state.dimension(0) == 1 && width > 0, kName, "init_state must have shape (1, S), got ",
            shape_text(const_view(init_state).sizes));
    for (std::size_t e = 0; e < x.size(); ++e) {
      const std::string prefix = "encoder" + std::to_string(e) + ".fc";
      require(sizes_of(x[e])[0] == sizes_of(x[0])[0], kName, "all inputs must have one batch size, got ",
              sizes_of(x[0])[0], " and ", sizes_of(x[e])[0]);
      Index in = sizes_of(x[e])[1];
      for (std::size_t l = 0; l < encoder[e].fc.size(); ++l) {
        const bool last = l + 1 == encoder[e].fc.size();
        const Index out = last ? width : options.hidden[e][l];
        check_linear(kName, prefix + std::to_string(l + 1), encoder[e].fc[l], last ? in + width : in, out);
        in = out;
      }
    }
    for (std::size_t d = 0; d < decoder.size(); ++d)
      check_linear(kName, "decoder" + std::to_string(d), decoder[d], width, decoder[0].weight.dimension(0));
  }
};

}  // namespace heed::inline HEED_ISA
