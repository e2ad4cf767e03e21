#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Do transfers hide behind compute? kvring bench overlap over shm on this
# machine, and over verbs between two guests, n = 2 each. The cable carries
# 32 Mbit/s, which leaves the guests' processors time to sleep; a block of
# 128 KiB takes 33 ms on it, less than the ACK timeout of 67 ms.
#	scripts/bench-overlap.sh [SECONDS]	for each row, 8 by default
# Exit 0 also when a goal is missed: speed is judged by the reader.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-8}
kvring=$PWD/build/release/kvring
ratios=0.25,0.5,1,1.1,1.5

if [ -n "${KVR_HOST:-}" ]; then
	export KVRING_HOSTS=$KVR_ADDRESS_1,$KVR_ADDRESS_2
	export KVRING_RANK=$((KVR_HOST - 1)) KVRING_SIZE=2
	exec "$kvring" bench overlap --transport verbs --size 128K \
		--chunk 16K --slots 1,2,3 --ratio $ratios --seconds "$seconds"
fi
"$kvring" bench overlap --transport shm --size 64M --chunk 256K,1M \
	--slots 1,2,3 --ratio $ratios --pin 0,1 --seconds "$seconds"
tests/vm/run --hosts 2 --netem "rate 32mbit" --timeout 1200 -- \
	bash "$0" "$seconds"
