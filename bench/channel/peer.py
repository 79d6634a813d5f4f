# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of this folder against PyTorch, in turn: python3 peer.py PROGRAM... [--rounds 7] [--filter REGEX]

Prints, for every benchmark, the median over the rounds of PyTorch's time over heed's. One thread is timed by its own
CPU time, as the programs do."""

import argparse
import json
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F


def parse(name):
    words = name.split("/")[0].split()
    values = {"threads": 1} | {key: int(value) for key, value in (word.split("=") for word in words[1:])}
    return words[0], values


def cross_covariance(w):
    b, n, c, heads = w["B"], w["N"], w["C"], w["H"]
    q, k, v = (torch.randn(b, n, c).reshape(b, n, heads, c // heads).permute(0, 2, 3, 1) for _ in range(3))
    temperature = torch.randn(heads, 1, 1)

    def call():
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * temperature
        return (scores.softmax(dim=-1) @ v).permute(0, 3, 1, 2).reshape(b, n, c)

    return call


def xca(w):
    b, n, c, heads = w["B"], w["N"], w["C"], w["H"]
    x = torch.randn(b, n, c)
    qkv, out, temperature = torch.nn.Linear(c, 3 * c), torch.nn.Linear(c, c), torch.randn(heads, 1, 1)

    def call():
        q, k, v = qkv(x).reshape(b, n, 3, heads, c // heads).permute(2, 0, 3, 4, 1)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * temperature
        return out((scores.softmax(dim=-1) @ v).permute(0, 3, 1, 2).reshape(b, n, c))

    return call


def squeeze_excitation(w):
    c = w["C"]
    x = torch.randn(w["B"], c, w["h"], w["w"])
    fc1, fc2 = torch.nn.Linear(c, max(1, c // 16)), torch.nn.Linear(max(1, c // 16), c)
    return lambda: x * torch.sigmoid(fc2(F.relu(fc1(x.mean(dim=(2, 3))))))[:, :, None, None]


def eca(w):
    x = torch.randn(w["B"], w["C"], w["h"], w["w"])
    conv = torch.nn.Conv1d(1, 1, 5 if w["C"] >= 128 else 3, padding="same", bias=False)
    return lambda: x * torch.sigmoid(conv(x.mean(dim=(2, 3))[:, None]))[:, 0, :, None, None]


PEERS = {f.__name__: f for f in (cross_covariance, xca, squeeze_excitation, eca)}


def seconds(call, threads):
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    call()
    start, count = clock(), 0
    while count < 3 or clock() - start < 0.1:
        call()
        count += 1
    return (clock() - start) / count


def heed_seconds(program, name):
    command = [program, "--benchmark_format=json", "--benchmark_min_time=0.1", f"--benchmark_filter=^{name}$"]
    run = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["benchmarks"][0]
    return run["real_time" if "real_time" in name else "cpu_time"] * 1e-6


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("programs", nargs="+")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--filter", default=".")
    options = arguments.parse_args()
    for program in options.programs:
        command = [program, "--benchmark_list_tests", f"--benchmark_filter={options.filter}"]
        names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for name in names.splitlines():
            kind, workload = parse(name)
            with torch.inference_mode():
                call = PEERS[kind](workload)
                threads = workload["threads"]
                ratios = [seconds(call, threads) / heed_seconds(program, name) for _ in range(options.rounds)]
            print(f"{name}: {statistics.median(ratios):.2f} x PyTorch {torch.__version__}", flush=True)


if __name__ == "__main__":
    main()
