#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs SPIN over every instance of the model, two at a time, and prints the
# table. Fails when a verdict is not the expected one.
#
#	run.sh			all but those marked bits, which take as long as
#				the rest and prove less: scripts/nightly.sh
#	run.sh PATTERN		instances whose lines match (grep -E)
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)

for tool in spin cc; do
	if ! command -v "$tool" >/dev/null; then
		echo "skipped: $tool is not installed"
		exit 77
	fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One instance, in a directory of its own: NAME EXPECTED HOW DEFINITIONS...
one() {
	local name=$1 expected=$2 how=$3 verdict=ok optimise=-O2 start states
	local -a pan=(-DSAFETY) run=(-n -m1000000)
	shift 3
	mkdir "$work/$name"
	cd "$work/$name"
	case $how in
	bits) pan+=(-DBITSTATE) run+=(-w30 -k3) ;;
	loop) pan=(-DNP) run+=(-l) ;;
	esac
	start=$EPOCHREALTIME
	spin -a "${@/#/-D}" "$here/kvring.pml" >spin.log 2>&1
	[ "$expected" = ok ] || optimise=-O0
	cc $optimise -w -DNOREDUCE -DMEMLIM=8000 "${pan[@]}" -o pan pan.c
	./pan "${run[@]}" >pan.log 2>&1 || true
	if grep -q 'invalid end state' <(grep '^pan:' pan.log); then
		verdict=deadlock
	elif grep -q 'assertion violated' pan.log; then
		verdict=assert
	elif ! grep -q 'errors: 0' pan.log ||
		grep -qE 'max search depth|out of memory|pan: reached' \
			pan.log; then
		verdict=broken
	fi
	states=$(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' pan.log)
	printf '%-24s %-9s %-9s %-5s %10.0f %7.1f\n' "$name" "$expected" \
		"$verdict" "$how" "${states:-0}" \
		"$(awk "BEGIN { print $EPOCHREALTIME - $start }")"
	[ "$verdict" = "$expected" ]
}
export -f one
export here work

failed=0
printf '%-24s %-9s %-9s %-5s %10s %7s\n' instance expected verdict how \
	states seconds
grep -vE '^#|^$' "$here/instances.txt" |
	if [ $# -gt 0 ]; then grep -E "$1"; else grep -vw bits; fi |
	xargs -P 2 -I {} bash -euo pipefail -c 'one {}' || failed=1
if [ $failed = 1 ]; then
	echo "a verdict is not the expected one"
fi
exit $failed
