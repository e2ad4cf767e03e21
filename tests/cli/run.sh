#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kvring run: environment, exit codes, and the ends of ranks.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1
set -m

# Rank 1 is stopped while rank 0 waits for it in the all-gather.
gather_after_a_stop='
import os, signal, socket, struct, subprocess
rank = int(os.environ["KVRING_RANK"])
if rank == 1:
    pid = os.getpid()
    subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {pid}"])
    os.kill(pid, signal.SIGSTOP)
ends = socket.socket(fileno=int(os.environ["KVRING_BOOTSTRAP_FD"]))
ends.sendall(struct.pack("=Q", 1) + b"ab"[rank:rank + 1])
data = b""
while len(data) < 2:
    part = ends.recv(2)
    assert part, "closed"
    data += part
assert data == b"ab", data
'

# shellcheck disable=SC2016 # for the program's shell
{
	works run -n 3 -- sh -c \
		'[ -S /proc/self/fd/$KVRING_BOOTSTRAP_FD ] && echo $KVRING_RANK of $KVRING_SIZE'
	[ "$(sort <<<"$printed")" = "$(printf '0 of 3\n1 of 3\n2 of 3')" ] ||
		die "$printed"

	# What follows the program is its own, also without --.
	works run -n 1 sh -c 'echo "$@"' sh --help -n 5
	[ "$printed" = "--help -n 5" ] || die "$printed"

	fails 7 "rank 1 exited with status 7" \
		run -n 3 -- sh -c '[ $KVRING_RANK -ne 1 ] || exit 7'
	fails 143 "rank 2 was killed by SIGTERM" \
		run -n 3 -- sh -c '[ $KVRING_RANK -ne 2 ] || kill -TERM $$'
	fails 137 "rank 0 was killed by SIGKILL" \
		run -n 1 -- sh -c 'kill -KILL $$'
	# The others are ended after the time-out and 2 seconds of grace.
	fails 3 "rank 0 exited with status 3" run -n 3 --timeout 0.1 -- sh -c \
		'[ $KVRING_RANK -ne 0 ] || exit 3; exec sleep 60'
	# A rank that is stopped is to blame where another fails for want of it.
	fails 147 "rank 1 was stopped by SIGSTOP" run -n 3 --timeout 0.1 -- \
		sh -c 'case $KVRING_RANK in
			0) sleep 3; exit 5 ;;
			1) kill -STOP $$ ;;
		esac; exec sleep 60'
	# It is not where it goes on, and a stop alone fails nobody.
	works run -n 2 --timeout 0.1 -- sh -c '
		if [ $KVRING_RANK -eq 1 ]; then
			(sleep 3; kill -CONT $$) & kill -STOP $$; wait; exit 0
		fi; exec sleep 4'
	fails 6 "rank 1 exited with status 6" run -n 2 --timeout 0.1 -- sh -c '
		[ $KVRING_RANK -eq 1 ] || exec sleep 4
		(sleep 1; kill -CONT $$) & kill -STOP $$; wait; exit 6'
	fails 5 "rank 0 exited with status 5" run -n 2 --timeout 0.1 -- sh -c '
		[ $KVRING_RANK -eq 1 ] || { sleep 3; exit 5; }
		(sleep 1; kill -CONT $$) & kill -STOP $$; exec sleep 60'
	# Nor does a stop close the all-gather.
	works run -n 2 --timeout 0.1 -- python3 -c "$gather_after_a_stop"
}
fails 127 "no-such-program: cannot be started: No such file" \
	run -n 2 -- no-such-program
fails 126 "/: cannot be started: Permission denied" run -n 2 -- /

# Input is passed on to whoever reads it.
[ "$(echo hello | "$kvring" run -n 1 -- cat)" = hello ] || die "no input"

# Ranks may tidy up when the command is interrupted, and must hurry.
"$kvring" run -n 2 -- bash -c \
	"trap 'echo tidied; exit 0' TERM; echo up; while :; do sleep 0.1; done" \
	>.out 2>.err &
command=$!
up() { [ "$(grep -c up .out)" -eq 2 ]; }
eventually up
kill -TERM $command
status=0
wait $command || status=$?
[ $status -eq 143 ] || die "interrupted: exit $status"
[ "$(grep -c tidied .out)" -eq 2 ] || die "$(cat .out .err)"
"$kvring" run -n 2 -- bash -c \
	"trap '' TERM; echo up; while :; do sleep 0.1; done" >.out 2>.err &
command=$!
eventually up
kill -TERM $command
status=0
wait $command || status=$?
[ $status -eq 143 ] || die "stubborn: exit $status"
rm .out .err
[ -z "$(ls -A)" ] || die "there is: $(ls -A)"
[ -z "$(left_over)" ] || die "still running: $(left_over)"
