#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Packed sequences and partitions: every one is what the oracle says, for rings
# of one to eight ranks, and what each sequence gives alone.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

verifies() { # argument...
	works attention "$@" --verify
	grep -qx verified <<<"$printed" || die "$*: $printed"
}

shape="--q-heads 4 --kv-heads 2 --head-dim 12 --value-dim 20"
# shellcheck disable=SC2086 # $shape is several words
{
	works random packed.st --tokens 300 $shape --sequences 40 --seed 3
	works random again.st --tokens 300 $shape --sequences 40 --seed 3
	works random other.st --tokens 300 $shape --sequences 40 --seed 4
	works random one.st --tokens 300 $shape --seed 3
	works random given.st --tokens 9 $shape --cu-seqlens 0,0,1,5,5,9
	works random half.st --tokens 100 $shape --dtype bf16 --sequences 7
}
cmp packed.st again.st || die "a seed gave two files"
! cmp -s packed.st other.st || die "two seeds gave one file"
rm again.st other.st

# What is in them, by a reader of our own.
cat >read.py <<'END'
import json, struct, sys

def read(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])])
            for name, t in header.items()}

def offsets(path):
    dtype, shape, data = read(path)["cu_seqlens"]
    return dtype, list(struct.unpack("<%di" % shape[0], data))

def write(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)
END
python3 - <<'END'
from read import offsets, read, write
assert offsets("given.st") == ("I32", [0, 0, 1, 5, 5, 9])
dtype, at = offsets("packed.st")
assert dtype == "I32" and len(at) == 41 and at[0] == 0 and at[-1] == 300
assert at == sorted(at) and len(set(at)) > 30
packed, one = read("packed.st"), read("one.st")
assert [packed[name] for name in "qkv"] == [one[name] for name in "qkv"]
# The same as I64, last in the file, and in its middle a boundary of bytes.
import struct
wide = {"q": packed["q"], "k": packed["k"], "v": packed["v"],
        "note": ("U8", [3], b"abc"),
        "cu_seqlens": ("I64", [41], struct.pack("<41q", *at))}
write("wide.st", wide)
END

for n in 1 2 3 4 5 8; do
	for how in contiguous zigzag interleave:7; do
		verifies packed.st -o out.st -n $n --partition $how
		verifies packed.st -o out.st -n $n --partition $how --causal
	done
done
for how in contiguous zigzag interleave:3 interleave:40; do
	verifies packed.st -o out.st -n 5 --partition $how --window 3,2
	verifies packed.st -o out.st -n 3 --partition $how --causal \
		--window 11,0 --softcap 2 --scale 0.7
	verifies half.st -o out.st -n 3 --partition $how --causal
	# Nothing packed.
	verifies one.st -o out.st -n 5 --partition $how --causal
done
verifies one.st -o out.st -n 2 --partition interleave
works attention packed.st -o out.st -n 3 --causal
works attention wide.st -o wide-out.st -n 3 --causal
cmp out.st wide-out.st || die "I64 gives another result than I32"
works attention one.st -o one-out.st -n 3 --causal
! cmp -s out.st one-out.st || die "cu_seqlens changes nothing"

# More ranks than tokens, sequences of 0 and 1 tokens, stripes beyond all.
for how in contiguous zigzag interleave:1 interleave:1000000; do
	verifies given.st -o out.st -n 8 --partition $how
	verifies given.st -o out.st -n 12 --causal --partition $how
done

# Each sequence alone, to the bit.
works attention packed.st -o out.st -n 1 --causal
python3 - <<'END'
from read import offsets, read, write
packed = read("packed.st")
for i, (first, end) in enumerate(zip(offsets("packed.st")[1],
                                     offsets("packed.st")[1][1:])):
    if first < end:
        alone = {}
        for name in "qkv":
            dtype, shape, data = packed[name]
            row = 4 * shape[1] * shape[2]
            alone[name] = (dtype, [end - first] + shape[1:],
                           data[first * row:end * row])
        write(f"s{i}.st", alone)
END
for file in s*.st; do
	works attention "$file" -o "$file.out" -n 1 --causal
done
python3 - <<'END'
import os
from read import offsets, read
whole = read("out.st")["out"][2]
row, seen = 4 * 4 * 20, 0
at = offsets("packed.st")[1]
for i, (first, end) in enumerate(zip(at, at[1:])):
    if first < end:
        seen += 1
        assert read(f"s{i}.st.out")["out"][2] == whole[first * row:end * row], i
assert seen > 30
END
rm s*.st s*.st.out

# Sequences that end with the shards: nobody needs another's block.
# shellcheck disable=SC2086 # $shape is several words
works random ends.st --tokens 300 $shape --cu-seqlens 0,30,75,150,225,300
works attention ends.st -o out.st -n 4 --verify --json
python3 -c '
import json, sys
report = json.load(sys.stdin)
assert report["verification"]["verified"]
assert report["input"]["sequences"] == 5
assert report["options"]["stripe"] is None
pairs = sum(t * t for t in (30, 45, 75, 75, 75))
assert abs(report["gflop"] - 2e-9 * pairs * 4 * 32) < 1e-12, report["gflop"]
for rank in report["ranks"]:
    assert rank["steps"] == 1 and rank["bytes_received"] == 0, rank
' <<<"$printed" || die "$printed"
# 4 tokens back of a sequence that two ranks share: one hop.
works attention ends.st -o out.st -n 8 --causal --window 4,0 --json \
	--partition interleave:64
python3 -c '
import json, sys
report = json.load(sys.stdin)
assert report["options"]["partition"] == "interleave"
assert report["options"]["stripe"] == 64
assert [r["tokens"] for r in report["ranks"]] == [64] * 4 + [44, 0, 0, 0]
assert all(r["steps"] == 2 for r in report["ranks"])
' <<<"$printed" || die "$printed"
works attention packed.st -o out.st -n 2
grep -q "^300 tokens of 40 sequences in " <<<"$printed" || die "$printed"
works attention one.st -o out.st -n 2
grep -q "^300 tokens in " <<<"$printed" || die "$printed"
