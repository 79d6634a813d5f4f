# SPDX-License-Identifier: Apache-2.0
"""The speeds that heed is held to, each a median ratio within one run on an idle machine."""

from dataclasses import dataclass

DENSE = "sdpa B=1 H=8 N={0} M={0} D={1}"
CAUSAL = DENSE + " causal=1"
VIT = "sdpa B=8 H=12 N=197 M=197 D=64"
CROSS = "sdpa B=1 H=8 N=77 M=4096 D=64"
WINDOWS = "sdpa B=64 H=3 N=49 M=49 D=32"
DECODE = "sdpa B=1 H=32 Hkv=8 N=1 M={0} D=128"
SLIDING = "sdpa B=1 H=8 N=4096 M=4096 D=64 causal=1 window=256"


@dataclass(frozen=True)
class Bar:
    label: str
    kind: str  # share | torch | faster | cost | avx2
    bound: float
    workloads: tuple  # measured in turn; faster: first over second; cost: first against second

    def wanted(self):
        return {
            "share": f">= {self.bound:.2f} of limit",
            "avx2": f">= {self.bound:.2f} of limit",
            "torch": f">= {self.bound:.2f}x PyTorch",
            "faster": f">= {self.bound:.2f}x",
            "cost": f"<= {self.bound:.2f}x the time",
        }[self.kind]

    def passed(self, figure):
        return figure <= self.bound if self.kind == "cost" else figure >= self.bound


def _speed(label, workload, share, torch):
    return [Bar(label, "share", share, (workload,)), Bar(label, "torch", torch, (workload,))]


def _all():
    bars = []
    bars += _speed("dense N=2048 D=64", DENSE.format(2048, 64), 0.85, 1.25)
    bars += _speed("dense N=2048 D=128", DENSE.format(2048, 128), 0.85, 1.1)
    bars += _speed("causal N=2048 D=64", CAUSAL.format(2048, 64), 0.80, 1.5)
    bars += _speed("causal N=2048 D=128", CAUSAL.format(2048, 128), 0.80, 1.3)
    bars += _speed("dense N=512 D=64", DENSE.format(512, 64), 0.83, 1.25)
    bars += _speed("causal N=512 D=64", CAUSAL.format(512, 64), 0.75, 2.2)
    bars += _speed("ViT B=8 H=12 N=197", VIT, 0.65, 1.35)
    bars += _speed("cross N=77 M=4096", CROSS, 0.70, 1.4)
    bars += _speed("64 windows of 49", WINDOWS, 0.50, 2.0)
    bars += _speed("64 windows of 49, bias", WINDOWS + " bias=1", 0.50, 2.0)
    for m in (8192, 32768):
        bars += _speed(f"decode M={m}", DECODE.format(m), 0.85, 20)
        for dtype in ("bf16", "f16"):
            pair = (DECODE.format(m) + f" dtype={dtype}", DECODE.format(m))
            bars.append(Bar(f"decode M={m}, {dtype} over float", "faster", 1.7, pair))
    bars += _speed("causal window 256 N=4096", SLIDING, 0.70, 3.0)
    for label, workload, bound in (
        ("dense N=2048", DENSE.format(2048, 64), 1.85),
        ("causal N=2048", CAUSAL.format(2048, 64), 1.85),
        ("decode M=8192", DECODE.format(8192), 1.6),
    ):
        pair = (workload + " threads=2", workload + " wall=1")
        bars.append(Bar(f"{label}, 2 threads over 1", "faster", bound, pair))
    bars.append(Bar("AVX2 build, dense N=2048 D=64", "avx2", 0.80, (DENSE.format(2048, 64),)))
    for n in (1024, 2048, 4096):
        for d in (64, 128):
            bars += _speed(f"backward N={n} D={d}", DENSE.format(n, d) + " backward=1", 0.75, 1.2)
            bars.append(Bar(f"backward causal N={n} D={d}", "torch", 1.5, (CAUSAL.format(n, d) + " backward=1",)))
    pair = tuple(DENSE.format(2048, 64) + " backward=1" + how for how in (" threads=2", " wall=1"))
    bars.append(Bar("backward N=2048, 2 threads over 1", "faster", 1.85, pair))
    plain = DENSE.format(2048, 64)
    bars.append(Bar("user score against plain", "cost", 1.15, (plain + " score=1", plain)))
    return bars


BARS = _all()
