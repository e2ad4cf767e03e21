#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The conformance body over a device; nothing of it stays in the kernel.
#	transport.sh verbs|verbs-exchange PROGRAM
# shellcheck source=tests/rdma/lib.bash
. "$KVRING_SOURCE/tests/rdma/lib.bash" || exit 1

before=$(resources)
status=0
"$2" "$1" || status=$?
[ $status -ne 77 ] || die "$1 is not usable here: $("$2" "$1")"
[ $status -eq 0 ] || die "the body exited $status"
same_resources "$before"
