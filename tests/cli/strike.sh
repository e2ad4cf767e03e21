#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A random rank is killed or stopped at a random time: the command fails, says
# which rank died of what, and leaves nothing; or it was through already, and
# the output is right. By hand: strike.sh RUNS SEED.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

runs=6
[[ ${1:-} =~ ^[0-9]+$ ]] && runs=$1
RANDOM=${2:-$$}
echo "$runs runs, seed ${2:-$$}"

works random in.st --tokens 12000 --q-heads 4 --kv-heads 2 --head-dim 64
n=4
begin=${EPOCHREALTIME/./}
works attention in.st -o good.st -n $n
whole=$((${EPOCHREALTIME/./} - begin)) # microseconds

# The fate of one run: struck after a random part of an unharmed run.
strike() { # signal
	local signal=$1 victim=$((RANDOM % n)) status=0 pid command delay verb
	delay=$((whole * RANDOM / 32768))
	verb=killed
	[ "$signal" = KILL ] || verb=stopped
	"$kvring" attention in.st -o out.st -n $n --timeout 3 \
		>.out 2>.err </dev/null &
	command=$!
	sleep "$((delay / 1000000)).$(printf %06d $((delay % 1000000)))"
	pid=$(rank_pid $command $victim) || pid=
	[ -z "$pid" ] || kill -s "$signal" "$pid" 2>/dev/null || pid=
	wait $command || status=$?
	if [ $status -eq 0 ]; then
		cmp good.st out.st || die "exit 0, another output"
		echo "ok: unharmed after $delay us"
	else
		[ -n "$pid" ] || die "exit $status of itself: $(cat .err)"
		[ $status -eq 1 ] || die "exit $status: $(cat .err)"
		grep -q "^kvring: rank $victim was $verb by SIG$signal" .err ||
			die "rank $victim was $verb: $(cat .err)"
		[ ! -e out.st ] || die "an output in spite of it"
		echo "ok: rank $victim $verb after $delay us"
	fi
	rm -f .out .err out.st
	only in.st good.st
}

for ((run = 0; run < runs; run += 2)); do
	strike KILL
	strike STOP
done
