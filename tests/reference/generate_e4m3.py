#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/reference/e4m3/*.kvref: attention of what e4m3 codes stand for.

As generate.py, whose container, inputs and --check these cases share; but what
is expected is computed from K and V that PyTorch's float8_e4m3fn rounded, with
the scale of each head the largest size / 448, in f32. Needs PyTorch 2.1.
"""
import pathlib
import sys

import torch

import generate

CASES = pathlib.Path(__file__).resolve().parent / "e4m3"


def all_cases():
    case = generate.case
    for dtype in generate.TYPES:
        for mask in generate.MASKS:
            yield case(dtype, mask, 70, (4, 2), 32)
            yield case(dtype, mask, 33, (2, 1), (80, 24))
        yield case(dtype, "causal", 40, (2, 2), 16, softcap=5.0,
                   window=(11, -1))
        yield case(dtype, "full", 5, (1, 1), 64, kv=300, kind="rising")
        yield case(dtype, "causal", 1, (4, 2), 64, kv=77, start=(76, 0))


def coded(tensor):
    """[tokens, heads, dim] by way of e4m3, in f32."""
    wide = tensor.float()
    scale = wide.abs().amax(dim=(0, 2), keepdim=True) / 448
    return (wide / scale).to(torch.float8_e4m3fn).float() * scale


def encode(c, q, k, v, sinks):
    """As generate.encode; the file has k and v as they were."""
    given = generate.attend
    generate.attend = lambda c, q, k, v, sinks: given(
        c, q, coded(k), coded(v), sinks)
    try:
        return generate.encode(c, q, k, v, sinks)
    finally:
        generate.attend = given


def check(path):
    c, (q, k, v, out, lse) = generate.decode(path.read_bytes())
    expected_out, expected_lse, _ = generate.attend(
        c, q, coded(k), coded(v), None)
    torch.testing.assert_close(out.double(), expected_out, rtol=1e-7,
                               atol=1e-12)
    torch.testing.assert_close(lse, expected_lse, rtol=1e-12, atol=1e-12)


def main():
    if sys.argv[1:] == ["--check"]:
        paths = sorted(CASES.glob("*.kvref"))
        for path in paths:
            check(path)
        print(f"{len(paths)} cases agree with PyTorch {torch.__version__}")
        return
    CASES.mkdir(exist_ok=True)
    for seed, c in enumerate(all_cases()):
        path = CASES / f"{generate.name_of(c)}.kvref"
        if not path.exists():
            path.write_bytes(encode(c, *generate.draw(c, 5000 + seed)))
            print(f"{path.name} by PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
