# SPDX-License-Identifier: Apache-2.0
# What the kernel of a guest holds, and whether it got it back.
# shellcheck shell=bash
. "$KVRING_SOURCE/tests/rdma/lib.bash" || exit 1

# Pages that devices may reach: memory regions.
pinned() {
	echo 1 >/proc/sys/vm/stat_refresh
	awk '$1 == "nr_foll_pin_acquired" { n += $2; found++ }
		$1 == "nr_foll_pin_released" { n -= $2; found++ }
		END { print n; exit found != 2 }' /proc/vmstat
}

# Memory in use, in KiB, without caches that would be given up and without
# free pages that each processor keeps for itself; they are up to 50 MiB.
used() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	awk '/^MemTotal:/ { n += $2 }
		/^(MemFree|Cached|Buffers|SReclaimable):/ { n -= $2 }
		/^Shmem:/ { n += $2 }
		$1 == "count:" { n -= 4 * $2 }
		END { print n }' /proc/meminfo /proc/zoneinfo
}

# Waits for it, as same_resources does. What a guest uses was seen to go up
# and down by 1.7 MiB; the least that ten dead ranks leave behind, if their
# blocks stay, is more than that.
same_memory() { # pinned pages, KiB used
	local try
	for try in {1..50}; do
		[ "$(pinned)" != "$1" ] || break
		sleep 0.1
	done
	[ "$(pinned)" = "$1" ] ||
		die "$(pinned) pages are pinned, were $1, after $try looks"
	for try in {1..10}; do
		[ $(($(used) - $2)) -gt 2048 ] || break
		sleep 0.5
	done
	echo "memory: $1 pages pinned, as before;" \
		"$(($(used) - $2)) KiB more in use"
	[ $(($(used) - $2)) -le 2048 ] ||
		die "$(used) KiB in use, were $2, after $try looks"
}
