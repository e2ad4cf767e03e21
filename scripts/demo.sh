#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds kvring on a bare machine and runs its main job: exact attention by a
# ring of processes, verified. Fails on the first thing that is not right.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh build

quietly() { # what command...: shows the output only of a failure
	local log=build/demo/$1.log
	shift
	"$@" >"$log" 2>&1 </dev/null || {
		cat "$log" >&2
		exit 1
	}
}

mkdir -p build/demo
echo "building build/release"
generator=()
[ -f build/release/CMakeCache.txt ] || generator=(-G Ninja)
quietly configure cmake --preset release "${generator[@]}"
quietly build cmake --build build/release --target kvring_command

PATH=$PWD/build/release:$PATH
out=build/demo

show() {
	printf '\n$ %s\n' "$*"
	"$@" </dev/null
}

# An attention that must also say the word.
verified() {
	show "$@" --verify | tee "$out/last.txt"
	grep -qw verified "$out/last.txt" || {
		echo "demo: the command above did not print 'verified'" >&2
		exit 1
	}
}

show kvring info

real=(examples/minilm/*.safetensors)
verified kvring attention "${real[0]}" -o $out/full.safetensors -n 4
verified kvring attention "${real[0]}" -o $out/causal.safetensors -n 4 \
	--causal

show kvring random $out/random.safetensors --tokens 65536 --q-heads 8 \
	--kv-heads 2 --head-dim 64 --dtype f32 --seed 1
verified kvring attention $out/random.safetensors \
	-o $out/random-out.safetensors -n 4 --causal --partition zigzag

printf '\nAll inputs verified; results are in %s.\n' "$out"
