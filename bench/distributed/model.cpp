// SPDX-License-Identifier: Apache-2.0
// How far context-parallel attention would scale, from the speed of this machine and a stated wire.
//   bench_distributed_model [--heads 8] [--kv-heads 8] [--width 64] [--window W] [--full] [--memory GiB]
//                           [--bandwidth GB/s --latency us] [--speedup X] [--node RANKS --node-bandwidth GB/s]
//   bench_distributed_model --check                  against two and four ranks here, threads of this process
//   mpirun -n 2 bench_distributed_model --check      against the processes, where heed was configured with MPI
// A machine is a rank, as fast as this one with all of its cores, or X times that. Without --bandwidth: 25 Gb/s
// Ethernet (3.1 GB/s, 15 us) and 200 Gb/s InfiniBand (25 GB/s, 2 us), each as fast as here and 32 times as fast, which
// stands for a node of 64 such cores and takes their speed as linear. Attention is causal unless --full, forward,
// float.
//
// The engine's speed is fitted at the start to the steps of a rank: n queries against m keys for n and m in 64 .. 2048,
// and causal ones: seconds = call + row n + pair (pairs) + diagonal n. The formulas of time are those of
// heed::context_parallel_time, of bytes and memory those of heed::ContextParallelCost. Efficiency is the time of all
// pairs on one machine over machines * time. The letter says what most of the rest is lost to, by how much faster it
// would go without it: w bandwidth, l latency, i imbalance of the work, o what is not pairs (rows, calls, new tensors);
// c: nothing, 0.9 or more. ! does not fit the memory; - cannot be (the key heads must divide among the machines).
#ifdef HEED_BENCH_MPI
#include "heed/distributed/mpi.hpp"
#endif

#include <Eigen/QR>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common.hpp"
#include "heed/distributed/context_parallel_model.hpp"
#include "heed/distributed/in_process.hpp"

namespace {

using heed::Cluster;
using heed::Communicator;
using heed::ContextParallelAttention;
using heed::ContextParallelCost;
using heed::ContextParallelShape;
using heed::ContextParallelTime;
using heed::ContextStrategy;
using heed::Index;
using heed::RankSpeed;
using heed::SequenceLayout;
using heed::Tensor;
using heed::WireSpeed;

constexpr double kInfinite = std::numeric_limits<double>::infinity();

double seconds_of(const std::function<void()>& call) {
  const bench::Timed timed(call, bench::Clock::wall, 0.005);
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) times.push_back(timed.repetition());
  return bench::median(times);
}

// As ContextParallelAttention does a piece: the engine, and the merging of its result.
double step_seconds(const heed::DeviceRef& device, const ContextParallelShape& shape, Index queries, Index keys,
                    bool causal) {
  Tensor<float, 4> q(1, shape.heads, queries, shape.width), k(1, shape.kv_heads, keys, shape.width),
      v(1, shape.kv_heads, keys, shape.value_width), out(1, shape.heads, queries, shape.value_width), more(out);
  Tensor<float, 3> lse(1, shape.heads, queries), more_lse(lse);
  bench::fill_random(q, 1);
  bench::fill_random(k, 2);
  bench::fill_random(v, 3);
  out.setZero();
  lse.setZero();
  const auto attend = heed::softmax_attention(
      heed::causal(causal ? 0 : heed::detail::kFarthest) && heed::window_left(heed::detail::kFarthest),
      {.position_offset = 0});
  return seconds_of([&] {
    attend(device, q, k, v, heed::into(more, more_lse));
    heed::merge_attention_state(device, heed::into(out, lse), more, more_lse);
  });
}

RankSpeed measure_speed(const heed::DeviceRef& device, const ContextParallelShape& shape) {
  // Least squares of relative errors; none of the three can be below 0.
  std::vector<std::array<double, 4>> rows;
  for (const Index queries : {64, 256, 1024, 2048})
    for (const Index keys : {64, 256, 2048})
      rows.push_back({double(queries * keys * shape.heads), double(queries * shape.heads), 1,
                      step_seconds(device, shape, queries, keys, false)});
  std::array<bool, 3> used{true, true, true};
  Eigen::Vector3d x;
  for (bool again = true; again;) {
    Eigen::MatrixXd a(Index(rows.size()), 3);
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (std::size_t j = 0; j < 3; ++j) a(Index(i), Index(j)) = used[j] ? rows[i][j] / rows[i][3] : 0;
    x = a.colPivHouseholderQr().solve(Eigen::VectorXd::Ones(Index(rows.size())));
    again = false;
    for (std::size_t j = 0; j < 3; ++j)
      if (used[j] && !(x(Index(j)) >= 0)) {
        used[j] = false;
        again = true;
      } else if (!used[j]) {
        x(Index(j)) = 0;
      }
  }
  RankSpeed speed{.pair = x(0), .row = x(1), .call = x(2)};
  const Index n = 1024;
  const double planes = double(shape.heads * n);
  speed.diagonal_row = std::max(0.0, (step_seconds(device, shape, n, n, true) - speed.call) / planes - speed.row -
                                         speed.pair * double(n + 1) / 2);
  // As the operator makes its tensors: in fresh memory, set to 0 and copied to.
  Tensor<float, 2> from(1024, 1024);
  from.setZero();
  speed.made_byte = seconds_of([&] {
                      Tensor<float, 2> to(1024, 1024);
                      to.setZero();
                      heed::kernel::copy<heed::kernel::Write::kAssign>(device, heed::const_view(from), heed::view(to));
                      bench::keep(to.data());
                    }) /
                    double(from.size() * 4);
  return speed;
}

void print_speed(const char* who, const RankSpeed& speed, const ContextParallelShape& shape) {
  const double flops = 2.0 * double(shape.width + shape.value_width);
  std::printf(
      "%s: %.0f GFLOP/s of pairs, %.0f ns a row, %.0f ns more on the diagonal, %.1f us a call, new tensors %.1f GB/s\n",
      who, flops / speed.pair / 1e9, speed.row * 1e9, speed.diagonal_row * 1e9, speed.call * 1e6,
      1e-9 / speed.made_byte);
}

struct Way {
  std::string name;
  std::vector<ContextParallelAttention::Options> choices;  // the best is taken
};

// The ways of `machines` to share a sequence. A strategy that has a choice of sizes is given all that divide.
std::vector<Way> ways_of(Index machines, const ContextParallelShape& shape, bool causal, std::optional<Index> window,
                         Index node) {
  const auto options = [&](ContextStrategy strategy, Index u, Index r, Index inner, SequenceLayout layout) {
    return ContextParallelAttention::Options{.strategy = strategy,
                                             .ulysses_size = u,
                                             .ring_size = r,
                                             .inner_ring_size = inner,
                                             .layout = layout,
                                             .causal = causal,
                                             .window_left = window};
  };
  constexpr auto zigzag = SequenceLayout::kZigzag, contiguous = SequenceLayout::kContiguous;
  std::vector<Way> ways{{"ring", {options(ContextStrategy::kRing, 1, machines, 1, zigzag)}},
                        {"ring/cont", {options(ContextStrategy::kRing, 1, machines, 1, contiguous)}},
                        {"gather", {options(ContextStrategy::kAllGather, 1, machines, 1, zigzag)}},
                        {"gather/cont", {options(ContextStrategy::kAllGather, 1, machines, 1, contiguous)}},
                        {"ulysses", {}},
                        {"usp", {}},
                        {"double", {}}};
  if (shape.kv_heads % machines == 0) ways[4].choices = {options(ContextStrategy::kUlysses, machines, 1, 1, zigzag)};
  for (Index u = 2; u < machines; u *= 2)
    if (shape.kv_heads % u == 0) ways[5].choices.push_back(options(ContextStrategy::kUsp, u, machines / u, 1, zigzag));
  Index inner = node;
  if (node == 1)
    for (inner = 2; inner * inner < machines;) inner *= 2;
  if (inner > 1 && inner < machines)
    ways[6].choices = {options(ContextStrategy::kDoubleRing, 1, machines, inner, zigzag)};
  return ways;
}

struct Prediction {
  double seconds = kInfinite, efficiency = 0, memory = 0;
  char bound = '-';
};

Prediction predict(const Way& way, const ContextParallelShape& shape, const Cluster& cluster) {
  Prediction best;
  for (const auto& options : way.choices) {
    const ContextParallelCost cost(options, shape);
    const ContextParallelTime time = context_parallel_time(cost, cluster);
    if (time.seconds >= best.seconds) continue;
    best = {time.seconds, time.efficiency(cost.ranks()), cost.memory(), 'c'};
    if (best.efficiency >= 0.9) continue;
    Cluster wide = cluster, quick = cluster;
    wide.far.bandwidth = wide.near.bandwidth = kInfinite;
    quick.far.latency = quick.near.latency = 0;
    const std::array<std::pair<double, char>, 4> losses{
        {{time.seconds - context_parallel_time(cost, wide).seconds, 'w'},
         {time.seconds - context_parallel_time(cost, quick).seconds, 'l'},
         {time.longest - time.mean, 'i'},
         {time.mean - time.alone / double(cost.ranks()) + cluster.speed.made_byte * cost.bytes_made(), 'o'}}};
    best.bound = std::max_element(losses.begin(), losses.end())->second;
  }
  return best;
}

std::string tokens_text(Index tokens) {
  return tokens >= 1 << 20 ? std::to_string(tokens >> 20) + " Mi" : std::to_string(tokens >> 10) + " Ki";
}

void print_tables(const char* title, ContextParallelShape shape, const Cluster& cluster, bool causal,
                  std::optional<Index> window, double memory) {
  std::vector<Index> machines, lengths;
  for (Index m = 2; m <= 1024; m *= 2) machines.push_back(m);
  for (Index n = 128 << 10; n <= 16 << 20; n *= 2) lengths.push_back(n);
  std::printf("\n== %s\n", title);
  std::map<std::pair<Index, Index>, std::map<std::string, Prediction>> all;
  std::vector<std::string> names;
  for (const Index length : lengths)
    for (const Index m : machines) {
      shape.length = length;
      for (const Way& way : ways_of(m, shape, causal, window, cluster.node)) {
        if (names.size() < 7) names.push_back(way.name);
        all[{length, m}][way.name] = predict(way, shape, cluster);
      }
    }
  const auto head = [&](const char* first) {
    std::printf("%-12s", first);
    for (const Index m : machines) std::printf(" %11lld", static_cast<long long>(m));
    std::printf("\n");
  };
  std::printf("fastest that fits %.0f GiB a machine, its efficiency and what the rest is lost to; machines:\n", memory);
  head("tokens");
  for (const Index length : lengths) {
    std::printf("%-12s", tokens_text(length).c_str());
    for (const Index m : machines) {
      const auto& row = all[{length, m}];
      const std::string* best = nullptr;
      // In the order of names, so that equals go to the simplest.
      for (const std::string& name : names) {
        const Prediction& one = row.at(name);
        if (one.seconds < kInfinite && one.memory <= memory * double(1 << 30) &&
            (!best || one.seconds < 0.999 * row.at(*best).seconds))
          best = &name;
      }
      char cell[32];
      if (best)
        std::snprintf(cell, sizeof cell, "%s %.2f%c", best->substr(0, 6).c_str(), row.at(*best).efficiency,
                      row.at(*best).bound);
      else
        std::snprintf(cell, sizeof cell, "!");
      std::printf(" %11s", cell);
    }
    std::printf("\n");
  }
  for (const Index length : {lengths.front(), Index(1) << 20, lengths.back()}) {
    std::printf("%s tokens: efficiency of each, and of the ring the seconds and GiB a machine\n",
                tokens_text(length).c_str());
    head("");
    for (const std::string& name : names) {
      std::printf("%-12s", name.c_str());
      for (const Index m : machines) {
        const Prediction& one = all[{length, m}][name];
        char cell[32] = "-";
        if (one.seconds < kInfinite)
          std::snprintf(cell, sizeof cell, "%.3f%c%s", one.efficiency, one.bound,
                        one.memory > memory * double(1 << 30) ? "!" : "");
        std::printf(" %11s", cell);
      }
      std::printf("\n");
    }
    for (const bool of_memory : {false, true}) {
      std::printf("%-12s", of_memory ? "ring GiB" : "ring s");
      for (const Index m : machines) {
        const Prediction& ring = all[{length, m}]["ring"];
        std::printf(" %11.3g", of_memory ? ring.memory / double(1 << 30) : ring.seconds);
      }
      std::printf("\n");
    }
  }
  std::fflush(stdout);
}

double on_all(Communicator& comm, const std::function<void()>& call, int rounds) {
  std::vector<double> times;
  for (int i = 0; i <= rounds; ++i) {
    heed::barrier(comm);
    const double start = bench::now(bench::Clock::wall);
    call();
    heed::barrier(comm);
    if (i > 0) times.push_back(bench::now(bench::Clock::wall) - start);
  }
  return bench::median(times);
}

// Latency and bandwidth of ranks that all send to their right and receive from their left at once, as in a ring.
WireSpeed measure_wire(Communicator& comm) {
  const int right = (comm.rank() + 1) % comm.size(), left = (comm.rank() + comm.size() - 1) % comm.size();
  const auto exchange = [&](std::size_t bytes) {
    std::vector<std::byte> from(bytes), to(bytes);
    const auto pass = [&] {
      comm.wait(std::array{comm.receive(to.data(), bytes, left, 1), comm.send(from.data(), bytes, right, 1)});
    };
    constexpr int kTimes = 20;
    return on_all(
               comm,
               [&] {
                 for (int i = 0; i < kTimes; ++i) pass();
               },
               5) /
           kTimes;
  };
  const double latency = exchange(64);
  constexpr std::size_t kLarge = 4 << 20;
  // A thread's message or one in shared memory is copied by the cores that compute: nothing of it can be hidden.
  return {double(kLarge) / std::max(1e-9, exchange(kLarge) - latency), latency, 0};
}

// What the ranks of `comm` take and what the model says of them. `cores`: those that the ranks share.
void check(Communicator& comm, ContextParallelShape shape, bool causal, double cores) {
  const Index ranks = comm.size();
  const double sharing = std::max(1.0, double(ranks) / cores);
  Cluster cluster;
  // By as many ranks at once as there are cores: they share caches and memory. More ranks than that share the cores.
  RankSpeed speed;
  if (comm.rank() < int(cores)) speed = measure_speed(heed::DeviceRef(), shape);
  heed::barrier(comm);
  cluster.speed = speed.faster(1 / sharing);
  cluster.far = cluster.near = measure_wire(comm);
  if (comm.rank() == 0) {
    std::printf("\n%lld ranks, each with %.2g of a core\n", static_cast<long long>(ranks), 1 / sharing);
    print_speed("one core", speed, shape);
    std::printf("wire: %.2f GB/s, %.1f us; nothing hidden\n%8s %-12s %12s %12s %8s\n", cluster.far.bandwidth / 1e9,
                cluster.far.latency * 1e6, "tokens", "strategy", "predicted ms", "measured ms", "ratio");
  }
  for (const Index length : {1024, 4096}) {
    shape.length = length;
    for (const Way& way : ways_of(ranks, shape, causal, std::nullopt, 1)) {
      if (way.choices.empty()) continue;
      const auto& options = way.choices.front();
      const ContextParallelAttention attend{options};
      const Index n = attend.slots(length);
      Tensor<float, 4> q(1, shape.heads, n, shape.width), k(1, shape.kv_heads, n, shape.width),
          v(1, shape.kv_heads, n, shape.value_width);
      bench::fill_random(q, 1);
      bench::fill_random(k, 2);
      bench::fill_random(v, 3);
      const double predicted = context_parallel_time(ContextParallelCost(options, shape), cluster).seconds;
      const double measured = on_all(
          comm, [&] { bench::keep(std::get<0>(attend(comm, length, q, k, v)).data()); }, 4);
      if (comm.rank() == 0)
        std::printf("%8lld %-12s %12.2f %12.2f %8.2f\n", static_cast<long long>(length), way.name.c_str(),
                    1e3 * predicted, 1e3 * measured, predicted / measured);
    }
  }
  if (comm.rank() == 0) std::fflush(stdout);
}

struct Arguments {
  std::map<std::string, double> values;

  Arguments(int count, char** given) {
    for (int i = 1; i < count; ++i) {
      const std::string name = given[i];
      const bool flag = name == "--check" || name == "--full";
      values[name] = flag || i + 1 == count ? 1 : std::atof(given[++i]);
    }
  }
  bool has(const std::string& name) const { return values.count(name) > 0; }
  double get(const std::string& name, double otherwise) const { return has(name) ? values.at(name) : otherwise; }
};

void predict_all(const Arguments& arguments, const ContextParallelShape& shape, bool causal) {
  const int threads = int(std::max(1u, std::thread::hardware_concurrency()));
  Eigen::ThreadPool pool(threads);
  const Eigen::ThreadPoolDevice device(&pool, threads);
  const RankSpeed speed = measure_speed(device, shape);
  print_speed(("this machine, " + std::to_string(threads) + " cores").c_str(), speed, shape);
  std::optional<Index> window;
  if (arguments.has("--window")) window = Index(arguments.get("--window", 0));
  const double memory = arguments.get("--memory", 64);
  struct Wire {
    const char* name;
    double gigabytes, micros;
  };
  std::vector<Wire> wires{{"25 Gb/s Ethernet", 3.1, 15}, {"200 Gb/s InfiniBand", 25, 2}};
  if (arguments.has("--bandwidth"))
    wires = {{"the wire given", arguments.get("--bandwidth", 1), arguments.get("--latency", 10)}};
  std::vector<double> speeds{1, 32};
  if (arguments.has("--speedup")) speeds = {arguments.get("--speedup", 1)};
  for (const double times : speeds)
    for (const Wire& wire : wires) {
      const WireSpeed far{wire.gigabytes * 1e9, wire.micros * 1e-6, 1};
      WireSpeed near = far;
      near.bandwidth = 1e9 * arguments.get("--node-bandwidth", wire.gigabytes);
      char title[160];
      std::snprintf(title, sizeof title, "%s, %.3g GB/s, %.3g us; machines %.3g times as fast as this one", wire.name,
                    wire.gigabytes, wire.micros, times);
      print_tables(title, shape, {speed.faster(times), far, near, Index(arguments.get("--node", 1))}, causal, window,
                   memory);
    }
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  ContextParallelShape shape;
  shape.heads = Index(arguments.get("--heads", 8));
  shape.kv_heads = Index(arguments.get("--kv-heads", double(shape.heads)));
  shape.width = shape.value_width = Index(arguments.get("--width", 64));
  const bool causal = !arguments.has("--full");
  int processes = 1;
#ifdef HEED_BENCH_MPI
  MPI_Init(&argc, &argv);
  MPI_Comm_size(MPI_COMM_WORLD, &processes);
#endif
  const double cores = std::max(1u, std::thread::hardware_concurrency());
  if (processes > 1) {
#ifdef HEED_BENCH_MPI
    heed::MpiCommunicator comm(MPI_COMM_WORLD);
    check(comm, shape, causal, cores);
#endif
  } else {
    std::printf("%s, %lld heads on %lld of %lld, %s\n", bench::cpu_model().c_str(), static_cast<long long>(shape.heads),
                static_cast<long long>(shape.kv_heads), static_cast<long long>(shape.width),
                causal ? "causal" : "not causal");
    if (arguments.has("--check")) {
      for (const int ranks : {2, 4})
        heed::run_in_process(ranks, [&](Communicator& comm) { check(comm, shape, causal, cores); });
    } else {
      predict_all(arguments, shape, causal);
    }
  }
#ifdef HEED_BENCH_MPI
  MPI_Finalize();
#endif
}
