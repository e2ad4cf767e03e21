#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Outputs that cannot be written, a full disk, no memory: exit 1, named, and
# nothing half-written. Argument "sanitized": without the limit of memory,
# which the sanitizers' own mappings exceed.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

works random in.st --tokens 20000 --q-heads 4 --head-dim 64
mkdir directory

for command in "attention in.st -n 2 -o" \
	"random --tokens 10 --q-heads 1 --head-dim 8"; do
	# shellcheck disable=SC2086 # several words
	{
		fails 1 "/nowhere/out.st: cannot be written: No such file" \
			$command /nowhere/out.st
		fails 1 "/proc/out.st: cannot be written" $command /proc/out.st
		fails 1 "directory: is not a regular file" $command directory
		fails 1 "/dev/null: is not a regular file" $command /dev/null
		fails 1 "output: its name is empty" $command ""
	}
done
[ -c /dev/null ] || die "/dev/null was replaced"
fails 1 "in.st: is the input" attention in.st -n 2 -o in.st
fails 1 "./in.st: is the input" attention in.st -n 2 -o ./in.st

# The largest file that may be written: as a full disk, on any machine.
(
	ulimit -f 1000
	fails 1 "out.st: no room for [0-9]+ bytes: File too large" \
		attention in.st -n 2 -o out.st
	fails 1 "out.st: no room for [0-9]+ bytes: File too large" \
		random out.st --tokens 20000 --q-heads 4 --head-dim 64
)

# A full disk, where a file system may be mounted.
full_disk() {
	mount -t tmpfs -o size=1m none directory || return 77
	fails 1 "directory/out.st: no room for .*: No space left on device" \
		attention in.st -n 2 -o directory/out.st
	[ -z "$(ls -A directory)" ] || die "something is left on the disk"
}
export -f full_disk fails die left_over
export kvring work
status=0
unshare --mount --map-root-user bash -euc full_disk || status=$?
case $status in
0) echo "ok: full disk" ;;
1) unshare --mount --map-root-user true 2>/dev/null && exit 1 ;;&
*) echo "no file system may be mounted here: the limit alone was tested" ;;
esac

if [ "${1:-}" != sanitized ]; then
	# Enough to start and to describe, not to hold a block.
	ulimit -v 60000
	fails 1 "^kvring: rank [0-9]: .*(memory: .*; free|MEMORY: .*; free memory, or use fewer --slots)" \
		attention in.st -n 2 --threads 1 -o out.st
fi
rmdir directory
only in.st
