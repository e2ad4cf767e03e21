#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What must work: any n, every option, two runs at once; and what it prints.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

sum() {
	sha256sum "$1" | cut -d ' ' -f 1
}

verifies() { # argument...
	works attention "$@" --verify
	grep -qx verified <<<"$printed" || die "not verified: $printed"
}

# The same options, the same bytes; another seed, others.
works random a.st --tokens 300 --q-heads 6 --kv-heads 2 --head-dim 20 \
	--value-dim 12 --seed 5
works random b.st --tokens 300 --q-heads 6 --kv-heads 2 --head-dim 20 \
	--value-dim 12 --seed 5
works random c.st --tokens 300 --q-heads 6 --kv-heads 2 --head-dim 20 \
	--value-dim 12 --seed 6
[ "$(sum a.st)" = "$(sum b.st)" ] || die "a seed gave two files"
[ "$(sum a.st)" != "$(sum c.st)" ] || die "two seeds gave one file"
# Of every machine and version; made apart from the command, in Python.
expected=d4d446d30c272b0a1a134a09014e0cfc9bb1a0a2dd6fc8bf8aba0b6fb30ec53c
[ "$(sum a.st)" = $expected ] ||
	die "the file of seed 5 changed: $(sum a.st)"

# No chunk is needed where nothing is sent.
works random d.st --tokens 2000 --q-heads 1 --head-dim 64
fails 2 "--chunk: 1 bytes cut a block of [0-9]+ into more" \
	attention d.st -o out.st -n 2 --chunk 1
verifies d.st -o out.st -n 1 --chunk 1 --slots 1
rm d.st

for n in 1 2 3 5; do
	verifies a.st -o out.st -n $n
	verifies a.st -o out.st -n $n --causal --partition zigzag
done
verifies a.st -o out.st -n 2 --slots 1 --scale 0.3 --threads 2
verifies a.st -o capped.st -n 3 --causal --softcap 0.5
works attention a.st -o out.st -n 3 --causal
! cmp -s out.st capped.st || die "--softcap changes nothing"
rm capped.st
# Sinks: of any type, counted by the oracle as by the ring.
for dtype in f32 bf16 f16; do
	works random sinks.st --tokens 90 --q-heads 6 --kv-heads 2 \
		--head-dim 20 --dtype $dtype --sinks
	verifies sinks.st -o out.st -n 3 --causal --partition zigzag
	works random plain.st --tokens 90 --q-heads 6 --kv-heads 2 \
		--head-dim 20 --dtype $dtype
	works attention plain.st -o capped.st -n 3 --causal --partition zigzag
	! cmp -s out.st capped.st || die "sinks change nothing"
done
rm sinks.st plain.st capped.st
# Wide heads, of latent attention and the widest.
for dims in "576 512" "192 128" "576 576" "1 576" "575 1"; do
	# shellcheck disable=SC2086 # two words
	set -- $dims
	works random wide.st --tokens 50 --q-heads 4 --kv-heads 1 \
		--head-dim "$1" --value-dim "$2" --dtype bf16
	verifies wide.st -o out.st -n 3 --causal --partition zigzag
done
rm wide.st
# A prompt in chunks over pages is one pass, to the bit; of odd pages, nearly.
for n in 1 2 4; do
	works attention a.st -o one.st -n $n --causal
	verifies a.st -o out.st -n $n --causal --chunks 64 --page-tokens 16
	cmp one.st out.st || die "chunks changed bits"
	grep -qF "(64 chunks: " <<<"$printed" || die "no chunks: $printed"
done
rm one.st
verifies a.st -o out.st -n 3 --causal --chunks 7 --page-tokens 5 \
	--partition zigzag --window 70,0 --softcap 0.5
# More chunks than tokens, and more ranks than a chunk has tokens.
verifies a.st -o out.st -n 3 --causal --chunks 1000
works attention a.st -o out.st -n 2 --causal --chunks 3 --json
python3 -c '
import json, sys
report = json.load(sys.stdin)
assert (report["options"]["chunks"], report["options"]["page_tokens"]) == (3, 64)
for rank in report["ranks"]:
    assert rank["timeline"] == [] and rank["steps"] >= 3
    assert rank["pass_seconds"] >= rank["compute_seconds"]
' <<<"$printed" || die "of chunks: $printed"
# Values in keys: 40 of 72 columns travel.
works random keys.st --tokens 300 --q-heads 4 --kv-heads 1 --head-dim 40 \
	--no-v --sinks --dtype bf16
! grep -aq '"v":' keys.st || die "a v in spite of --no-v"
works random both.st --tokens 300 --q-heads 4 --kv-heads 1 --head-dim 40 \
	--value-dim 32 --sinks --dtype bf16
for options in "" "--causal --partition zigzag --window 77,0 --softcap 3"; do
	# shellcheck disable=SC2086 # several words
	verifies keys.st -o out.st -n 3 --values-in-keys 32 $options
done
received() { # argument...: sets bytes
	works attention "$@" -o out.st -n 3 --json
	bytes=$(python3 -c '
import json, sys
print(sum(r["bytes_received"] for r in json.load(sys.stdin)["ranks"]))
' <<<"$printed")
}
received both.st
with=$bytes
received keys.st --values-in-keys 32
[ $((with * 40)) -eq $((bytes * 72)) ] ||
	die "$bytes bytes without values, $with with"
rm keys.st both.st
# Codes of 8 bits: half of bf16, near the answer, and not it; and checksums,
# which change nothing.
for n in 1 2 5; do
	verifies a.st -o coded.st -n $n --kv-wire fp8 --causal --integrity \
		--chunk 999 --partition zigzag --window 50,-1 --softcap 3
done
works attention a.st -o out.st -n 3 --causal
works attention a.st -o sealed.st -n 3 --causal --integrity
cmp out.st sealed.st || die "--integrity changes something"
works attention a.st -o coded.st -n 3 --causal --kv-wire fp8
! cmp -s out.st coded.st || die "--kv-wire changes nothing"
works attention a.st -o coded.st -n 3 --causal --kv-wire input
cmp out.st coded.st || die "--kv-wire input changes something"
rm sealed.st coded.st
# A window, and no more hops than it needs: shards are of 60 tokens.
for window in 0,0 5,3 100,-1 -1,7 400,400; do
	verifies a.st -o out.st -n 3 --window $window
	verifies a.st -o out.st -n 3 --window $window --causal \
		--partition zigzag
done
hops() { # hops, window
	works attention a.st -o out.st -n 5 --causal --window "$2" --json \
		--verify
	python3 -c '
import json, sys
report = json.load(sys.stdin)
assert report["verification"]["verified"]
for rank in report["ranks"]:
    assert rank["steps"] == len(rank["timeline"]) == int(sys.argv[1]) + 1
    assert (rank["bytes_received"] > 0) == (int(sys.argv[1]) > 0), rank
' "$1" <<<"$printed" || die "window $2: $printed"
}
hops 0 0,0
hops 1 1,0
hops 1 60,-1
hops 2 61,0
hops 3 180,5
hops 4 181,0
hops 4 -1,-1
verifies a.st -o out.st -n 3 --slots 5 --chunk 1000 --transport shm \
	--timeout 5
works random bf16.st --tokens 100 --q-heads 2 --head-dim 64 --dtype bf16
verifies bf16.st -o out.st -n 2
size=$(stat -c %s out.st)
verifies bf16.st -o out.st -n 2 --f32-output
[ "$(stat -c %s out.st)" -gt "$size" ] || die "--f32-output is not larger"
works random f16.st --tokens 100 --q-heads 2 --head-dim 64 --dtype f16
verifies f16.st -o out.st -n 2 --causal
grep -aq '"out":{"dtype":"F16"' out.st || die "out is not F16"
verifies f16.st -o out.st -n 2 --f32-output
rm f16.st

# More ranks than tokens: those left over have nothing and take part.
works random tiny.st --tokens 3 --q-heads 1 --head-dim 4
verifies tiny.st -o out.st -n 8 --causal
verifies tiny.st -o out.st -n 8 --partition zigzag
works random one.st --tokens 1 --q-heads 1 --head-dim 1
verifies one.st -o out.st -n 2

# A header that leaves the data unaligned.
python3 - <<'END'
import json, struct
with open("a.st", "rb") as file:
    size, = struct.unpack("<Q", file.read(8))
    header, data = file.read(size).rstrip(), file.read()
header += b" " * ((1 - len(header)) % 4)
with open("unaligned.st", "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header + data)
END
works attention a.st -o aligned-out.st -n 3
verifies unaligned.st -o out.st -n 3
cmp aligned-out.st out.st || die "unaligned input, another result"

# One object of JSON that agrees with the table.
works attention a.st -o out.st -n 3 --causal --json --verify
python3 -c '
import json, sys
report = json.load(sys.stdin)
assert report["verification"]["verified"] is True
assert report["verification"]["rows"] == 300
assert report["options"]["n"] == 3 and report["options"]["causal"] is True
ranks = report["ranks"]
assert [r["rank"] for r in ranks] == [0, 1, 2]
assert sum(r["tokens"] for r in ranks) == 300
for rank in ranks:
    assert rank["steps"] == 3 and len(rank["timeline"]) == 3
    assert rank["bytes_received"] > 0 and rank["pss_bytes"] > 0
    assert rank["rnr_naks"] == 0
    for step in rank["timeline"]:
        assert step["asked_ns"] <= step["ready_ns"] <= step["released_ns"]
' <<<"$printed" || die "$printed"
works info --json
python3 -c '
import json, sys
info = json.load(sys.stdin)
assert any(k["usable"] for k in info["kernels"])
assert any(t["name"] == "shm" and t["usable"] for t in info["transports"])
' <<<"$printed" || die "$printed"

# The table has a line for each rank, and a bar in it.
works attention a.st -o out.st -n 3
[ "$(grep -cE '^ +[0-2] +3 .*[#.]' <<<"$printed")" -eq 3 ] || die "$printed"
! grep -qw verified <<<"$printed" || die "verified what was not"

# Peak PSS: q and out, 8 MiB each, a block and two slots, 16 MiB each (the
# slots of two ranks, mapped by both), and the accumulator in f32; with what a
# process has anyway, not much more; and the same for each rank and run, though
# rank 0 has done its half long before rank 1.
works random large.st --tokens 512 --q-heads 32 --head-dim 256
for run in 1 2; do
	works attention large.st -o large-out.st -n 2 --causal --threads 1 \
		--json
	python3 -c '
import json, sys
mib = [r["pss_bytes"] / 2**20 for r in json.load(sys.stdin)["ranks"]]
print(mib)
assert 72 <= min(mib) and max(mib) <= 88 and max(mib) - min(mib) < 2, mib
' <<<"$printed" || die "peak PSS of run $run"
done
rm large.st large-out.st

# Two runs at once in one directory, also into one file: a whole one stays.
expected=$(sum out.st)
for i in 1 2 3 4; do
	"$kvring" attention a.st -o same.st -n 3 >/dev/null &
	"$kvring" attention a.st -o "other$i.st" -n 3 >/dev/null &
done
wait
for name in same.st other1.st other2.st other3.st other4.st; do
	[ "$(sum "$name")" = "$expected" ] || die "$name differs"
done
only a.st b.st c.st bf16.st tiny.st one.st unaligned.st aligned-out.st out.st \
	same.st other1.st other2.st other3.st other4.st

# Standard output that takes nothing is a failure, and no output is left.
rm out.st
status=0
"$kvring" attention a.st -o out.st -n 2 >/dev/full 2>err || status=$?
[ $status -eq 1 ] || die "a full standard output exited with $status"
grep -q "^kvring: standard output: cannot be written: No " err ||
	die "$(cat err)"
[ "$(wc -l <err)" -eq 1 ] || die "said twice: $(cat err)"
[ ! -e out.st ] || die "an output in spite of it"
