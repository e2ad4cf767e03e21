#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The cable between two guests is pulled in the middle of a pass: for a second,
# and the result is exact; for ever, and every rank on both hosts says in time
# whom it lost, and in which step. Made for a busy machine: the pass takes
# seconds by the cable's nature, what pulls is started before, and what is
# judged is what had moved by then.
# shellcheck source=tests/rdma/faults/lib.bash
. "$KVRING_SOURCE/tests/rdma/faults/lib.bash" || exit 1

# Each host sends 1.5 MiB in a pass, 128 packets of 128 bytes at most between
# two answers, which this delay keeps apart: 4 s. It is shorter than the
# time-out of an acknowledgement, 67 ms.
"$kvring" random in.st --tokens 256 --q-heads 8 --kv-heads 8 --head-dim 128
"$kvring" attention in.st -o shm.st -n 4 --causal --transport shm >/dev/null
least=$((3 << 16)) # an eighth of it

coproc cable -
at_once() { # argument of cable...
	local answer
	echo "$*" >&"${COPROC[1]}"
	read -r answer <&"${COPROC[0]}" || answer=none
	[ "$answer" = ok ] || die "cable $*"
}

bytes() { # sent on rail 1, without a process
	read -r sent </sys/class/net/rail1/statistics/tx_bytes
}

[ "$KVR_HOST" = 1 ] || at_once 1 netem delay 40ms

begin() { # option...
	bytes
	start_bytes=$sent
	both 200 --chunk 128 "$@" &
	command=$!
}

# Host 2 pulls, for both: a cable has two ends.
pull() {
	exec {never}<> <(:)
	while bytes && [ $((sent - start_bytes)) -lt $least ]; do
		kill -0 $command 2>/dev/null || break
		read -rt 0.02 -u "$never" || true
	done
	exec {never}>&-
	asked_us=${EPOCHREALTIME/./}
	at_once 1 pull
	pulled_us=${EPOCHREALTIME/./}
	bytes
	echo "cut within $(((pulled_us - asked_us) / 1000)) ms," \
		"after $((sent - start_bytes)) bytes"
	kill -0 $command 2>/dev/null || die "too early: $(cat said)"
}

finish() {
	code=0
	wait $command || code=$?
}

begin --timeout 10
if [ "$KVR_HOST" = 2 ]; then
	pull
	cut_bytes=$sent
	sleep 1
	bytes
	[ "$sent" = "$cut_bytes" ] || die "$((sent - cut_bytes)) bytes passed"
	at_once 1 plug
	at_once 1 netem delay 40ms
	finish
	bytes
	echo "and $((sent - cut_bytes)) bytes after it"
	[ $((sent - cut_bytes)) -ge $least ] ||
		die "too little was left to send"
else
	finish
fi
[ $code = 0 ] || die "pulled for 1 s: exit $code: $(cat said)"
[ "$KVR_HOST" = 2 ] || cmp out.st shm.st ||
	die "pulled for 1 s: a wrong result"
rm -f out.st
echo "pulled for 1 s: exact"

# From the pull on: the deadline of 5 s; 500 ms for the abort and as much for
# each of two connections that hear nothing; the rest is a slow guest's.
begin --timeout 5
[ "$KVR_HOST" = 1 ] || pull
finish
over_us=${EPOCHREALTIME/./}
cat said
[ $code = 1 ] || die "pulled for ever: exit $code"
ranks=(0 1) strangers='[23]'
[ "$KVR_HOST" = 1 ] || ranks=(2 3) strangers='[01]'
for rank in "${ranks[@]}"; do
	grep -qE "^kvring: rank $rank: .*KVR_ERR_PEER_LOST: lost rank \
$strangers in step [0-3] of pass [0-9]+: it was silent" said ||
		die "rank $rank does not say whom it lost, and when"
done
[ ! -e out.st ] || die "a result without half of the ranks"
[ -z "$(left_over)" ] || die "still running: $(left_over)"
[ "$KVR_HOST" = 1 ] || {
	echo "pulled for ever: all lost after $(((over_us - pulled_us) / 1000))" \
		"to $(((over_us - asked_us) / 1000)) ms"
	# A neighbour may have been heard a heartbeat, 500 ms, before.
	[ $((over_us - asked_us)) -ge 4500000 ] || die "too early"
	[ $((over_us - pulled_us)) -le 20000000 ] || die "too late"
}
