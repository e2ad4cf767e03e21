#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Everything that only a GPU can show, on one: part by part, going on after a
# failure, with a dated report. Needs the CUDA toolkit and a driver; takes what
# there is of compute-sanitizer and PyTorch, and says what is missing.
#	scripts/gpu-check.sh [--quick] [--output FILE]
# --output: instead of docs/measurements/DATE-NAME-OF-THE-GPU.md. --quick: less
# of each, in two minutes after the build. Exit 1: a part failed; 77: no GPU.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

usage() {
	echo "usage: scripts/gpu-check.sh [--quick] [--output FILE]" >&2
	exit 2
}

quick='' output=''
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=quick ;;
	--output)
		[ -n "${2:-}" ] || usage
		output=$2
		shift
		;;
	*) usage ;;
	esac
	shift
done

export KVRING_SOURCE=$PWD KVRING_BUILD=$PWD/build/release
export KVRING_CUDA_PLUGIN=$KVRING_BUILD/libkvring_cuda.so
programs=$KVRING_BUILD/tests/cuda
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

generator=()
[ -f build/release/CMakeCache.txt ] || generator=(-G Ninja)
if ! { cmake --preset release "${generator[@]}" -DKVRING_TESTS=ON \
	-DKVRING_CUDA=ON && cmake --build build/release; } >"$work/log" 2>&1; then
	tail -n 40 "$work/log"
	exit 1
fi
if ! build/release/kvring info | grep -q '^gpu .* usable  '; then
	build/release/kvring info | grep '^gpu' >&2
	exit 77
fi
name=$(build/release/kvring info | sed -n 's/^gpu *0 *usable *\([^,]*\),.*/\1/p')
: "${output:=docs/measurements/$(date +%F)-$(tr 'A-Z ' 'a-z-' <<<"$name").md}"

# ------------------------------------------------------------------ parts

# name, command...: runs it; its output, indented, into the report.
failed=0
part() {
	local title=$1 code=0 what=ok start=$SECONDS
	shift
	"$@" >"$work/log" 2>&1 </dev/null || code=$?
	case $code in
	0) ;;
	77) what="left out: $(tail -n 1 "$work/log")" ;;
	*)
		what="FAILED, exit $code"
		failed=1
		;;
	esac
	printf '%-20s %5d s  %s\n' "$title" $((SECONDS - start)) "$what"
	{
		printf '\n## %s: %s\n\n' "$title" "$what"
		[ $code = 77 ] || tail -n 60 "$work/log" | sed 's/^/\t/'
	} >>"$work/report"
}

sanitizer() { # tool
	if ! command -v compute-sanitizer >/dev/null; then
		echo "compute-sanitizer is not installed"
		return 77
	fi
	compute-sanitizer --tool "$1" --error-exitcode 1 \
		"$programs/gpu_compute" quick
}

# Each shape by kvring, and right after it by PyTorch.
speed() {
	local shape tokens=16384 pairs=9 code=0
	[ -z "$quick" ] || tokens=4096 pairs=3
	for shape in "" "--causal" "--kv-heads 32" "--head-dim 64" \
		"--dtype f16 --causal"; do
		# shellcheck disable=SC2086
		set -- --tokens $tokens --pairs $pairs $shape
		"$programs/gpu_attention" "$@" || code=1
		python3 -B scripts/bench-gpu.py "$@" || [ $? = 77 ] || code=1
	done
	return $code
}

{
	printf '# %s, %s\n\n' "$name" "$(date +%F)"
	printf '`scripts/gpu-check.sh %s` at %s.\n\n' "${quick:+--quick}" \
		"$(git rev-parse --short HEAD)"
	build/release/kvring info | grep '^gpu' | sed 's/^/\t/'
} >"$work/report"

part "conformance" "$programs/gpu_compute" $quick
part "rings" "$programs/gpu_ring"
for n in 1 2; do # all ranks on this GPU, blocks over shm
	part "own kernel, n = $n" build/release/kvring run -n $n -- \
		"$programs/own_kernel"
done
for tool in memcheck racecheck synccheck; do
	part "$tool" sanitizer $tool
done
part "speed" speed

mkdir -p "$(dirname "$output")"
cp "$work/report" "$output"
echo "report: $output"
exit $failed
