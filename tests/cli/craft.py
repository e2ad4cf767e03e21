#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the good and the lying safetensors files of tests/cli/files.sh.

Each file gets a name that says what is wrong with it.
"""
import json
import struct

TOKENS, HEADS, DIM = 5, 4, 8


def tensor(shape, begin, dtype="F32", size=4):
    count = size
    for extent in shape:
        count *= extent
    return {"dtype": dtype, "shape": shape,
            "data_offsets": [begin, begin + count]}


def header(q=None, k=None, v=None, dtype="F32", size=4):
    q = q or [TOKENS, HEADS, DIM]
    k = k or [TOKENS, HEADS, DIM]
    v = v or k
    out, at = {}, 0
    for name, shape in (("q", q), ("k", k), ("v", v)):
        out[name] = tensor(shape, at, dtype, size)
        at = out[name]["data_offsets"][1]
    return out, at


def write(name, text, data, length=None):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    with open(name + ".st", "wb") as file:
        file.write(struct.pack("<Q", len(text) if length is None else length))
        file.write(text + bytes(data))


def changed(name, change, **arguments):
    good, size = header(**arguments)
    size = change(good, size) or size
    write(name, good, size)


def set_offsets(which, begin, end):
    def change(good, _):
        good[which]["data_offsets"] = [begin, end]
    return change


def packed(name, values, dtype="I32", shape=None):
    """q, k and v as ever, and these offsets as they are."""
    good, size = header()
    data = b"".join(value.to_bytes(int(dtype[1:]) // 8, "little", signed=True)
                    for value in values)
    good["cu_seqlens"] = {"dtype": dtype, "shape": [len(values)] if shape is None else shape,
                          "data_offsets": [size, size + len(data)]}
    write(name, good, bytes(size) + data)


def sinks(name, shape, dtype="F32", data=None):
    text, size = header()
    text["sinks"] = tensor(shape, size, dtype)
    data = data or bytes(text["sinks"]["data_offsets"][1] - size)
    write(name, text, bytes(size) + data)


def main():
    packed("good-packed", [0, 2, 2, 5])
    packed("good-packed-wide", [0, 2, 2, 5], "I64")
    packed("late", [1, 3, 5])
    packed("negative-first", [-(2**31), 3, 5])
    packed("falling", [0, 3, 2, 5])
    packed("negative", [0, -1, 5])
    packed("negative-wide", [0, -(2**63), 5], "I64")
    packed("short-packed", [0, 2, 4])
    packed("long-packed", [0, 2, 6])
    packed("far-packed", [0, 2**63 - 1], "I64")
    packed("small-dtype", [0, 2, 5], "I16")
    packed("two-axes", [0, 2, 3, 5], "I32", [2, 2])
    packed("no-axis", [0], "I32", [])
    packed("one-offset", [0])
    packed("no-offsets", [])
    good, size = header()
    write("good", good, size)
    write("empty-header", b"", 0)
    write("not-json", b"this is no header", size)
    write("array", [1, 2], 0)
    write("long-header", good, 0, 2**40)
    write("header-past-end", good, 0, 10**6)
    write("truncated", good, size - 1)
    write("trailing", good, size + 1)
    one = json.dumps(good["q"])
    write("duplicate", f'{{"q":{one},"q":{one}}}'.encode(), size)
    changed("overlap", set_offsets("k", 600, 1240))
    changed("past-end", set_offsets("v", 1280, 1920000))
    changed("backwards", set_offsets("v", 1920, 1280))
    changed("no-v", lambda g, s: g.pop("v") and s // 3 * 2)
    changed("wrong-dtype", lambda g, s: None, dtype="F64", size=8)
    changed("two-dtypes", lambda g, s: g["v"].update(
        tensor([TOKENS, HEADS, DIM], 1280, "BF16", 2)) or s - 320)
    changed("flat", lambda g, s: None, q=[TOKENS, HEADS * DIM])
    changed("no-tokens", lambda g, s: None, q=[0, 4, 8], k=[0, 4, 8])
    changed("wide", lambda g, s: None, q=[2, 2, 577], k=[2, 2, 577])
    changed("more-keys", lambda g, s: None, k=[6, 4, 8])
    changed("other-dim", lambda g, s: None, q=[5, 4, 16])
    changed("other-v-heads", lambda g, s: None, v=[5, 2, 8])
    changed("other-v-tokens", lambda g, s: None, v=[4, 4, 8])
    changed("indivisible", lambda g, s: None, k=[5, 3, 8])
    changed("fewer-q-heads", lambda g, s: None, q=[5, 2, 8])
    sinks("other-sinks", [3])
    sinks("sinks-of-rows", [HEADS, 1])
    sinks("wrong-sinks", [HEADS], "I32")
    sinks("infinite-sink", [HEADS],
          data=struct.pack("<4f", 0, -float("inf"), float("inf"), 1e30))
    changed("huge-shape", lambda g, s: g["q"].update(
        shape=[2**62, 4, 1]))
    changed("wrong-size", lambda g, s: g["q"].update(
        shape=[TOKENS, HEADS, DIM - 1]))


if __name__ == "__main__":
    main()
