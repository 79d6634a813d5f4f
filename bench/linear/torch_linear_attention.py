# SPDX-License-Identifier: Apache-2.0
"""The peer of bench/scan/linear_attention.cpp: causal linear attention in chunks, as einsums of PyTorch.

  python3 bench/linear/torch_linear_attention.py [--threads 1] [--chunk 64] [N ...]

One pass over the chunks: products of pairs within all chunks at once, the states before them by a cumulative sum, or one
chunk after the other. Prints the faster of the two, ns per token of a head.
"""

import argparse
import time

import torch


def with_ones(v):
    """The normaliser as one more column of the values."""
    return torch.cat([v, torch.ones_like(v[..., :1])], -1)


def all_chunks(q, k, v, chunk):
    """Everything at once: memory for N / chunk states of each head."""
    shape = (*q.shape[:2], -1, chunk, q.shape[-1])
    q, k = (x.reshape(shape) for x in (q, k))
    v = v.reshape(*shape[:-1], v.shape[-1])
    pairs = torch.einsum("bhcid,bhcjd->bhcij", q, k).tril()
    states = torch.einsum("bhcjd,bhcje->bhcde", k, v).cumsum(2).roll(1, 2)
    states[:, :, 0] = 0
    out = torch.einsum("bhcij,bhcje->bhcie", pairs, v) + torch.einsum("bhcid,bhcde->bhcie", q, states)
    return out.flatten(2, 3)


def chunk_by_chunk(q, k, v, chunk):
    """One state, carried along."""
    state = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1])
    out = torch.empty_like(v)
    for start in range(0, q.shape[2], chunk):
        part = slice(start, start + chunk)
        qs, ks, vs = q[:, :, part], k[:, :, part], v[:, :, part]
        pairs = torch.einsum("bhid,bhjd->bhij", qs, ks).tril()
        out[:, :, part] = torch.einsum("bhij,bhje->bhie", pairs, vs) + torch.einsum("bhid,bhde->bhie", qs, state)
        state += torch.einsum("bhjd,bhje->bhde", ks, vs)
    return out


def seconds(call, repetitions):
    call()
    times = []
    for _ in range(repetitions):
        start = time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
        call()
        end = time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
        times.append(end - start)
    return sorted(times)[len(times) // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokens", nargs="*", type=int, default=[4096, 16384, 65536])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--normalized", action="store_true", help="with the sum of the weights and the division by it")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    heads, width = 8, 64
    with torch.no_grad():
        for tokens in arguments.tokens:
            q, k, v = (torch.randn(1, heads, tokens, width) for _ in range(3))
            first = all_chunks(q, k, v, arguments.chunk)
            assert torch.allclose(first, chunk_by_chunk(q, k, v, arguments.chunk), rtol=1e-2, atol=1e-2 * tokens)

            def run(attend):
                if not arguments.normalized:
                    return attend(q, k, v, arguments.chunk)
                sums = attend(q, k, with_ones(v), arguments.chunk)
                return sums[..., :-1] / sums[..., -1:]

            best = min(seconds(lambda: run(attend), arguments.repetitions) for attend in (all_chunks, chunk_by_chunk))
            print(f"torch {torch.__version__} N={tokens} chunk={arguments.chunk} threads={arguments.threads} normalized={arguments.normalized} "
                  f"{1e3 * best:.1f} ms, {1e9 * best / (heads * tokens):.0f} ns/token")


main()
