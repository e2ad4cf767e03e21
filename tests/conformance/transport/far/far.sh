#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The conformance body with one end in an agent's process, all on one machine.
#	far.sh PROGRAM TRANSPORT in|out [--brief] [TESTS]
set -euo pipefail

coproc agent { exec "$1" "$2" --serve 0; }
pid=$!
read -r _ port <&"${agent[0]}"
status=0
"$1" "$2" --far "$3" --agent "127.0.0.1:$port" "${@:4}" || status=$?
# It ends because the body did.
wait "$pid" || {
	echo "FAILED: the agent exits $?" >&2
	exit 1
}
exit $status
