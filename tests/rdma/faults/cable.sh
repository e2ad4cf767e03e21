#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The cable between two guests is pulled in the middle of a pass: for a second,
# and the result is exact; for ever, and every rank on both hosts says in time
# whom it lost, and in which step.
# shellcheck source=tests/rdma/faults/lib.bash
. "$KVRING_SOURCE/tests/rdma/faults/lib.bash" || exit 1

# Each host sends 1.5 MiB in a pass, which the cable's rate makes last 3 s.
"$kvring" random in.st --tokens 256 --q-heads 8 --kv-heads 8 --head-dim 128
whole=$((3 << 19))
"$kvring" attention in.st -o shm.st -n 4 --causal --transport shm >/dev/null
cable netem rate 4mbit

begin() { # option...
	start_bytes=$(sent)
	both 100 --chunk 1024 "$@" &
	command=$!
}

middle() {
	[ $(($(sent) - start_bytes)) -gt $((whole / 4)) ] ||
		! kill -0 $command 2>/dev/null
}

# Host 2 pulls, for both: a cable has two ends.
pull() {
	eventually middle
	pulled_us=${EPOCHREALTIME/./}
	cable 1 pull
	echo "cut within $(((${EPOCHREALTIME/./} - pulled_us) / 1000)) ms," \
		"$(($(sent) - start_bytes)) bytes on"
	kill -0 $command 2>/dev/null || die "too early: $(cat said)"
}

finish() {
	code=0
	wait $command || code=$?
}

begin --timeout 10
if [ "$KVR_HOST" = 2 ]; then
	pull
	sleep 1
	before=$(sent)
	cable 1 plug
	finish
	[ $(($(sent) - before)) -gt $((whole / 4)) ] ||
		die "too little was left to send"
else
	finish
	cmp out.st shm.st || die "pulled for 1 s: a wrong result"
fi
[ $code = 0 ] || die "pulled for 1 s: exit $code: $(cat said)"
echo "pulled for 1 s: exact"

# From the pull on: the deadline of 5 s; 500 ms for the abort and as much for
# each of two connections that hear nothing; the rest is a slow guest's.
begin --timeout 5
[ "$KVR_HOST" = 1 ] || pull
finish
[ "$KVR_HOST" = 1 ] || took_us=$((${EPOCHREALTIME/./} - pulled_us))
cat said
[ $code = 1 ] || die "pulled for ever: exit $code"
ranks=(0 1) strangers='[23]'
[ "$KVR_HOST" = 1 ] || ranks=(2 3) strangers='[01]'
for rank in "${ranks[@]}"; do
	grep -qE "^kvring: rank $rank: .*KVR_ERR_PEER_LOST: lost rank \
$strangers in step [0-3] of pass [0-9]+: it was silent" said ||
		die "rank $rank does not say whom it lost, and when"
done
[ ! -e out.st ] || [ "$KVR_HOST" = 2 ] || cmp out.st shm.st
[ -z "$(left_over)" ] || die "still running: $(left_over)"
[ "$KVR_HOST" = 1 ] || {
	echo "pulled for ever: all lost after $((took_us / 1000)) ms"
	[ "$took_us" -le 15000000 ] || die "too late"
}
