#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Ranks over verbs that are killed or stopped, in one guest: nobody hangs, the
# victim is named, and the kernel has its RDMA objects back. Memory in use is
# printed, not judged: it goes up and down by more than a leak of few runs would.
# By hand, with the variables that ctest sets:
#	tests/rdma/faults/kill.sh [RUNS [SEED]]
set -euo pipefail

if [ -z "${KVR_HOST:-}" ]; then
	exec "$KVRING_SOURCE/tests/vm/run" --timeout "${KVR_LIMIT:-240}" -- \
		bash "$0" "$@"
fi

# Passes are slow here; 2 s on top of the deadline are for a busy machine.
kill=("$KVRING_BUILD/tests/ring/ring_kill" --transport verbs --passes 20
	--slack 2000)

# What no cache holds, in KiB.
used() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	awk '/^MemTotal:/ { total = $2 } /^MemAvailable:/ { free = $2 }
		END { print total - free }' /proc/meminfo
}

before=$(used)
rdma resource
"${kill[@]}" "${1:-10}" "${@:2}"
rdma resource
echo "memory in use: $before KiB before, $(used) KiB after"
