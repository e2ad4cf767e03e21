#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds kvring four ways and runs every test.
#	scripts/test.sh			all of it
#	scripts/test.sh PRESET [SUITE]	a part: release, asan, tsan, clang
# The suites and their time budgets are in scripts/suites.txt. The last line
# is "N passed, N failed, N skipped", summed over all runs; the exit status
# is 0 only when nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

only_preset=${1:-}
only_suite=${2:-}
passed=0 failed=0 skipped=0
report=build/test
rm -rf $report
mkdir -p $report
cores=$(nproc)

# A sanitizer's exit status must not look like a program's own 1 or 2, nor
# like a skip. Stack use after return stays unchecked: gcc's fake stack does
# not align vectors to 64 bytes (GCC bug 110027).
export ASAN_OPTIONS=exitcode=99:detect_stack_use_after_return=0
export LSAN_OPTIONS=exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=exitcode=99:halt_on_error=1:second_deadlock_stack=1

fail() {
	failed=$((failed + 1))
	echo "FAILED: $*"
}

# configure and build one preset
build() {
	local preset=$1 log=$report/build-$1.log start=$SECONDS generator=()
	[ -f "build/$preset/CMakeCache.txt" ] || generator=(-G Ninja)
	if ! { cmake --preset "$preset" "${generator[@]}" \
		-DKVRING_TESTS=ON &&
		cmake --build "build/$preset" -j "$cores"; } \
		>"$log" 2>&1 </dev/null; then
		tail -n 40 "$log"
		fail "the $preset build, see $log"
		return 1
	fi
	printf '%-8s %-12s %4d s\n' "$preset" build $((SECONDS - start))
}

# Thread sanitizer of gcc 12 does not start under the address randomisation
# of newer kernels; without randomisation it does, where that is allowed.
wrap=()
prepare_tsan() {
	local probe=$report/tsan-probe try
	printf 'int main(void) { return 0; }\n' >$probe.c
	gcc -fsanitize=thread $probe.c -o $probe || return 0
	for try in 1 2 3 4 5 6 7 8; do
		$probe >/dev/null 2>&1 && continue
		if setarch -R $probe >/dev/null 2>&1; then
			wrap=(setarch -R)
		else
			echo "tsan programs do not start here (attempt $try);" \
				"lower vm.mmap_rnd_bits to 28"
		fi
		return 0
	done
}

# The suites of guests do not use all of two cores. What comes after them is
# compiled there, in no one's way; what is not done in time, or goes wrong, is
# done again, and told, when its turn has come.
ahead=''
begin_ahead() {
	[ -z "$ahead$only_preset" ] || return 0
	set -m # a process group, to be ended as one
	for preset in asan tsan clang; do
		cmake --preset $preset -G Ninja -DKVRING_TESTS=ON &&
			nice -n 19 cmake --build build/$preset -j 1
	done >$report/ahead.log 2>&1 </dev/null &
	ahead=$!
	set +m
}

end_ahead() {
	[ -n "$ahead" ] || return 0
	kill -- -"$ahead" 2>/dev/null
	wait "$ahead" 2>/dev/null
	ahead=''
}
trap end_ahead EXIT

# Adds one ctest run's JUnit totals to ours; prints "passed failed skipped".
count() {
	local xml=$1 attribute value tests=0 failures=0 skips=0
	for attribute in tests failures disabled skipped; do
		value=$(sed -n "/<testsuite /,/>/ s/.*[[:space:]]$attribute=\"\([0-9]*\)\".*/\1/p" \
			"$xml" | head -n 1)
		case $attribute in
		tests) tests=${value:-0} ;;
		failures) failures=${value:-0} ;;
		*) skips=$((skips + ${value:-0})) ;;
		esac
	done
	ran=$((tests - failures - skips))
	passed=$((passed + ran))
	failed=$((failed + failures))
	skipped=$((skipped + skips))
	suite_counts="$ran passed, $failures failed, $skips skipped"
	[ "$tests" -gt 0 ]
}

# preset suite budget jobs
suite() {
	local preset=$1 name=$2 budget=$3 jobs=$4 start=$SECONDS spent rc=0
	local stem=$PWD/$report/$preset-$name before=$failed
	"${wrap[@]}" ctest --test-dir "build/$preset" -L "^$name\$" \
		-j "$jobs" --no-tests=error --output-on-failure \
		--output-junit "$stem.xml" >"$stem.log" 2>&1 </dev/null || rc=$?
	spent=$((SECONDS - start))
	if [ ! -f "$stem.xml" ] || ! count "$stem.xml"; then
		fail "$preset $name ran no test, see $stem.log"
		return
	fi
	printf '%-8s %-12s %4d s of %4d   %s\n' "$preset" "$name" "$spent" \
		"$budget" "$suite_counts"
	grep -E '\*\*\*Skipped' "$stem.log"
	sed -n 's/^report: /         /p' \
		"build/$preset/Testing/Temporary/LastTest.log"
	if [ "$failed" -gt "$before" ]; then
		cat "$stem.log"
	elif [ $rc -ne 0 ]; then
		cat "$stem.log"
		fail "$preset $name: ctest exited $rc"
	fi
	[ "$spent" -le "$budget" ] ||
		fail "$preset $name took $spent s, its budget is $budget s"
}

# Every label of the release build must have its row in the table.
check_labels() {
	local label
	while read -r label; do
		awk -v s="$label" '$1 == "release" && $2 == s { found = 1 }
			END { exit !found }' scripts/suites.txt ||
			fail "suite '$label' is not in scripts/suites.txt"
	done < <(ctest --test-dir build/release --print-labels |
		sed -n 's/^  \([a-z]*\)$/\1/p')
}

run_preset() {
	local preset=$1 row_preset name budget jobs
	build "$preset" || return
	wrap=()
	[ "$preset" != tsan ] || prepare_tsan
	[ "$preset" != release ] || check_labels
	while read -r row_preset name budget jobs; do
		[ "$row_preset" = "$preset" ] || continue
		[ -z "$only_suite" ] || [ "$only_suite" = "$name" ] || continue
		[ "$name" != vm ] || begin_ahead
		suite "$preset" "$name" "$budget" "$jobs"
		[ "$name" != rdma ] || end_ahead
	done < <(grep -v '^#' scripts/suites.txt)
}

if ! scripts/setup.sh test; then
	fail "setup"
fi
for preset in release asan tsan clang; do
	[ -z "$only_preset" ] || [ "$only_preset" = $preset ] || continue
	run_preset $preset
done

printf 'total %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
