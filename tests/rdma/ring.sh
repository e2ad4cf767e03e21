#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Rings in one guest: any size, both ways to connect, two rails with two queue
# pairs each. The bits are those of shared memory; nothing stays.
# shellcheck source=tests/rdma/lib.bash
. "$KVRING_SOURCE/tests/rdma/lib.bash" || exit 1

small_input in.st
before=$(resources)

for n in 1 2 3 4; do
	verified shm-$n.st -n $n --transport shm
	for way in verbs verbs-exchange; do
		verified $way-$n.st -n $n --transport $way
		cmp shm-$n.st $way-$n.st || die "n = $n: $way differs"
	done
done
verified sealed.st -n 3 --transport verbs --chunk 512 --integrity
cmp shm-3.st sealed.st || die "with integrity verbs differs"
export KVRING_DEVICE=rxe0,rxe1 KVRING_QPS=2 KVRING_SECRET=barley
for way in verbs verbs-exchange; do
	verified rails.st -n 4 --transport $way --chunk 512 --slots 3
	cmp shm-4.st rails.st || die "over two rails $way differs"
done
"$KVRING_BUILD/tests/ring/ring_leave" verbs verbs-exchange ||
	die "the last to leave is kept"
same_resources "$before"
no_rnr
echo "ok: n = 1 to 4, two rails, with integrity, same bits"

# Each with the thing that is wrong and what to do.
refuses() { # pattern, variable=value..., arguments
	local pattern=$1 status=0
	shift
	timeout 60 env "$@" >out 2>&1 || status=$?
	case $status in
	0 | 124) die "not refused: $* ($(cat out))" ;;
	esac
	grep -qE -- "$pattern" out || die "$*: $(cat out)"
	echo "ok: $(grep -E -- "$pattern" out | head -n 1)"
}

unset KVRING_SECRET KVRING_QPS KVRING_DEVICE
run=(kvring attention in.st -o out.st -n 2 --timeout 10 --transport)
refuses "no usable device 'mlx9'; there is rxe" KVRING_DEVICE=mlx9 \
	"${run[@]}" verbs
refuses "KVRING_QPS: '9' is not a whole number" KVRING_QPS=9 "${run[@]}" verbs
refuses "a GID index goes with verbs-exchange" KVRING_GID_INDEX=1 \
	"${run[@]}" verbs
refuses "GID that was asked for" KVRING_GID_INDEX=77 "${run[@]}" verbs-exchange
refuses "exceeds what rxe. sends at once" A=1 "${run[@]}" verbs \
	--chunk 16M
# The limit of locked memory, as a user who has no privileges meets it.
poor=(setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock
	bash -c 'ulimit -l 64; exec "$@"' -)
refuses "raise the memlock limit" A=1 "${poor[@]}" "${run[@]}" verbs

# A ring that needs no RDMA does not suffer from what RDMA lacks: blocks are
# larger than the limit.
kvring random big.st --tokens 300 --q-heads 4 --kv-heads 4 --head-dim 64 \
	--dtype f32 --seed 2
kvring attention big.st -o want.st -n 2 --causal --transport shm
"${poor[@]}" kvring attention big.st -o out.st -n 2 --causal >table ||
	die "shm does not work where RDMA does not"
grep -q ', shm$' table || die "$(cat table)"
cmp want.st out.st || die "another result"
echo "ok: shm beside a device that may lock nothing"
