#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Drives the model by traces of the C engine: SPIN accepts each, and none that
# was falsified.
#
#	replay.sh REPLAY [COUNT]	the program model_replay; traces wanted
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
replay=$(realpath "$1")
wanted=${2:-40}
edits=5

if ! command -v spin >/dev/null; then
	echo "skipped: spin is not installed"
	exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/kvring.pml" "$work"
cd "$work"

# SEED EDIT: accepted, rejected, or out of the model's scope.
ask() {
	local status=0
	"$replay" "$1" "$2" >trace.pml || status=$?
	case $status in
	0) ;;
	3)
		echo out
		return
		;;
	*)
		echo broken
		return
		;;
	esac
	spin -u1000000 trace.pml >spin.log 2>&1 || true
	if grep -qx ' *accepted' spin.log && ! grep -q Error spin.log; then
		echo accepted
	elif grep -qE 'timeout|assertion violated' spin.log; then
		echo rejected
	else
		cat spin.log >&2
		echo broken
	fi
}

taken=0
failed=0
for ((seed = 1; taken < wanted && seed < 5000; seed++)); do
	verdict=$(ask "$seed" 0)
	[ "$verdict" != out ] || continue
	taken=$((taken + 1))
	edit=$((1 + taken % edits))
	false_verdict=$(ask "$seed" $edit)
	printf 'seed %-5d %s; edit %d %s\n' "$seed" "$verdict" $edit \
		"$false_verdict"
	if [ "$verdict" != accepted ] || [ "$false_verdict" = accepted ] ||
		[ "$false_verdict" = broken ]; then
		failed=1
	fi
done
echo "$taken traces"
[ $failed = 0 ] && [ $taken = "$wanted" ]
