#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A ring over two hosts, the same command on each: two ranks here, two there.
# Runs in both guests; what it prints on the second is marked so.
# shellcheck source=tests/rdma/lib.bash
. "$KVRING_SOURCE/tests/rdma/lib.bash" || exit 1

small_input in.st
hosts=(-n 4 --hosts "$KVR_ADDRESS_1,$KVR_ADDRESS_2" --join-timeout 60)
before=$(resources)

# Within a host over shm, between them over RDMA: chosen by itself.
verified mixed.st "${hosts[@]}" --port 18001
port=18002
for way in verbs verbs-exchange; do
	verified $way.st "${hosts[@]}" --transport $way --port $port
	port=$((port + 1))
done
export KVRING_DEVICE=rxe0,rxe1 KVRING_QPS=2 KVRING_SECRET=barley
verified rails.st "${hosts[@]}" --transport verbs --chunk 512 --port 18010
same_resources "$before"
no_rnr

# Rank 0 has the result.
[ "$KVR_HOST" = 1 ] || exit 0
verified shm.st -n 4 --transport shm
for out in mixed verbs verbs-exchange rails; do
	cmp shm.st $out.st || die "$out differs"
done
echo "ok: mixed, verbs, verbs-exchange, two rails: same bits as shm"

# shm cannot reach the other host.
[ -z "$(ls /dev/shm)" ] || die "left in /dev/shm: $(ls /dev/shm)"
