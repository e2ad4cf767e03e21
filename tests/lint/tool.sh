#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs one foreign checker over the tree: tool.sh format|shell|cppcheck.
# Exit 77, a skip: the checker is not installed, or one of another version than
# the one that the tree is kept clean with has findings.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$KVRING_SOURCE"

# files ending...: NUL-separated
files() {
	python3 -B "$here/tree.py" "$@"
}

# judge VERSION command...: runs it; VERSION is part of its --version
judge() {
	local wanted=$1 version
	shift
	version=$("$1" --version)
	echo "$version"
	"$@" && return 0
	case $version in
	*"$wanted"*) return 1 ;;
	esac
	echo "not $1 $wanted: no verdict"
	exit 77
}

check_format() {
	local names
	mapfile -d '' names < <(files .c .h .cu .cuh)
	judge 'version 14.' clang-format --dry-run -Werror "${names[@]}"
}

check_shell() {
	local names
	mapfile -d '' names < <(files .sh .bash .ci/run vm/guest/bin/cable)
	judge 'version: 0.9' shellcheck --severity=warning \
		"${names[@]}"
}

check_cppcheck() {
	local state=$KVRING_BUILD/cppcheck
	mkdir -p "$state"
	files .c | tr '\0' '\n' >"$state.list"
	judge 'Cppcheck 2.10' cppcheck --quiet --std=c11 --language=c \
		-j "$(nproc)" --enable=warning,performance,portability \
		--inline-suppr --suppressions-list=tests/lint/cppcheck.txt \
		--cppcheck-build-dir="$state" --error-exitcode=1 \
		-D_GNU_SOURCE -D__x86_64__=1 -I include -I . \
		--file-list="$state.list"
}

case "${1:-}" in
format) tool=clang-format ;;
shell) tool=shellcheck ;;
cppcheck) tool=cppcheck ;;
*)
	echo "usage: tool.sh format|shell|cppcheck" >&2
	exit 2
	;;
esac
command -v $tool >/dev/null || {
	echo "$tool is not installed; scripts/setup.sh test installs it"
	exit 77
}
"check_$1"
