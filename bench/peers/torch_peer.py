# SPDX-License-Identifier: Apache-2.0
"""The workloads of attention/workloads.hpp through PyTorch's scaled_dot_product_attention, when it can be imported."""

import time

try:
    import torch
    from torch.nn.functional import scaled_dot_product_attention
except ImportError:
    torch = None


def version():
    return torch.__version__ if torch else None


def parse(name):
    values = dict(B=1, H=1, N=1, M=1, D=64, causal=0, window=0, bias=0, score=0, backward=0, threads=1, wall=0, dtype="f32")
    for word in name.split()[1:]:
        key, value = word.split("=")
        values[key] = value if key == "dtype" else int(value)
    values.setdefault("Hkv", values["H"])
    return values


def _masks(w):
    """The ways to say the workload's mask or bias; the fastest is the one that counts."""
    n, m = w["N"], w["M"]
    query, key = torch.arange(n)[:, None] + (m - n), torch.arange(m)[None, :]
    if w["bias"]:
        return [torch.randn(1, w["H"], n, m)]
    if w["score"]:
        return [(query - key).float() * 0.01]
    if w["window"]:
        visible = (key <= query) & (key > query - w["window"])
        return [visible, torch.zeros(n, m).masked_fill(~visible, float("-inf"))]
    if w["causal"] and n != m:  # is_causal counts from the other corner
        return [key <= query]
    return [None]


class TorchCall:
    """Times one repetition at a time, as bench::Timed does."""

    def __init__(self, name):
        w = parse(name)
        self.threads = w["threads"]
        self.clock = time.thread_time if self.threads == 1 and not w["wall"] else time.perf_counter
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[w["dtype"]]
        torch.manual_seed(1)
        q = torch.randn(w["B"], w["H"], w["N"], w["D"]).to(dtype)
        k, v = (torch.randn(w["B"], w["Hkv"], w["M"], w["D"]).to(dtype) for _ in range(2))
        options = {}
        if w["Hkv"] != w["H"]:
            options["enable_gqa"] = True
        if w["score"]:
            options["scale"] = 0.5 / w["D"] ** 0.5
        self.candidates = []
        for mask in _masks(w):
            if mask is None:
                causal = bool(w["causal"])
                self.candidates.append(lambda: scaled_dot_product_attention(q, k, v, is_causal=causal, **options))
            else:
                mask = mask if mask.dtype == torch.bool else mask.to(dtype)
                self.candidates.append(
                    lambda mask=mask: scaled_dot_product_attention(q, k, v, attn_mask=mask, **options)
                )
        self.call, self.count = None, 1
        self.mode = torch.inference_mode
        if w["backward"]:
            # The backward alone: the forward's results are kept, as they are by the other side.
            self.mode = torch.enable_grad
            inputs = [x.requires_grad_() for x in (q, k, v)]
            d_out = torch.randn(w["B"], w["H"], w["N"], w["D"])
            with torch.enable_grad():
                forward = self.candidates[0]()
            self.candidates = [lambda: torch.autograd.grad(forward, inputs, d_out, retain_graph=True)]
        torch.set_num_threads(self.threads)
        with self.mode():
            once = []
            for call in self.candidates:
                call()
                once.append(min(self._seconds(call, 1) for _ in range(2)))
        self.once = min(once)
        self.call = self.candidates[once.index(self.once)]
        self.count = max(1, int(0.01 / max(self.once, 1e-7)))

    def _seconds(self, call, count):
        start = self.clock()
        for _ in range(count):
            call()
        return (self.clock() - start) / count

    def repetition(self):
        torch.set_num_threads(self.threads)
        with self.mode():
            if self.once < 0.2:
                self.call()
            return self._seconds(self.call, self.count)
