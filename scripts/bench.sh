#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds build/release and runs every benchmark; about half an hour on two
# processors. Results go to standard output.
#	scripts/bench.sh		as docs/measurements records them
#	scripts/bench.sh --quick	small and few: do they run at all?
set -euo pipefail
cd "$(dirname "$0")/.."

quick=no
case "${1:-}" in
'') ;;
--quick) quick=yes ;;
*)
	echo "usage: scripts/bench.sh [--quick]" >&2
	exit 2
	;;
esac

log=build/bench.log
mkdir -p build
generator=()
[ -f build/release/CMakeCache.txt ] || generator=(-G Ninja -DKVRING_TESTS=OFF)
{ cmake --preset release "${generator[@]}" -DKVRING_BENCH=ON &&
	cmake --build build/release; } >$log 2>&1 </dev/null || {
	cat $log >&2
	exit 1
}

show() { # program arguments...
	local program=$1
	printf '\n$ %s\n' "$*"
	shift
	case $program in
	kvring) program=build/release/kvring ;;
	*) program=build/release/bench/$program ;;
	esac
	"$program" "$@" </dev/null
}

date -u '+%Y-%m-%d %H:%M UTC'
printf 'commit %s%s\n' "$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
	"$(git diff --quiet HEAD 2>/dev/null || echo ', with changes')"
printf 'load %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"

if [ $quick = yes ]; then
	show cpu_attention --tokens 512 --pairs 3
	show cpu_ratios --tokens 512 --pairs 3
	show ring_overhead --tokens 2048 --pairs 3
	show memory --tokens 32
	show partition --tokens 4096 --pairs 3
	show demo_speed --tokens 8192 --pairs 3
	show integrity --pairs 3
	show kvring bench lat --size 0,8,64K --seconds 0.1
	show kvring bench lat --size 0,8,64K --seconds 0.1 --event
	show kvring bench bw --size 8,64K,1M --seconds 0.1
	show kvring bench bw --size 8,64K,1M --seconds 0.1 --bidirectional
	show kvring bench credit --size 8,64K --seconds 0.1
	show kvring bench overlap --size 1M --slots 2 --chunk 64K \
		--ratio 0.5,1.5 --seconds 0.1
else
	show cpu_attention
	show cpu_ratios
	show ring_overhead
	show memory
	show partition
	show demo_speed
	show integrity
	show kvring bench lat
	show kvring bench lat --event
	show kvring bench bw
	show kvring bench bw --bidirectional
	show kvring bench credit
	show kvring bench overlap
	show kvring bench overlap --slots 1,2,3 --chunk 1M --jitter 50
	show kvring bench overlap -n 4
fi
