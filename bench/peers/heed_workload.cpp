// SPDX-License-Identifier: Apache-2.0
// Times heed and plain Eigen. peers.py speaks to it over stdin and stdout, one repetition at a time, so that PyTorch's
// repetitions can be taken in between; alone it interleaves heed with Eigen:
//
//   heed_workload --json [--threads N] [--only TEXT]
//
// Dialogue (a line in, a line out; "error <text>" when something is wrong):
//   machine             JSON
//   list                JSON, the names of the workloads
//   open <workload>     number, FLOPs or bytes of a call, largest difference between the two results
//   heed <number>       seconds of one call, of one repetition
//   eigen <number>      the same
//   limit <number>      FLOP/s or bytes/s of one core, one repetition
//   close <number>      ok; frees the tensors
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iomanip>
#include <iostream>
#include <map>

#include "session.hpp"

namespace {

using namespace bench;

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

std::string utc_now() {
  const std::time_t t = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&t));
  return text;
}

template <class T>
double settled_peak() {
  std::vector<double> figures;
  for (int i = 0; i < 9; ++i) figures.push_back(multiply_add_peak<T>());
  return median(figures);
}

std::string machine() {
  std::ostringstream json;
  json << std::setprecision(4) << "{\"cpu\": " << quoted(cpu_model()) << ", \"isa\": " << quoted(instruction_set())
       << ", \"compiler\": " << quoted(__VERSION__) << ", \"date\": " << quoted(utc_now())
       << ", \"fp32_peak_gflops\": " << settled_peak<float>() / 1e9
       << ", \"fp64_peak_gflops\": " << settled_peak<double>() / 1e9 << ", \"read_gbs\": {";
  bool first = true;
  for (const std::size_t kib : {16u, 512u, 8u << 10, 64u << 10, 256u << 10}) {
    const std::vector<std::byte> memory(kib << 10, std::byte(1));
    const ReadBandwidth bandwidth({Bytes(memory)});
    std::vector<double> figures;
    for (int i = 0; i < 5; ++i) figures.push_back(bandwidth.repetition());
    json << (first ? "" : ", ") << quoted(std::to_string(kib) + " KiB") << ": " << median(figures) / 1e9;
    first = false;
  }
  json << "}}";
  return json.str();
}

std::vector<std::string> workload_names() {
  std::vector<std::string> names(std::begin(kSoftmaxAttentionWorkloads), std::end(kSoftmaxAttentionWorkloads));
  names.insert(names.end(), std::begin(kDecodeWorkloads), std::end(kDecodeWorkloads));
  names.insert(names.end(), std::begin(kBackwardWorkloads), std::end(kBackwardWorkloads));
  return names;
}

Session open_named(const Workload& workload) {
  if (workload.dtype == "bf16") return open_session<Eigen::bfloat16>(workload);
  if (workload.dtype == "f16") return open_session<Eigen::half>(workload);
  return open_session<float>(workload);
}

void dialogue() {
  std::map<int, Session> sessions;
  int last = 0;
  std::cout << std::setprecision(9);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    try {
      if (verb == "machine") {
        std::cout << machine();
      } else if (verb == "list") {
        std::cout << '[';
        const char* comma = "";
        for (const std::string& name : workload_names()) std::cout << std::exchange(comma, ", ") << quoted(name);
        std::cout << ']';
      } else if (verb == "open") {
        std::string name;
        std::getline(words >> std::ws, name);
        const Session& session = sessions.emplace(++last, open_named(Workload(name))).first->second;
        std::cout << last << ' ' << session.work() << ' ' << session.difference;
      } else {
        int number = 0;
        words >> number;
        const auto found = sessions.find(number);
        if (found == sessions.end()) throw std::invalid_argument("no such workload is open: " + line);
        if (verb == "heed")
          std::cout << found->second.heed();
        else if (verb == "eigen")
          std::cout << found->second.eigen();
        else if (verb == "limit")
          std::cout << found->second.limit();
        else if (verb == "close" && sessions.erase(number) == 1)
          std::cout << "ok";
        else
          throw std::invalid_argument("unknown request: " + line);
      }
    } catch (const std::exception& error) {
      std::cout << "error " << error.what();
    }
    std::cout << std::endl;
  }
}

void print_json(int threads, const std::string& only) {
  std::cout << "{\"machine\": " << machine() << ",\n \"workloads\": [";
  const char* comma = "\n  ";
  for (std::string name : workload_names()) {
    if (threads > 1) name += " threads=" + std::to_string(threads);
    if (name.find(only) == std::string::npos) continue;
    const Session session = open_named(Workload(name));
    const auto figures = interleave({session.limit, session.heed, session.eigen}, 7);
    const auto share = [&](const std::vector<double>& seconds) {
      std::vector<double> shares;
      for (std::size_t i = 0; i < seconds.size(); ++i) shares.push_back(session.share(seconds[i], figures[0][i]));
      return median(shares);
    };
    std::cout << std::exchange(comma, ",\n  ") << std::setprecision(5) << "{\"name\": " << quoted(name)
              << ", \"threads\": " << threads
              << ", \"limit\": " << quoted(session.workload.bound_by_memory() ? "read bandwidth" : "fp32 FMA peak")
              << ", \"work\": " << session.work() << ", \"difference\": " << session.difference
              << ", \"limit_gps\": " << median(figures[0]) / 1e9 << ", \"heed_ms\": " << median(figures[1]) * 1e3
              << ", \"eigen_ms\": " << median(figures[2]) * 1e3
              << ", \"heed_gps\": " << session.work() / median(figures[1]) / 1e9 << ", \"share\": " << share(figures[1])
              << ", \"eigen_share\": " << share(figures[2])
              << ", \"eigen_ratio\": " << median_ratio(figures[2], figures[1]) << ", \"rounds\": 7}" << std::flush;
  }
  std::cout << "\n]}\n";
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 1;
  bool json = false;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0) {
      json = true;
    } else if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
      threads = std::max(1, std::atoi(argv[++i]));
    } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else {
      std::cerr << "usage: heed_workload [--json [--threads N] [--only TEXT]]\n";
      return 2;
    }
  }
  if (json)
    print_json(threads, only);
  else
    dialogue();
}
