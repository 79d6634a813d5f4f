// SPDX-License-Identifier: Apache-2.0
// Trains a small GPT on the four Gospels, character by character, and lets it write: token and position embedding, then
// blocks of causal attention with rotary codes and of a gated MLP, each behind a norm, cross entropy, AdamW. The model
// is written once, in Gpt::logits. Given a tape it records, and the tape brings all gradients; given none it computes:
// for the loss of held-out text, and for writing, one token at a time through a cache of keys and values.
//
//   train_char_gpt [steps] [curve.svg]
//
// Ends with 0 if the loss fell (to less than 1.9 nats per character of held-out text, in a run of all steps) and if the
// cache wrote the same text, token for token, as the whole text read anew for every token.
// ctest: 12 short_curve.svg
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <numbers>
#include <random>
#include <set>
#include <thread>

#include "adamw.hpp"
#include "curve.hpp"
#include "heed/heed.hpp"

using heed::Index;
using Device = Eigen::ThreadPoolDevice;
using Tokens = heed::Tensor<std::int32_t, 2>;     // (B, N)
using Positions = heed::Tensor<std::int32_t, 1>;  // (N)

constexpr Index kBatch = 8, kContext = 256, kLayers = 4, kHeads = 4, kWidth = 32, kChannels = kHeads * kWidth;
constexpr Index kHidden = 3 * kChannels, kSteps = 600;

/// One of the blocks: attention, then the gated MLP.
struct Block {
  heed::RmsNorm<float> attention_norm, mlp_norm;
  heed::Linear<float> qkv, out, gate, up, down;

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "attention_norm.", attention_norm, "qkv.", qkv, "out.", out, "mlp_norm.", mlp_norm, "gate.", gate);
    visit_parts(f, "up.", up, "down.", down);
  }
};

struct Gpt {
  heed::Embedding<float> tokens, places;
  std::vector<Block> blocks;
  heed::RmsNorm<float> norm;
  heed::Linear<float> head;

  Gpt(Index vocabulary, std::mt19937& random) : blocks(kLayers) {
    tokens.weight.resize(vocabulary, kChannels);
    places.weight.resize(kContext, kChannels);
    for (Block& block : blocks) {
      block.attention_norm.weight.resize(kChannels);
      block.qkv.weight.resize(3 * kChannels, kChannels);
      block.out.weight.resize(kChannels, kChannels);
      block.mlp_norm.weight.resize(kChannels);
      block.gate.weight.resize(kHidden, kChannels);
      block.up.weight.resize(kHidden, kChannels);
      block.down.weight.resize(kChannels, kHidden);
    }
    norm.weight.resize(kChannels);
    head.weight.resize(vocabulary, kChannels);
    std::normal_distribution<float> normal(0, 0.02f);
    heed::for_each_parameter(*this, [&](std::string_view, auto& weight) {
      std::generate_n(weight.data(), weight.size(), [&] { return weight.NumDimensions == 1 ? 1.f : normal(random); });
    });
  }

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "tokens.", tokens, "places.", places);
    for (std::size_t i = 0; i < blocks.size(); ++i) heed::visit_part(std::to_string(i) + ".", blocks[i], f);
    visit_parts(f, "norm.", norm, "head.", head);
  }

  /// Logits (B, N, V), recorded if there is a tape. attend(layer, q, k, v) mixes q, k and v of shape (B, H, N, D).
  template <class Attend, class... Tape>
  auto logits(const Device& device, const Tokens& text, const Positions& at, Attend&& attend, Tape&... tape) const {
    const heed::RotaryPositionEmbedding rope;
    auto x = heed::add(device, tokens(tape..., device, text), places(tape..., device, at));
    for (std::size_t layer = 0; layer < blocks.size(); ++layer) {
      const Block& block = blocks[layer];
      const auto qkv = block.qkv(device, block.attention_norm(device, x));
      const auto part = [&](int i) {  // (B, N, 3 H D) to (B, H, N, D), in place
        return heed::view(qkv).split(2, kWidth).split(2, kHeads).select(2, i).permute({0, 2, 1, 3});
      };
      const auto mixed = attend(layer, rope(device, part(0), at), rope(device, part(1), at), part(2));
      const auto rows = heed::contiguous(device, heed::view(mixed).permute({0, 2, 1, 3}));
      x = heed::add(device, x, block.out(device, heed::view(rows).merge(2)));
      const auto y = block.mlp_norm(device, x);
      x = heed::add(
          device, x,
          block.down(device, heed::multiply(device, heed::silu(device, block.gate(device, y)), block.up(device, y))));
    }
    return head(device, norm(device, x));
  }
};

Positions positions(Index first, Index count) {
  Positions at(count);
  for (Index i = 0; i < count; ++i) at(i) = std::int32_t(first + i);
  return at;
}

/// kContext characters, the first of which are `text`, drawn with a temperature of 0.8. With a cache each token is read
/// once, without one the whole text is read anew for every token.
std::vector<std::int32_t> write(const Device& device, const Gpt& gpt, std::vector<std::int32_t> text, bool cached) {
  std::mt19937 random(7);
  std::vector<heed::ContiguousCache<float>> caches(kLayers, {1, kHeads, kContext, kWidth, kWidth});
  const auto attend = [&](std::size_t layer, const auto& q, const auto& k, const auto& v) {
    if (cached) return heed::KvCacheAttention()(device, q, k, v, caches[layer]);
    return heed::softmax_attention(heed::causal())(device, q, k, v);
  };
  for (Index read = 0; Index(text.size()) < kContext; read = cached ? Index(text.size()) - 1 : 0) {
    const Index count = Index(text.size()) - read;
    const Tokens fresh = Eigen::TensorMap<const Tokens>(text.data() + read, 1, count);
    const auto logits = gpt.logits(device, fresh, positions(read, count), attend);
    const auto p = heed::softmax(scale(heed::view(logits).select(1, count - 1).select(0, 0), 1 / 0.8));
    double rest = double(random()) / double(std::mt19937::max());
    std::int32_t next = 0;
    while (next + 1 < p.size() && (rest -= double(p(next))) > 0) ++next;
    text.push_back(next);
  }
  return text;
}

int main(int argc, char** argv) {
  const Index steps = argc > 1 ? std::atoi(argv[1]) : kSteps;
  const char* curve = argc > 2 ? argv[2] : "train_char_gpt.svg";
  std::ifstream file(HEED_EXAMPLES_DIR "/data/gospels.txt");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.empty()) return std::fprintf(stderr, "data/gospels.txt cannot be read\n"), 2;
  const std::set<char> used(text.begin(), text.end());
  const std::string characters(used.begin(), used.end());
  std::vector<std::int32_t> data;
  for (const char c : text) data.push_back(std::int32_t(characters.find(c)));
  const std::size_t held_out = data.size() / 20;  // the end of John

  const int threads = std::max(1, int(std::thread::hardware_concurrency()));
  Eigen::ThreadPool pool(threads);
  const Device device(&pool, threads);
  std::mt19937 random(1);
  Gpt gpt(Index(characters.size()), random);
  std::printf("%zu characters, %zu of them different; %ld parameters, %d threads\n", data.size(), characters.size(),
              long(heed::count_parameters(gpt)), threads);

  const auto attend = [&](std::size_t, const auto& q, const auto& k, const auto& v) {
    return heed::softmax_attention(heed::causal())(device, q, k, v);
  };
  const Positions all = positions(0, kContext);
  Tokens in(kBatch, kContext), next(kBatch, kContext);
  const auto draw = [&](std::mt19937& generator, std::size_t begin, std::size_t end) {
    for (Index b = 0; b < kBatch; ++b) {
      const std::size_t first = begin + generator() % (end - begin - kContext - 1);
      std::copy_n(&data[first], kContext, &in(b, 0));
      std::copy_n(&data[first + 1], kContext, &next(b, 0));
    }
  };
  const auto loss_of_held_out = [&] {
    std::mt19937 same(2);
    double sum = 0;
    for (int batch = 0; batch < 4; ++batch) {
      draw(same, data.size() - held_out, data.size());
      sum += double(heed::cross_entropy(device, gpt.logits(device, in, all, attend), next)(0)) / 4;
    }
    return sum;
  };

  heed::Tape<float> tape;
  AdamW adamw;
  Curve trained{"training", "#1f77b4", {}, {}}, unseen{"held out", "#d62728", {0}, {loss_of_held_out()}};
  double recent = 0;
  Index since = 0;
  auto start = std::chrono::steady_clock::now();
  for (Index step = 1; step <= steps; ++step) {
    draw(random, 0, data.size() - held_out);
    const heed::Var loss = heed::cross_entropy(device, gpt.logits(device, in, all, attend, tape), next);
    tape.backward(device, loss);
    // To the full rate within 50 steps, then along half a cosine down to a tenth of it.
    const double warm = std::min(1.0, double(step) / 50), done = std::min(1.0, double(step) / double(kSteps));
    adamw(gpt, tape, 3e-3 * warm * (0.55 + 0.45 * std::cos(std::numbers::pi * done)));
    recent += double(loss.value()(0));
    tape.clear();
    ++since;
    if (step % 25 != 0 && step != steps) continue;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    trained.x.push_back(double(step)), trained.y.push_back(recent / double(since));
    unseen.x.push_back(double(step)), unseen.y.push_back(loss_of_held_out());
    std::printf("step %4ld   loss %.3f   held out %.3f   %6.0f tokens/s\n", long(step), trained.y.back(),
                unseen.y.back(), double(since * kBatch * kContext) / seconds);
    std::fflush(stdout);
    recent = 0, since = 0;
    start = std::chrono::steady_clock::now();
  }
  if (!write_curves(curve, "Loss of train_char_gpt, nats per character", {trained, unseen}, 1, 4, 6))
    return std::fprintf(stderr, "%s: cannot be written\n", curve), 2;

  std::vector<std::int32_t> prompt;
  for (const char c : std::string("And Jesus said unto ")) prompt.push_back(std::int32_t(characters.find(c)));
  const auto with = write(device, gpt, prompt, true), without = write(device, gpt, prompt, false);
  std::string written;
  for (const std::int32_t token : with) written += characters[std::size_t(token)];
  std::printf("\n%s\n\nWithout the cache: %s\n", written.c_str(), with == without ? "the same" : "another text");
  const bool learned = unseen.y.back() < (steps >= kSteps ? 1.9 : unseen.y.front() - 0.3);
  return learned && with == without ? 0 : 1;
}
