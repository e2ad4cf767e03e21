#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A few conformance tests of the verbs transport under valgrind, in the guest,
# where it is slow: no invalid access, no use of what was never written, no
# leak. rdma-core needs no suppressions.
#	tests/vm/run -- tests/rdma/valgrind.sh PROGRAM
set -uo pipefail
program=$1
if ! command -v valgrind >/dev/null; then
	echo "skipped: no valgrind; scripts/setup.sh test installs it"
	exit 77
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for tests in "describe*" "edges*"; do
	rc=0
	valgrind -q --leak-check=full --show-leak-kinds=definite \
		--errors-for-leak-kinds=definite --error-exitcode=9 \
		"$program" verbs "$tests" >"$log" 2>&1 || rc=$?
	# A filter that fits no test would pass, too.
	if [ "$rc" -ne 0 ] || ! grep -q '  OK \]' "$log"; then
		cat "$log"
		echo "FAILED: $tests: exit $rc"
		exit 1
	fi
	grep '  OK \]' "$log"
done
