#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The example of the embedding guide: requests of varying length, one past its
# deadline, a rank killed between two and replaced, and the same answer after.
# shellcheck source=tests/package/lib.bash
. "$KVRING_SOURCE/tests/package/lib.bash" || exit 1
needs cc mkfifo pgrep python3

ranks=()
finish() {
	for pid in "${ranks[@]}"; do
		kill -9 "$pid" 2>/dev/null || true
	done
	cd /
	rm -rf "$work"
}
trap finish EXIT

for standard in c11 c17; do
	cc -std=$standard -D_GNU_SOURCE -O1 "${warnings[@]}" \
		-I"$KVRING_SOURCE/include" \
		"$KVRING_SOURCE"/examples/server_{loop,parts}.c \
		-L"$KVRING_BUILD" -lkvring "-Wl,-rpath,$KVRING_BUILD" \
		-o server_loop || die "the example as $standard"
done

free_port() { # below those that the system gives away
	python3 -c 'import random, socket
while True:
    port = random.randrange(10000, 30000)
    try:
        socket.socket().bind(("127.0.0.1", port))
        break
    except OSError:
        pass
print(port)'
}
KVRING_PORT=$(free_port)
export KVRING_PORT KVRING_HOSTS='127.0.0.1*3'

start() { # rank, input
	KVRING_RANK=$1 timeout 120 ./server_loop <"$2" \
		3>&- >>"said.$1" 2>&1 &
	ranks[$1]=$!
}
# A line comes up so often in what a rank said.
heard() { # rank, times, line
	local i
	for ((i = 0; i < 1200; i++)); do
		[ "$(grep -cxF -- "$3" "said.$1")" -lt "$2" ] || return 0
		sleep 0.1
	done
	die "rank $1 never said '$3' $2 times: $(tail -n 20 said.*)"
}
all_heard() { # times, line's end
	local rank
	for rank in 0 1 2; do
		heard $rank "$1" "rank $rank: $2"
	done
}

mkfifo requests
touch said.{0,1,2}
start 0 requests
exec 3>requests
start 1 /dev/null
start 2 /dev/null
echo "500 100000" >&3
all_heard 1 KVR_OK
# zigzag: rank 0 ends in the last of six pieces, the mean of 0 .. 499
heard 0 1 "last row 249.500"

echo "4096 0" >&3
heard 0 1 "rank 0: KVR_ERR_CANCELLED"
echo "2 100000" >&3
heard 0 2 "rank 0: KVR_OK"

# timeout's child is the rank
victim=$(pgrep -P "${ranks[1]}")
kill -9 "$victim"
for rank in 0 2; do
	heard $rank 1 "rank $rank: KVR_ERR_PEER_LOST, joining again"
done
: >said.1
start 1 /dev/null
echo "500 100000" >&3
heard 0 2 "last row 249.500"
heard 1 1 "rank 1: KVR_OK"
exec 3>&-
for rank in 0 1 2; do
	wait "${ranks[$rank]}" || die "rank $rank: $(cat said.$rank)"
done
ranks=()
echo "ok: $(grep -c KVR_ said.0) lines of rank 0"
