#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's speed table and the plot beside it, from the JSON of bench/peers.

  report.py [build/peers.json] [--readme README.md] [--svg bench/report/speed.svg] [--all]

The table goes between `<!-- speed table -->` and `<!-- /speed table -->` of the README; without them it is printed.
The plot needs matplotlib and is left alone without it. --all takes every workload that was measured, not the usual ones.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- speed table -->", "<!-- /speed table -->"

# The workloads that a reader looks for, with words for them.
SHOWN = {
    "sdpa B=1 H=8 N=512 M=512 D=64": "dense, 512 tokens, D = 64",
    "sdpa B=1 H=8 N=512 M=512 D=64 causal=1": "causal, 512 tokens, D = 64",
    "sdpa B=1 H=8 N=2048 M=2048 D=64": "dense, 2048 tokens, D = 64",
    "sdpa B=1 H=8 N=2048 M=2048 D=64 causal=1": "causal, 2048 tokens, D = 64",
    "sdpa B=1 H=8 N=2048 M=2048 D=128": "dense, 2048 tokens, D = 128",
    "sdpa B=1 H=8 N=2048 M=2048 D=128 causal=1": "causal, 2048 tokens, D = 128",
    "sdpa B=1 H=8 N=4096 M=4096 D=64 causal=1 window=256": "sliding window of 256, 4096 tokens",
    "sdpa B=1 H=8 N=2048 M=2048 D=64 score=1": "user's score function, 2048 tokens",
    "sdpa B=1 H=8 N=2048 M=2048 D=64 backward=1": "gradients, dense, 2048 tokens",
    "sdpa B=1 H=8 N=2048 M=2048 D=64 causal=1 backward=1": "gradients, causal, 2048 tokens",
    "sdpa B=8 H=12 N=197 M=197 D=64": "ViT-B, 8 images of 197 tokens",
    "sdpa B=1 H=8 N=77 M=4096 D=64": "cross, 77 queries, 4096 keys",
    "sdpa B=64 H=3 N=49 M=49 D=32": "64 windows of 49 tokens, D = 32",
    "sdpa B=64 H=3 N=49 M=49 D=32 bias=1": "64 windows of 49 tokens, with bias",
    "sdpa B=1 H=32 Hkv=8 N=1 M=8192 D=128": "decode, 32 heads on 8, cache of 8192",
    "sdpa B=1 H=32 Hkv=8 N=1 M=8192 D=128 dtype=bf16": "the same, bfloat16 cache",
    "sdpa B=1 H=32 Hkv=8 N=1 M=8192 D=128 dtype=f16": "the same, half cache",
    "sdpa B=1 H=32 Hkv=8 N=1 M=32768 D=128": "decode, 32 heads on 8, cache of 32768",
}


def rows(data, everything):
    by_name = {w["name"].split(" threads=")[0]: w for w in data["workloads"]}
    if everything:
        return [(SHOWN.get(name, name), w) for name, w in by_name.items()]
    return [(label, by_name[name]) for name, label in SHOWN.items() if name in by_name]


def milliseconds(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def conditions(data, chosen):
    machine, threads = data["machine"], max(w["threads"] for _, w in chosen)
    words = "one thread" if threads == 1 else f"{threads} threads"
    return f"{machine['cpu']}, {machine['isa']}, {words}, {machine['date'][:10]}"


def table(data, chosen):
    machine, torch = data["machine"], data.get("peers", {}).get("torch")
    head = ["attention", "heed, ms", "share of limit", "against plain Eigen"]
    if torch:
        head.append(f"against PyTorch {torch.split('+')[0]}")
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for label, w in chosen:
        cells = [label, milliseconds(w["heed_ms"]), f"{w['share']:.2f}", f"{w['eigen_ratio']:.1f}x"]
        if torch:
            cells.append(f"{w['torch_ratio']:.1f}x" if "torch_ratio" in w else "")
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Measured: {conditions(data, chosen)}; medians of repetitions taken in turn. The limit is the FMA peak "
        f"({machine['fp32_peak_gflops']:.0f} GFLOP/s a core), for decode the read bandwidth over the same "
        "cache, both measured between the repetitions.",
    ]
    return "\n".join(lines)


def write_readme(path, text):
    old = path.read_text() if path.is_file() else ""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        print(text)
        print(f"\n(printed only: {path.name} has no {BEGIN} with {END} behind it)", file=sys.stderr)
        return
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    print(f"wrote the table into {path}")


def plot(path, data, chosen):
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    matplotlib.use("svg")
    # Text stays text and ids stay the same, so that a new measurement is a small change to the file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "heed", "font.size": 10,
                                "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Arial"]})
    from matplotlib import pyplot

    series = [("eigen_share", "plain Eigen", "#9a9a9a", "D", 34), ("torch_share", "PyTorch", "#e07b39", "s", 40),
              ("share", "heed", "#1f5fa8", "o", 64)]
    figure, axes = pyplot.subplots(figsize=(8.6, 1.3 + 0.32 * len(chosen)))
    places = range(len(chosen) - 1, -1, -1)
    for place, (_, w) in zip(places, chosen):
        present = [w[key] for key, *_ in series if key in w]
        axes.plot([min(present), max(present)], [place, place], color="#dddddd", linewidth=1.5, zorder=1)
    for key, label, color, marker, size in series:
        points = [(w[key], place) for place, (_, w) in zip(places, chosen) if key in w]
        if points:
            axes.scatter(*zip(*points), s=size, c=color, marker=marker, label=label, zorder=2, linewidths=0)
    axes.set_yticks(list(places), [label for label, _ in chosen])
    axes.set_xlim(0, max(1.0, 1.03 * max(w["share"] for _, w in chosen)))
    axes.set_ylim(-0.7, len(chosen) - 0.3)
    axes.set_xlabel("share of this machine's limit (FMA peak; decode: read bandwidth)\n" + conditions(data, chosen))
    axes.grid(axis="x", color="#eeeeee", zorder=0)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    # matplotlib leaves spaces at line ends.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    print(f"wrote {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=pathlib.Path, nargs="?", default=ROOT / "build" / "peers.json")
    parser.add_argument("--readme", type=pathlib.Path, default=ROOT / "README.md")
    parser.add_argument("--svg", type=pathlib.Path, default=ROOT / "bench" / "report" / "speed.svg")
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    if not args.json.is_file():
        sys.exit(f"{args.json} is not there: run bench/peers/peers.py first")
    data = json.loads(args.json.read_text())
    chosen = rows(data, args.all)
    if not chosen:
        sys.exit("none of the usual workloads was measured; --all shows the others")
    write_readme(args.readme, table(data, chosen))
    plot(args.svg, data, chosen)


if __name__ == "__main__":
    main()
