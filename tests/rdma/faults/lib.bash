# SPDX-License-Identifier: Apache-2.0
# For tests on two guests: one script for both, which begins on the host.
# shellcheck shell=bash disable=SC2034
if [ -z "${KVR_HOST:-}" ]; then
	exec "$KVRING_SOURCE/tests/vm/run" --hosts 2 \
		--timeout "${KVR_LIMIT:-480}" -- bash "$0" "$@"
fi
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

hosts=$KVR_ADDRESS_1,$KVR_ADDRESS_2

# Bytes that have left this host on rail 1.
sent() {
	cat /sys/class/net/rail1/statistics/tx_bytes
}

# An attention of in.st over both hosts into out.st; what it says into said.
both() { # limit in seconds, option...
	local limit=$1
	shift
	timeout -k 5 "$limit" "$kvring" attention in.st -o out.st -n 4 \
		--causal --hosts "$hosts" --transport verbs "$@" \
		>said 2>&1 </dev/null
}
