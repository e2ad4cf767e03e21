#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A ring of three processes over shm under valgrind, from `kvring attention` to
# the verified result: no invalid access, no use of what was never written, no
# leak, in the command and in each rank.
set -uo pipefail
if ! command -v valgrind >/dev/null; then
	echo "skipped: no valgrind; scripts/setup.sh test installs it"
	exit 77
fi
kvring=$KVRING_BUILD/kvring
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ranks=3
"$kvring" random "$work/in" --tokens 200 --q-heads 2 --head-dim 32 || exit 1
status=0
valgrind --trace-children=yes --log-file="$work/log.%p" --error-exitcode=99 \
	--leak-check=full --show-leak-kinds=definite \
	--errors-for-leak-kinds=definite \
	"$kvring" attention "$work/in" -o "$work/out" -n $ranks --causal \
	--threads 2 --verify --timeout 60 || status=$?
# The command and its ranks, and who verifies.
all=$(find "$work" -name 'log.*' | wc -l)
clean=$(cat "$work"/log.* | grep -c "ERROR SUMMARY: 0 errors")
if [ $status -ne 0 ] || [ "$clean" -ne "$all" ] || [ "$all" -le $ranks ]; then
	cat "$work"/log.*
	echo "FAILED: exit $status, $clean of $all processes clean"
	exit 1
fi
echo "$clean processes without an error or a leak"
