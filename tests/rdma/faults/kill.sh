#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Ranks over verbs that are killed or stopped, in one guest: nobody hangs, the
# victim is named, and the kernel has its RDMA objects and memory back.
#	tests/rdma/faults/kill.sh [RUNS [SEED]]
set -euo pipefail

if [ -z "${KVR_HOST:-}" ]; then
	exec "$KVRING_SOURCE/tests/vm/run" --timeout "${KVR_LIMIT:-480}" -- \
		bash "$0" "$@"
fi
# shellcheck source=tests/rdma/faults/memory.bash
. "$KVRING_SOURCE/tests/rdma/faults/memory.bash" || exit 1

# Passes are slow here. A machine that emulates this one and has other things
# to do may let a rank be silent for a second: such a run is made again with a
# longer deadline.
kill=("$KVRING_BUILD/tests/ring/ring_kill" --transport verbs --passes 20
	--slack 2000 --patience 4)

# The first runs fill what the kernel keeps.
echo "to warm up:"
"${kill[@]}" 3 1
before=$(resources) pinned=$(pinned) used=$(used)
"${kill[@]}" "${1:-10}" "${@:2}"
same_resources "$before"
same_memory "$pinned" "$used"
