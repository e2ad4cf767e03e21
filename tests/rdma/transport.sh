#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The conformance body over a device; nothing of it stays in the kernel.
#	transport.sh PROGRAM [--brief] verbs|verbs-exchange [...]
# shellcheck source=tests/rdma/lib.bash
. "$KVRING_SOURCE/tests/rdma/lib.bash" || exit 1

program=$1
shift
brief=()
for way; do
	if [ "$way" = --brief ]; then # those that follow
		brief=(--brief)
		continue
	fi
	before=$(resources)
	status=0
	"$program" "${brief[@]}" "$way" || status=$?
	[ $status -ne 77 ] || die "$way is not usable here: $("$program" "$way")"
	[ $status -eq 0 ] || die "the body over $way exited $status"
	same_resources "$before"
done
