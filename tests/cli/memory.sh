#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Short of memory, in a control group of our own with a limit: what cannot fit
# is refused before it begins; where it is short after all, the kernel takes a
# rank and not the command, which says so. Skipped where no group may be made.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

name=kvring-test-$$
group=
for try in "memory/$name memory.limit_in_bytes memory.memsw.limit_in_bytes" \
	"$name memory.max memory.swap.max"; do
	read -r group limit swap <<<"$try"
	group=/sys/fs/cgroup/$group
	mkdir "$group" 2>/dev/null || continue
	[ ! -w "$group/$limit" ] || break
	rmdir "$group"
done
[ -w "$group/$limit" ] || {
	echo "no control group with a limit of memory may be made here"
	exit 77
}
trap 'cd /; rm -rf "$work"; eventually rmdir "$group" 2>/dev/null' EXIT

# 128 MiB of blocks, slots and results; and 8 MiB of rank 0, q, which
# are read and not mapped, for they are two pieces.
works random in.st --tokens 512 --q-heads 32 --head-dim 256
attend="attention in.st -o out.st -n 2 --threads 1 --partition zigzag"

# In the group, which cannot swap, with so many MiB.
within() { # MiB, command...
	local mib=$1
	shift
	echo -1 >"$group/$swap" || echo max >"$group/$swap" || true
	echo $((mib << 20)) >"$group/$limit"
	case $swap in
	*memsw*) echo $((mib << 20)) >"$group/$swap" ;;
	*) echo 0 >"$group/$swap" ;;
	esac 2>/dev/null || true
	(
		echo $BASHPID >"$group/cgroup.procs" &&
			"$@"
	)
}

# shellcheck disable=SC2086 # $attend is several words
{
	within 400 works $attend
	rm -f out.st
	within 100 fails 1 "^kvring: memory: 2 ranks need at least 1[23][0-9.]+ MiB \
for blocks, slots and results, and [0-9.]+ MiB are left by the limit of \
control group .*$name; use fewer --slots, fewer ranks .*fewer tokens or more memory; a \
smaller --chunk does not help" $attend
	within 90 fails 1 "need at least 9[0-9.]+ .* use fewer ranks" \
		$attend --slots 1
	within 132 fails 1 "^kvring: rank [01] was killed by SIGKILL; .*memory" \
		$attend
}
only in.st
