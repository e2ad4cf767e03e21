#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The conformance body over a device, one end on each host: host 1 runs the
# body, host 2 has the end named, or IN and then OUT. Nothing stays in either
# kernel.
#	transport_hosts.sh verbs|verbs-exchange PROGRAM [in|out|both
#		[--brief] [TESTS]]
# shellcheck source=tests/rdma/lib.bash
. "$KVRING_SOURCE/tests/rdma/lib.bash" || exit 1

before=$(resources)
port=18100
ends=("${3:-both}")
[ "${ends[0]}" != both ] || ends=(in out)
for end in "${ends[@]}"; do
	status=0
	if [ "$KVR_HOST" = 1 ]; then
		"$2" "$1" --far "$end" --agent "$KVR_ADDRESS_2:$port" \
			"${@:4}" || status=$?
	else
		"$2" "$1" --serve $port || status=$?
	fi
	[ $status -ne 77 ] || die "$1 is not usable between these hosts"
	[ $status -eq 0 ] || die "$1, $end on host 2: exit $status"
	same_resources "$before"
	port=$((port + 1))
done
