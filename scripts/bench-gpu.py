#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's flash attention on the GPU, in the shape of bench/gpu_attention.

bench-gpu.py [--tokens N] [--heads H] [--kv-heads H] [--head-dim D]
             [--dtype bf16|f16] [--causal] [--pairs P]

One line, as that program prints: median (least..most) of runs timed by the
device's events, after one that is not counted. Exit 77 without PyTorch, or
without a GPU that it can use.
"""
import argparse
import statistics
import sys


def arguments():
    parser = argparse.ArgumentParser()
    for name, usual in (("tokens", 16384), ("heads", 32), ("kv-heads", 8),
                        ("head-dim", 128), ("pairs", 9)):
        parser.add_argument("--" + name, type=int, default=usual)
    parser.add_argument("--dtype", choices=("bf16", "f16"), default="bf16")
    parser.add_argument("--causal", action="store_true")
    return parser.parse_args()


def main():
    o = arguments()
    try:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError as error:
        print(f"missing: PyTorch ({error})")
        sys.exit(77)
    if not torch.cuda.is_available():
        print("missing: a GPU that PyTorch can use")
        sys.exit(77)
    dtype = {"bf16": torch.bfloat16, "f16": torch.float16}[o.dtype]

    def tensor(heads):
        return torch.rand(1, heads, o.tokens, o.head_dim, device="cuda",
                          dtype=dtype) * 2 - 1

    q, k, v = tensor(o.heads), tensor(o.kv_heads), tensor(o.kv_heads)

    def seconds():
        begun, ended = (torch.cuda.Event(enable_timing=True)
                        for _ in range(2))
        begun.record()
        torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=o.causal, enable_gqa=o.heads != o.kv_heads)
        ended.record()
        ended.synchronize()
        return begun.elapsed_time(ended) * 1e-3

    seen = o.tokens * (o.tokens + 1) / 2 if o.causal else o.tokens ** 2
    flop = 4 * seen * o.head_dim * o.heads
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        seconds()
        rates = [flop / seconds() * 1e-12 for _ in range(o.pairs)]
    print(f"PyTorch {torch.__version__} flash  TFLOP/s "
          f"{statistics.median(rates):.1f} "
          f"({min(rates):.1f}..{max(rates):.1f})")


if __name__ == "__main__":
    main()
