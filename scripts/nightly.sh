#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What takes too long for every change, on a quiet machine: part by part, each
# with its log in build/nightly, going on after a failure. Exit 1: one failed.
#	scripts/nightly.sh [--minutes N]	fuzzers and soak, N each (30)
#	scripts/nightly.sh --only NAME [--minutes N]
#	scripts/nightly.sh --from NAME [--minutes N]	it, and what comes after
#	scripts/nightly.sh --list
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

export KVRING_SOURCE=$PWD KVRING_BUILD=$PWD/build/release
log=build/nightly
minutes=30 only='' from=''
parts=(analyzer ring-kill kill loss cable far model mutants fuzz soak bench
	bench-rdma bench-ucx bench-overlap)

usage() {
	echo "usage: scripts/nightly.sh [--only NAME | --from NAME]" \
		"[--minutes N] | --list" >&2
	exit 2
}

while [ $# -gt 0 ]; do
	case $1 in
	--list)
		printf '%s\n' "${parts[@]}"
		exit 0
		;;
	--only)
		[[ " ${parts[*]} " == *" ${2:-} "* ]] || usage
		only=$2
		;;
	--from)
		[[ " ${parts[*]} " == *" ${2:-} "* ]] || usage
		from=$2
		;;
	--minutes)
		[[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage
		minutes=$2
		;;
	*) usage ;;
	esac
	shift 2 || usage
done

# --------------------------------------------------------------- the parts

# Exit 77: skipped, and the last line says why.
analyzer() {
	python3 -B tests/lint/tidy.py
}

ring-kill() {
	build/release/tests/ring/ring_kill 200
}

kill-rdma() {
	KVR_LIMIT=3600 bash tests/rdma/faults/kill.sh 100
}

loss() {
	KVR_LIMIT=7200 bash tests/rdma/faults/loss.sh 20
}

cable() {
	bash tests/rdma/faults/cable.sh
}

# The conformance body with one end on each host, each way round.
far() {
	local mode code=0
	for mode in verbs verbs-exchange; do
		tests/vm/run --hosts 2 --timeout 1800 -- \
			bash tests/rdma/transport_hosts.sh "$mode" \
			"$KVRING_BUILD/tests/conformance/transport/transport_fake" \
			both || code=1
	done
	return $code
}

model() {
	tests/model/run.sh bits
}

mutants() {
	tests/mutants/run
}

# Each for its share of the minutes, from the committed corpus; what it finds
# on the way is not kept, what breaks it is, beside the log.
fuzz() {
	local programs=(build/clang/tests/fuzz/fuzz_*) program name code=0
	local seconds=$((minutes * 60 / ${#programs[@]}))
	if [ ! -x "${programs[0]}" ]; then
		echo "no libFuzzer here: scripts/setup.sh test installs it"
		return 77
	fi
	for program in "${programs[@]}"; do
		name=${program##*/}
		mkdir -p "$log/$name"
		"$program" -max_total_time=$seconds \
			-artifact_prefix="$log/$name/" "$log/$name" \
			"tests/fuzz/corpus/${name#fuzz_}" || code=1
	done
	return $code
}

soak() {
	bash tests/rdma/soak.sh "$minutes"
}

bench() {
	scripts/bench.sh
}

bench-rdma() {
	tests/vm/run --timeout 6000 -- scripts/bench-rdma.sh
}

bench-ucx() {
	scripts/bench-ucx.sh
}

bench-overlap() {
	scripts/bench-overlap.sh
}

# ------------------------------------------------------------------- runs

build() { # preset
	local generator=()
	[ -f "build/$1/CMakeCache.txt" ] || generator=(-G Ninja)
	cmake --preset "$1" "${generator[@]}" -DKVRING_TESTS=ON &&
		cmake --build "build/$1"
}

failed=0
run() { # name, function
	local start=$SECONDS code=0 what=ok
	"$2" >"$log/$1.log" 2>&1 </dev/null || code=$?
	case $code in
	0) ;;
	77) what="skipped: $(tail -n 1 "$log/$1.log")" ;;
	*)
		what="FAILED, see $log/$1.log"
		failed=1
		;;
	esac
	printf '%-12s %6d s  %s\n' "$1" $((SECONDS - start)) "$what"
}

# Going on keeps the logs of what came before.
[ -n "$from" ] || rm -rf $log
mkdir -p $log
both() {
	build release || return
	case $only in
	'' | fuzz) build clang ;;
	esac
}
run build both
[ $failed -eq 0 ] || exit 1
for part in "${parts[@]}"; do
	[ -z "$only" ] || [ "$only" = "$part" ] || continue
	[ "$from" != "$part" ] || from=''
	[ -z "$from" ] || continue
	case $part in
	kill) run kill kill-rdma ;;
	*) run "$part" "$part" ;;
	esac
done
exit $failed
