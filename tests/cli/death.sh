#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Ranks that are killed or stopped, Ctrl-C, and the death of the command
# itself: it ends in time, says which rank died of what, leaves nothing.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

# Job control: without it a background command ignores SIGINT.
set -m

# So much work that no run is through before it is struck.
n=16
works random in.st --tokens 64000 --q-heads 4 --kv-heads 2 --head-dim 64

# Starts an attention in the background, as process $command, and waits for
# its ranks.
begin() {
	"$kvring" attention in.st -o out.st -n $n --timeout 2 \
		>.out 2>.err </dev/null &
	command=$!
	eventually rank_pid $command $((n - 1)) >/dev/null
}

# Every rank but this one reports that it lost this one, and when.
others_lost() { # rank
	local other
	for ((other = 0; other < n; other++)); do
		[ $other -eq "$1" ] || grep -qE \
			"^kvring: rank $other: .*KVR_ERR_PEER_LOST: lost rank $1 .*: " \
			.err || die "rank $other lost nobody: $(cat .err)"
	done
}

wait_for_end() {
	local begin=$SECONDS
	status=0
	wait $command || status=$?
	took=$((SECONDS - begin))
}

# The command ended with this code and within this many seconds, said this,
# and left nothing but in.st and these files.
ends() { # code, seconds, pattern, [--, file...]
	local code=$1 most=$2 pattern=$3
	shift 4 || shift 3
	[ $status -eq "$code" ] || die "exit $status, not $code: $(cat .err)"
	[ $took -le "$most" ] || die "took $took s, at most $most: $(cat .err)"
	grep -qE -- "$pattern" .err || die "no '$pattern': $(cat .err)"
	sed 's/^/ok: /' .err
	rm -f .out .err
	only in.st "$@"
}

begin
sleep 0.5
# Short of memory, the kernel takes a rank before the command.
for ((rank = 0; rank < n; rank++)); do
	score=$(<"/proc/$(rank_pid $command $rank)/oom_score_adj")
	[ "$score" -eq 1000 ] || die "rank $rank has the score $score"
done
score=$(<"/proc/$command/oom_score_adj")
[ "$score" -eq "$(</proc/$$/oom_score_adj)" ] || die "the command has $score"
kill -KILL "$(rank_pid $command 1)"
wait_for_end
others_lost 1
grep -qE "^kvring: cause: rank 1 died: .* pass [0-9]+$" .err ||
	die "no cause: $(cat .err)"
ends 1 20 "^kvring: rank 1 was killed by SIGKILL"

begin
sleep 0.5
kill -STOP "$(rank_pid $command 2)"
wait_for_end
others_lost 2
grep -qE "^kvring: cause: rank 2 is stopped or cut off: silent for [0-9.]+ s" \
	.err || die "no cause: $(cat .err)"
ends 1 20 "^kvring: rank 2 was stopped by SIGSTOP"

# A death ends a step under way, here one of several seconds.
n=2
begin
sleep 0.5
kill -KILL "$(rank_pid $command 1)"
wait_for_end
others_lost 1
ends 1 5 "^kvring: rank 1 was killed by SIGKILL"
n=16

# At once, most likely before the ring stands.
begin
kill -SEGV "$(rank_pid $command 0)"
wait_for_end
ends 1 20 "^kvring: rank 0 was killed by SIGSEGV"

for signal in INT TERM HUP; do
	begin
	kill -$signal $command
	wait_for_end
	ends $((128 + $(kill -l $signal))) 8 \
		"^kvring: interrupted by SIG$signal"
done

# Ctrl-C goes to the whole group.
begin
kill -INT -- -$command
wait_for_end
ends 130 8 "^kvring: interrupted by SIGINT"

# Nobody is left to tidy up: the ranks end all the same.
begin
kill -KILL $command
none_left() { [ -z "$(left_over)" ]; }
wait $command || true
eventually none_left
rm -f .out .err
only in.st

# The next run finds nothing in its way.
works random small.st --tokens 100 --q-heads 2 --head-dim 16
works attention small.st -o out.st -n 3 --verify
only in.st small.st out.st

# While a random file is written.
"$kvring" random more.st --tokens 100000 --q-heads 32 --head-dim 128 2>.err &
command=$!
sleep 0.3
kill -INT $command
wait_for_end
ends 130 8 "^kvring: interrupted by SIGINT" -- small.st out.st

# While a result is verified, which would take a minute: the ranks are gone.
works random in2.st --tokens 6000 --q-heads 8 --head-dim 128
"$kvring" attention in2.st -o out2.st -n 3 --verify >.out 2>.err &
command=$!
no_rank_2() { ! rank_pid $command 2 >/dev/null; }
eventually rank_pid $command 2 >/dev/null
eventually no_rank_2
kill -INT $command
wait_for_end
ends 130 8 "^kvring: interrupted by SIGINT" -- small.st out.st in2.st
