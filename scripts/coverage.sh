#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Which lines and branches do the tests run? Builds the preset `coverage`, runs
# suites on it and prints a table by directory; below 92 % of the lines it
# fails. Without --guest rdma/verbs, which needs a device, is not judged.
#	scripts/coverage.sh [--guest] [--no-run] [--files] [SUITE...]
#
#	--guest		the tests of verbs, too, in a guest; a quarter of an hour
#	--no-run	only the table, of what ran since the build
#	--files		a line for each file, too
#	SUITE		default: all that look at the library or the command
set -euo pipefail
cd "$(dirname "$0")/.."

build=$PWD/build/coverage
run=yes guest=no
files=()
suites=()
for word; do
	case $word in
	--guest) guest=yes ;;
	--no-run) run=no ;;
	--files) files=(--files) ;;
	-*)
		sed -n '3,12s/^# \?//p' "$0" >&2
		exit 2
		;;
	*) suites+=("$word") ;;
	esac
done
[ ${#suites[@]} -gt 0 ] ||
	suites=(unit conformance reference model ring cli launch)

run_suites() {
	local generator=() labels
	[ -f "$build/CMakeCache.txt" ] || generator=(-G Ninja)
	cmake --preset coverage "${generator[@]}" -DKVRING_TESTS=ON >/dev/null
	cmake --build "$build" -j "$(nproc)" >"$build/build.log" ||
		{ tail -n 40 "$build/build.log" && exit 1; }
	find "$build" -name '*.gcda' -delete
	labels=$(IFS='|' && echo "${suites[*]}")
	ctest --test-dir "$build" -L "^($labels)\$" --output-on-failure \
		-j "$(nproc)" -Q -O "$build/coverage.log" >/dev/null ||
		echo "some tests failed, see $build/coverage.log"
}

# gcov wants the notes of the build beside the counts.
run_guest() {
	local counts=$build/guest name
	rm -rf "$counts"
	mkdir "$counts"
	KVRING_SOURCE=$PWD KVRING_BUILD=$build tests/vm/run --timeout 1800 -- \
		bash "$PWD/tests/rdma/coverage.sh" 2>"$build/guest.log" |
		base64 -d | tar -xz -C "$counts"
	while read -r name; do
		cp "${name%.gcda}.gcno" "$counts${name%.gcda}.gcno"
	done < <(cd "$counts" && find . -name '*.gcda' | cut -c2-)
}

[ $run = no ] || run_suites
[ $run$guest != yesyes ] || run_guest
python3 -B scripts/coverage.py "${files[@]}" "$build"
