#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Mistakes seeded into the engine, one at a time: each must be caught, by the
# random schedules or by the engine's unit tests, as its patch says. The
# engine as it is must pass both. A patch that no longer applies is a failure.
#
#	mutants.sh SOURCE LIBRARIES CC [FLAGS...]
#
# LIBRARIES is a list, separated by colons.
set -eu

source=$1
libraries=$(echo "$2" | tr : ' ')
shift 2
cc=$*
schedules=1500
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE || true
export GIT_CEILING_DIRECTORIES="$work"

# compile DIRECTORY FILE OBJECT: headers of DIRECTORY come first.
compile() {
	$cc -std=c11 -D_GNU_SOURCE -O1 -I"$1" -I"$source" -I"$source/include" \
		-c "$2" -o "$3"
}

# build DIRECTORY: its engine; only what differs from the good one.
build() {
	for file in "$source"/runtime/engine*.c; do
		unit=$(basename "$file" .c)
		if [ "$1" != "$work/good" ] &&
			cmp -s "$1/runtime/$unit.c" "$file" &&
			cmp -s "$1/runtime/engine_internal.h" \
				"$source/runtime/engine_internal.h"; then
			cp "$work/good/$unit.o" "$1/$unit.o"
		else
			compile "$1" "$1/runtime/$unit.c" "$1/$unit.o"
		fi
	done
}

# link DIRECTORY PROGRAM OBJECT...: the engine's objects come before the
# library, which then has nothing to add to them.
link() {
	directory=$1
	program=$2
	shift 2
	# shellcheck disable=SC2086
	if ! $cc -o "$directory/$program" "$@" "$directory"/engine*.o \
		$libraries -lcmocka -pthread -lm; then
		echo "$program does not link"
		exit 1
	fi
}

run_schedules() {
	link "$1" schedules "$work/test_schedules.o"
	timeout 120 "$1/schedules" $schedules >"$1/log" 2>&1
}

run_unit() {
	for part in send input signal pass cancel side; do
		link "$1" "unit_$part" "$work/test_engine_$part.o" \
			"$work/mock_engine.o"
		timeout 60 "$1/unit_$part" >"$1/log" 2>&1 || return 1
	done
}

# What the log says of it.
reason() {
	grep -E '^  (schedule|trace): |^\[  FAILED  \] engine_[a-z]+_' "$1/log" |
		sed 's/^ */	/' | sort -u
}

prepare() {
	compile "$source" "$source/tests/model/test_schedules.c" \
		"$work/test_schedules.o"
	for part in send input signal pass cancel side; do
		compile "$source" \
			"$source/tests/unit/runtime/test_engine_$part.c" \
			"$work/test_engine_$part.o"
	done
	compile "$source" "$source/tests/unit/runtime/engine_mock.c" \
		"$work/mock_engine.o"
	mkdir -p "$work/good/runtime"
	cp "$source"/runtime/engine*.[ch] "$work/good/runtime"
	build "$work/good"
}

# seed PATCH: 0 when the mistake was caught as the patch says.
seed() {
	name=$(basename "$1" .patch)
	by=$(sed -n 's/^Caught by: //p' "$1")
	directory="$work/$name"
	mkdir -p "$directory/runtime"
	cp "$source"/runtime/engine*.[ch] "$directory/runtime"
	if ! (cd "$directory" && git apply "$1"); then
		echo "$name: the patch does not apply to the engine any more"
		return 1
	fi
	if ! build "$directory"; then
		echo "$name: does not compile"
		return 1
	fi
	if "run_$by" "$directory"; then
		echo "$name: NOT CAUGHT by $by"
		return 1
	fi
	if [ -z "$(reason "$directory")" ]; then
		echo "$name: $by failed, but does not say why"
		return 1
	fi
	echo "$name: caught by $by"
	reason "$directory"
	rm -rf "$directory"
}

prepare
for by in schedules unit; do
	if ! "run_$by" "$work/good"; then
		echo "the engine as it is fails"
		reason "$work/good"
		exit 1
	fi
done
count=0
failed=0
for patch in "$source"/tests/model/mutants/*.patch; do
	count=$((count + 1))
	seed "$patch" || failed=$((failed + 1))
done
echo "$count mistakes, $failed not caught"
[ "$count" -gt 0 ] && [ "$failed" -eq 0 ]
