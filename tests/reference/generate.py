#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/reference/cases/*.kvref: attention computed by PyTorch.

PyTorch is needed only here, never by the tests:

    python3 tests/reference/generate.py          write the cases that are
                                                 not there yet
    python3 tests/reference/generate.py --check  compute them again from the
                                                 committed inputs, compare

Inputs are drawn from a seeded generator and rounded to f32, bf16 or f16; what is
expected is computed in float64 from the rounded inputs, once with softmax and
logsumexp and once with scaled_dot_product_attention, or with plain sums of
exponentials where PyTorch lacks it or it lacks what the case is about; the two
must agree.

Container, little endian, each array padded with zeros to a multiple of 8:

    char  magic[8]   "KVRREF1\\0", or "KVRREF2\\0" where more follows
    u32   dtype      0 f32, 1 bf16, 2 f16: type of q, k, v
    u32   mask       0 full, 1 causal
    u32   q_tokens, kv_tokens
    u32   q_start, kv_start      global positions of the first q and kv token
    u32   q_heads, kv_heads
    u32   head_dim, value_dim
    f32   scale      0: 1 / sqrt(head_dim)
    u32   sequences  of a packed batch; 0: not packed
    f64   products   max over seen pairs of scale * sum_i |q_i * k_i|
    f32   softcap    these 16 bytes in KVRREF2 alone; 0: none
    u32   left + 1, right + 1    of the window; 0: without end
    u32   flags      1: sinks follow v; 2: v is k's first columns
    q     [q_tokens,  q_heads,  head_dim]   dtype
    k     [kv_tokens, kv_heads, head_dim]   dtype
    v     [kv_tokens, kv_heads, value_dim]  dtype
    sinks [q_heads]                         f32
    out   [q_tokens,  q_heads,  value_dim]  f32
    lse   [q_heads,   q_tokens]             f64
    cu_seqlens [sequences + 1]              u64, where there are sequences
"""
import pathlib
import struct
import sys

import torch
from torch.nn import functional

CASES = pathlib.Path(__file__).resolve().parent / "cases"
MAGIC = b"KVRREF1\0"
MAGIC_MORE = b"KVRREF2\0"
HEADER = struct.Struct("<8s10IfId")
MORE = struct.Struct("<f3I")
FLAG_SINKS = 1
FLAG_VALUES_IN_KEYS = 2
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
DTYPES = ["f32", "bf16"]  # of the first cases
MASKS = ["full", "causal"]


def case(dtype, mask, tokens, heads, dims, *, kv=None, start=(0, 0), scale=0.0,
         kind="normal", softcap=0.0, window=(-1, -1), sinks=False, packed=(),
         values_in_keys=False):
    q_heads, kv_heads = heads
    head_dim, value_dim = dims if isinstance(dims, tuple) else (dims, dims)
    return {"dtype": dtype, "mask": mask, "q_tokens": tokens,
            "kv_tokens": tokens if kv is None else kv, "q_start": start[0],
            "kv_start": start[1], "q_heads": q_heads, "kv_heads": kv_heads,
            "head_dim": head_dim, "value_dim": value_dim, "scale": scale,
            "kind": kind, "softcap": softcap, "window": window,
            "sinks": sinks, "packed": tuple(packed),
            "values_in_keys": values_in_keys}


def all_cases():
    """Every head_dim in both types under both masks, then the corners."""
    shapes = [(1, 257, (3, 3)), (3, 100, (4, 2)), (16, 257, (2, 1)),
              (32, 100, (2, 2)), (64, 33, (4, 2)), (80, 33, (1, 1)),
              (128, 21, (2, 1)), (256, 13, (2, 1))]
    for head_dim, tokens, heads in shapes:
        for dtype in DTYPES:
            for mask in MASKS:
                yield case(dtype, mask, tokens, heads, head_dim)
    for dtype in DTYPES:
        for mask in MASKS:
            yield case(dtype, mask, 7, (6, 2), 32)
            yield case(dtype, mask, 100, (2, 1), 16, kind="peaked")
        # one and two tokens: most ranks of a ring hold nothing
        yield case(dtype, "causal", 1, (2, 2), 64)
        yield case(dtype, "full", 2, (4, 1), 64)
        yield case(dtype, "causal", 2, (4, 4), 3)
        # one key head for all
        yield case(dtype, "causal", 33, (8, 1), 32)
        # values wider and narrower than keys
        yield case(dtype, "full", 33, (2, 1), (32, 80))
        yield case(dtype, "causal", 33, (2, 2), (80, 24))
        yield case(dtype, "causal", 50, (2, 1), (16, 1))
        # the caller's scale: larger, negative, tiny
        yield case(dtype, "causal", 33, (2, 2), 32, scale=0.75)
        yield case(dtype, "full", 33, (2, 2), 32, scale=-0.5)
        yield case(dtype, "full", 33, (2, 1), 16, scale=1e-4)
        # all scores equal; all strongly negative; growing with position
        yield case(dtype, "causal", 100, (2, 2), 16, kind="uniform")
        yield case(dtype, "full", 100, (2, 1), 16, kind="negative")
        yield case(dtype, "full", 100, (2, 1), 16, kind="rising")
        # a prompt's tail against all of its keys, and a single query
        yield case(dtype, "causal", 20, (4, 2), 32, kv=120, start=(100, 0))
        yield case(dtype, "causal", 1, (4, 2), 64, kv=77, start=(76, 0))
        # the first 9 queries see no key: 0 and -inf
        yield case(dtype, "causal", 33, (2, 1), 16, kv=24, start=(0, 9))
    # scores of a few units under caps below and above them
    for dtype in DTYPES:
        for mask in MASKS:
            yield case(dtype, mask, 100, (4, 2), 16, scale=1.0, softcap=2.0)
        yield case(dtype, "causal", 33, (2, 1), (80, 24), softcap=50.0)
        yield case(dtype, "full", 100, (2, 1), 16, kind="peaked", softcap=30.0)
    # f16, subnormal ones among them
    for head_dim, tokens, heads in shapes:
        for mask in MASKS:
            yield case("f16", mask, min(tokens, 64), heads, head_dim)
    yield case("f16", "causal", 33, (2, 2), (80, 24), softcap=50.0)
    yield case("f16", "full", 40, (4, 2), 16, scale=3.0, kind="tiny")
    yield case("f16", "causal", 20, (4, 2), 32, kv=120, start=(100, 0))
    # windows: narrow, one-sided, wider than a tile of keys, of a chunk
    for dtype in TYPES:
        for mask in MASKS:
            yield case(dtype, mask, 100, (4, 2), 16, window=(11, 5))
            yield case(dtype, mask, 33, (2, 1), (80, 24), window=(-1, 3))
        yield case(dtype, "full", 60, (2, 2), 32, window=(0, -1), softcap=2.0)
        yield case(dtype, "causal", 20, (4, 2), 32, kv=90, start=(100, 0),
                   window=(17, -1))
    yield case("f32", "causal", 700, (2, 1), 3, window=(300, 0))
    yield case("f32", "full", 50, (2, 1), 16, window=(0, 0))
    # sinks: about as large as scores, none, far below and far above
    for dtype in TYPES:
        for mask in MASKS:
            yield case(dtype, mask, 60, (6, 2), 16, sinks=True)
        yield case(dtype, "causal", 33, (6, 3), (80, 24), softcap=2.0,
                   scale=1.0, window=(11, -1), sinks=True)
        # the first 9 queries see no key: 0 and the sink
        yield case(dtype, "causal", 33, (6, 1), 16, kv=24, start=(0, 9),
                   kind="peaked", sinks=True)
    # wide heads: of latent attention, and the widest
    for dtype in TYPES:
        yield case(dtype, "causal", 12, (4, 1), (576, 512))
        yield case(dtype, "full", 7, (2, 1), (576, 512),
                   softcap=2.0)
        yield case(dtype, "causal", 20, (4, 2), (192, 128), window=(7, -1))
    yield case("bf16", "full", 6, (2, 2), 576)
    yield case("f32", "causal", 9, (1, 1), (1, 576))
    yield case("f16", "causal", 110, (1, 1), (575, 1))
    # packed sequences: of 0, 1, few and many tokens; of one each
    few = (0, 0, 1, 18, 51, 52, 52, 150)
    for dtype in TYPES:
        for mask in MASKS:
            yield case(dtype, mask, 150, (4, 2), 16, packed=few)
        yield case(dtype, "causal", 150, (2, 1), (32, 24), packed=few,
                   window=(9, 0), softcap=2.0)
    yield case("f32", "full", 150, (2, 2), 3, packed=few, window=(4, 7))
    yield case("f32", "causal", 30, (2, 1), 16, packed=range(31))
    # values in keys
    for dtype in TYPES:
        yield case(dtype, "causal", 10, (4, 1), (576, 512),
                   values_in_keys=True)
        yield case(dtype, "full", 40, (6, 2), (33, 19), values_in_keys=True,
                   sinks=True, window=(11, 5))
        yield case(dtype, "causal", 60, (2, 2), 16, values_in_keys=True)


def name_of(c):
    parts = [c["dtype"], c["mask"], f"q{c['q_tokens']}"]
    if c["kv_tokens"] != c["q_tokens"]:
        parts.append(f"kv{c['kv_tokens']}")
    if c["kv_start"]:
        parts.append(f"at{c['kv_start']}")
    parts += [f"h{c['q_heads']}x{c['kv_heads']}", f"d{c['head_dim']}"]
    if c["value_dim"] != c["head_dim"]:
        parts.append(f"v{c['value_dim']}")
    if c["scale"]:
        parts.append(f"s{c['scale']:g}")
    if c["window"] != (-1, -1):
        parts.append("w{}_{}".format(*c["window"]))
    if c["softcap"]:
        parts.append(f"cap{c['softcap']:g}")
    if c["values_in_keys"]:
        parts.append("ink")
    if c["sinks"]:
        parts.append("sinks")
    if c["kind"] != "normal":
        parts.append(c["kind"])
    if c["packed"]:
        parts.append(f"packed{len(c['packed']) - 1}")
    return "-".join(parts)


def draw(c, seed):
    """q, k, v rounded to the case's type, and sinks or None."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q = normal(c["q_tokens"], c["q_heads"], c["head_dim"])
    k = normal(c["kv_tokens"], c["kv_heads"], c["head_dim"])
    v = normal(c["kv_tokens"], c["kv_heads"], c["value_dim"])
    if c["values_in_keys"]:
        v = k[..., :c["value_dim"]]
    if c["kind"] == "peaked":
        q, k = 6 * q, 6 * k
    elif c["kind"] == "uniform":
        k = k[:1].expand_as(k)
    elif c["kind"] == "negative":
        q, k = 3 + q.abs(), -3 - k.abs()
    elif c["kind"] == "tiny":
        k, v = k * 2.0 ** -12, v * 2.0 ** -14
    elif c["kind"] == "rising":
        # the maximum moves with nearly every key, the hard case of an
        # online softmax
        q = q.abs()
        k = k.abs() * torch.linspace(0.0, 8.0, len(k))[:, None, None]
    sinks = None
    if c["sinks"]:
        sinks = 2 * normal(c["q_heads"]).float()
        sinks[2], sinks[-2], sinks[-1] = float("-inf"), -1e30, 150.0
    return [t.to(TYPES[c["dtype"]]).contiguous() for t in (q, k, v)] + [sinks]


def visible(c):
    rows = torch.arange(c["q_tokens"])[:, None] + c["q_start"]
    keys = torch.arange(c["kv_tokens"])[None, :] + c["kv_start"]
    left, right = c["window"]
    seen = keys <= rows if c["mask"] == "causal" else rows + keys >= 0
    if left >= 0:
        seen &= rows - keys <= left
    if right >= 0:
        seen &= keys - rows <= right
    if c["packed"]:
        lengths = torch.tensor(c["packed"]).diff()
        owner = torch.arange(len(lengths)).repeat_interleave(lengths)
        seen &= owner[:, None] == owner[None, :]
    return seen


def scale_of(c):
    scale = struct.unpack("<f", struct.pack("<f", c["scale"]))[0]
    return scale if scale else c["head_dim"] ** -0.5


def again(c, q, k, v, seen, scores):
    """The output of rows that see a key, in another way; without sinks."""
    if not c["softcap"] and hasattr(functional,
                                    "scaled_dot_product_attention"):
        return functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=seen, scale=scale_of(c))[0]
    weights = scores.exp()
    return torch.stack([weights[h] @ v[h] for h in range(len(v))]) \
        / weights.sum(dim=-1, keepdim=True)


def attend(c, q, k, v, sinks):
    """out [q, heads, value_dim], lse [heads, q], products; all float64."""
    q, k, v = (t.double().transpose(0, 1) for t in (q, k, v))
    group = c["q_heads"] // c["kv_heads"]
    k, v = (t.repeat_interleave(group, dim=0) for t in (k, v))
    seen, scale = visible(c), scale_of(c)
    scores = scale * (q @ k.transpose(1, 2))
    if c["softcap"]:
        scores = c["softcap"] * (scores / c["softcap"]).tanh()
    scores = scores.masked_fill(~seen, float("-inf"))
    alive = seen.any(dim=-1)
    second = again(c, q[:, alive], k, v, seen[alive], scores[:, alive])
    if sinks is not None:
        # one more column of scores, of a key without value
        column = sinks.double()[:, None, None].expand(-1, c["q_tokens"], 1)
        second *= (scores.logsumexp(dim=-1) - column[..., 0]).sigmoid()[
            :, alive, None]
        scores = torch.cat([scores, column], dim=-1)
        v = functional.pad(v, (0, 0, 0, 1))
    lse = scores.logsumexp(dim=-1)
    out = torch.zeros(len(q), c["q_tokens"], c["value_dim"],
                      dtype=torch.float64)
    out[:, alive] = scores[:, alive].softmax(dim=-1) @ v
    assert torch.allclose(out[:, alive], second, rtol=1e-12, atol=1e-13)
    assert not out.isnan().any() and not lse.isnan().any()
    unseen = torch.full((len(q),), float("-inf")) if sinks is None else sinks
    assert bool((lse[:, ~alive] == unseen.double()[:, None]).all())
    products = abs(scale) * (q.abs() @ k.abs().transpose(1, 2))
    products = products.masked_fill(~seen, 0.0).max().item()
    return out.transpose(0, 1).contiguous(), lse.contiguous(), products


def raw(tensor):
    if tensor.element_size() == 2:
        tensor = tensor.view(torch.int16)
    data = tensor.numpy().tobytes()
    return data + bytes(-len(data) % 8)


def encode(c, q, k, v, sinks):
    out, lse, products = attend(c, q, k, v, sinks)
    more = (c["softcap"], c["window"][0] + 1, c["window"][1] + 1,
            FLAG_SINKS * c["sinks"]
            + FLAG_VALUES_IN_KEYS * c["values_in_keys"])
    more = MORE.pack(*more) if any(more) else b""
    header = HEADER.pack(
        MAGIC_MORE if more else MAGIC, list(TYPES).index(c["dtype"]), MASKS.index(c["mask"]),
        c["q_tokens"], c["kv_tokens"], c["q_start"], c["kv_start"],
        c["q_heads"], c["kv_heads"], c["head_dim"], c["value_dim"],
        c["scale"], max(len(c["packed"]) - 1, 0), products)
    extra = [] if sinks is None else [sinks]
    packed = struct.pack(f"<{len(c['packed'])}Q", *c["packed"])
    return header + more + b"".join(
        map(raw, [q, k, v, *extra, out.float(), lse])) + packed


def decode(data):
    """The case and what follows its header, as tensors."""
    (magic, dtype, mask, q_tokens, kv_tokens, q_start, kv_start, q_heads,
     kv_heads, head_dim, value_dim, scale, sequences, _) = HEADER.unpack_from(data)
    assert magic in (MAGIC, MAGIC_MORE)
    softcap, window, flags, at = 0.0, (-1, -1), 0, HEADER.size
    if magic == MAGIC_MORE:
        softcap, left, right, flags = MORE.unpack_from(data, at)
        window = left - 1, right - 1
        at += MORE.size
    c = case(list(TYPES)[dtype], MASKS[mask], q_tokens, (q_heads, kv_heads),
             (head_dim, value_dim), kv=kv_tokens, start=(q_start, kv_start),
             scale=scale, softcap=softcap, window=window,
             sinks=bool(flags & FLAG_SINKS),
             values_in_keys=bool(flags & FLAG_VALUES_IN_KEYS))
    sinks = [(torch.float32, (q_heads,))] if c["sinks"] else []
    tensors = []
    for kind, shape in [
            (TYPES[c["dtype"]], (q_tokens, q_heads, head_dim)),
            (TYPES[c["dtype"]], (kv_tokens, kv_heads, head_dim)),
            (TYPES[c["dtype"]], (kv_tokens, kv_heads, value_dim)),
            *sinks,
            (torch.float32, (q_tokens, q_heads, value_dim)),
            (torch.float64, (q_heads, q_tokens))]:
        count = torch.Size(shape).numel()
        tensors.append(torch.frombuffer(
            bytearray(data), dtype=kind, count=count, offset=at).view(shape))
        at += (count * tensors[-1].element_size() + 7) // 8 * 8
    if sequences:
        c["packed"] = struct.unpack_from(f"<{sequences + 1}Q", data, at)
        at += 8 * (sequences + 1)
    assert at == len(data)
    return c, tensors


def check(path):
    c, (q, k, v, *sinks, out, lse) = decode(path.read_bytes())
    expected_out, expected_lse, _ = attend(c, q, k, v, *(sinks or [None]))
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
    names = set()
    for seed, c in enumerate(all_cases()):
        path = CASES / f"{name_of(c)}.kvref"
        assert path not in names, path
        names.add(path)
        if not path.exists():
            path.write_bytes(encode(c, *draw(c, seed)))
            print(f"{path.name} by PyTorch {torch.__version__}")
    print(f"{len(names)} cases")


if __name__ == "__main__":
    main()
