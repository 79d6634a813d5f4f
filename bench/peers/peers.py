#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heed against plain Eigen and PyTorch, with the same threads, their repetitions taken in turn.

  peers.py                      every workload, a table, and JSON in build/peers.json
  peers.py --only causal        the workloads whose name holds a text
  peers.py --workload 'sdpa B=2 H=4 N=300 M=300 D=80'
  peers.py --bars               the bars of bars.py: wanted, reached, pass or miss (exit status 1 after a miss)

Needs the C++ driver: cmake --preset release, then cmake --build build/release --target heed_workload heed_workload_avx2
(the second for --bars). Without PyTorch its columns are left out. One thread is timed by its CPU time, several by the wall.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import torch_peer
from bars import BARS

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Driver:
    """heed_workload, asked for one repetition at a time."""

    def __init__(self, path):
        self.process = subprocess.Popen([str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            sys.exit(f"heed_workload ended while it was asked: {request}")
        if answer.startswith("error"):
            sys.exit(f"heed_workload: {answer[6:]}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def find_driver(name, given):
    if given:
        path = pathlib.Path(given)
        return path if name == "heed_workload" else path.with_name(name)
    found = [p for p in ROOT.glob(f"build*/**/{name}") if p.is_file() and os.access(p, os.X_OK)]
    # The preset for this machine before all others: the rest may be built with sanitizers or for any machine.
    return max(found, key=lambda p: ("release" in p.parts, p.stat().st_mtime)) if found else None


class Opened:
    """A workload open in the driver and, where it can be, in PyTorch."""

    def __init__(self, driver, name, eigen=True, torch=True):
        number, work, difference = driver.ask(f"open {name}").split()
        self.driver, self.number, self.name = driver, number, name
        self.work, self.difference = float(work), float(difference)
        self.threads = torch_peer.parse(name)["threads"]
        self.measures = {who: lambda who=who: float(driver.ask(f"{who} {number}")) for who in ("limit", "heed")}
        if eigen:
            self.measures["eigen"] = lambda: float(driver.ask(f"eigen {number}"))
        if torch and torch_peer.version():
            self.measures["torch"] = torch_peer.TorchCall(name).repetition
        self.figures = {who: [] for who in self.measures}

    def round(self):
        for who, measure in self.measures.items():
            self.figures[who].append(measure())

    def close(self):
        self.driver.ask(f"close {self.number}")
        self.measures = {}

    def median(self, who):
        return statistics.median(self.figures[who])

    def share(self, who="heed"):
        pairs = zip(self.figures[who], self.figures["limit"])
        return statistics.median(self.work / seconds / (limit * self.threads) for seconds, limit in pairs)


def ratio(slow, fast):
    return statistics.median(a / b for a, b in zip(slow, fast))


def measure(opened, rounds, seconds):
    """Rounds in turn over all that is open: at least 5, at most `rounds`, about `seconds` in all."""
    start = time.monotonic()
    for done in range(rounds):
        if done >= 5 and time.monotonic() - start > seconds:
            break
        for one in opened:
            one.round()
    for one in opened:
        one.close()


def record(one):
    memory = torch_peer.parse(one.name)["N"] == 1
    entry = {
        "name": one.name,
        "threads": one.threads,
        "limit": "read bandwidth" if memory else "fp32 FMA peak",
        "work": one.work,
        "difference": one.difference,
        "limit_gps": one.median("limit") / 1e9,
        "heed_gps": one.work / one.median("heed") / 1e9,
        "share": one.share(),
        "rounds": len(one.figures["heed"]),
    }
    for who in ("heed", "eigen", "torch"):
        if who in one.figures:
            entry[f"{who}_ms"] = one.median(who) * 1e3
        if who != "heed" and who in one.figures:
            entry[f"{who}_ratio"] = ratio(one.figures[who], one.figures["heed"])
            entry[f"{who}_share"] = one.share(who)
    return entry


def run_workloads(driver, names, args):
    entries = []
    print(f"{'workload':58} {'heed ms':>9} {'share':>6} {'Eigen ms':>9} {'ratio':>6} {'torch ms':>9} {'ratio':>6}")
    for name in names:
        one = Opened(driver, name)
        measure([one], args.rounds, args.seconds)
        entry = record(one)
        entries.append(entry)
        line = f"{name:58} {entry['heed_ms']:9.3f} {entry['share']:6.2f}"
        for who in ("eigen", "torch"):
            if f"{who}_ms" in entry:
                line += f" {entry[who + '_ms']:9.3f} {entry[who + '_ratio']:5.2f}x"
        # Both are correct to about 1e-6; a 16-bit cache is the same numbers for both.
        if entry["difference"] > 1e-4:
            line += f"  WRONG by {entry['difference']:.1e}"
        print(line, flush=True)
    return entries


def bar_figure(bar, opened):
    first = opened[0]
    if bar.kind in ("share", "avx2"):
        return first.share()
    if bar.kind == "torch":
        return ratio(first.figures["torch"], first.figures["heed"]) if "torch" in first.figures else None
    if bar.kind == "faster":
        return ratio(opened[1].figures["heed"], first.figures["heed"])
    return ratio(first.figures["heed"], opened[1].figures["heed"])  # cost


def run_bars(driver, avx2_path, args):
    avx2 = None
    if avx2_path and avx2_path.is_file():
        avx2 = Driver(avx2_path)
    measured, lines, missed = {}, [], 0
    print(f"{'bar':34} {'wanted':>20} {'reached':>9}")
    for bar in BARS:
        if args.only not in bar.label and args.only not in " ".join(bar.workloads):
            continue
        on_avx2 = bar.kind == "avx2"
        key = (on_avx2, bar.workloads)
        if key not in measured and not (on_avx2 and avx2 is None):
            # PyTorch takes part where a bar is set against it, and nowhere else: its caches and threads cost time.
            torch = any(b.kind == "torch" and b.workloads == bar.workloads for b in BARS) and not on_avx2
            measured[key] = [Opened(avx2 if on_avx2 else driver, w, eigen=False, torch=torch) for w in bar.workloads]
            measure(measured[key], args.rounds, args.seconds)
        figure = bar_figure(bar, measured[key]) if key in measured else None
        if figure is None:
            verdict = "not measured: " + ("build heed_workload_avx2" if on_avx2 else "no PyTorch")
        else:
            verdict = "pass" if bar.passed(figure) else "miss"
        missed += verdict == "miss"
        reached = "" if figure is None else f"{figure:.3f}"
        print(f"{bar.label:34} {bar.wanted():>20} {reached:>9}  {verdict}", flush=True)
        lines.append({"bar": bar.label, "wanted": bar.wanted(), "reached": figure, "verdict": verdict})
    if avx2:
        avx2.close()
    return lines, missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", action="store_true", help="check the bars")
    parser.add_argument("--driver", help="heed_workload; otherwise that of build/release, or the newest below build*/")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="workloads or bars whose name holds this text")
    parser.add_argument("--workload", action="append", help="a workload of your own; may be repeated")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=6, help="about how long each workload is repeated")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file; default build/peers.json or build/bars.json")
    args = parser.parse_args()

    path = find_driver("heed_workload", args.driver)
    if path is None or not path.is_file():
        sys.exit("heed_workload was not found: build it (cmake --build build/release --target heed_workload) or give --driver")
    driver = Driver(path)
    load = os.getloadavg()[0]
    machine = json.loads(driver.ask("machine"))
    machine["load_average_before"] = load
    print(f"{machine['cpu']}, {machine['isa']}: FMA peak {machine['fp32_peak_gflops']:.0f} GFLOP/s; "
          f"PyTorch {torch_peer.version() or 'not found'}; load before {load:.1f}\n")
    # CPU time hides other processes' turns, but not what they take of caches and memory; the wall hides nothing.
    if load > 0.3:
        print("The machine is not idle: shares and ratios are too low or too high, those of several threads useless.\n")
    result = {"machine": machine, "peers": {"torch": torch_peer.version()}}

    status = 0
    if args.bars:
        result["bars"], missed = run_bars(driver, find_driver("heed_workload_avx2", args.driver), args)
        status = 1 if missed else 0
        print(f"\n{missed} missed" if missed else "\nno bar missed")
    else:
        names = args.workload or [n for n in json.loads(driver.ask("list")) if args.only in n]
        if args.threads > 1:
            names = [f"{n} threads={args.threads}" for n in names]
        result["workloads"] = run_workloads(driver, names, args)
    driver.close()

    out = args.out or ROOT / "build" / ("bars.json" if args.bars else "peers.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwrote {out}")
    return status


if __name__ == "__main__":
    sys.exit(main())
