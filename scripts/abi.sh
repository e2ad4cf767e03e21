#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Compares the public ABI with docs/abi.xml, by libabigail.
#	scripts/abi.sh			says what changed; exit 1 if anything did
#	scripts/abi.sh --update		makes the file anew: commit it with the
#					change, which a reader then sees
# Builds the library alone, as for Debian (preset deb), with debugging symbols.
# Only what the public headers declare is in the file, no path, no private type.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${KVRING_ABI_BUILD:-build/deb}
committed=docs/abi.xml

for tool in abidw abidiff; do
	command -v $tool >/dev/null || {
		echo "no $tool here: apt-get install abigail-tools"
		exit 77
	}
done
case "${1:-}" in
"" | --update) ;;
*)
	echo "usage: scripts/abi.sh [--update]" >&2
	exit 2
	;;
esac

now=$(mktemp)
trap 'rm -f "$now"' EXIT
generator=()
[ -f "$build/CMakeCache.txt" ] || generator=(-G Ninja)
cmake --preset deb -B "$build" "${generator[@]}" -DKVRING_CUDA=OFF >/dev/null
cmake --build "$build" --target kvring >/dev/null
abidw --headers-dir include/kvring --drop-private-types \
	--exported-interfaces-only --drop-undefined-syms --no-show-locs \
	--no-corpus-path --no-comp-dir-path --no-elf-needed \
	--type-id-style hash "$build/libkvring.so" |
	sed "s|path='$PWD/|path='|" >"$now"

if [ "${1:-}" = --update ]; then
	cp "$now" $committed
	echo "$committed is that of this tree"
elif ! abidiff --harmless $committed "$now"; then
	echo "The ABI is not that of $committed. Where that is meant:"
	echo "	scripts/abi.sh --update"
	exit 1
else
	echo "the ABI is that of $committed"
fi
