# SPDX-License-Identifier: Apache-2.0
# For the tests of tests/vm/run.
# shellcheck shell=bash disable=SC2034
set -euo pipefail

here=$KVRING_SOURCE/tests/vm
work=$(mktemp -d)
trap 'cd /; rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C
unset KVR_VM_DEBUG

die() {
	echo "FAILED: $*" >&2
	[ ! -s err ] || sed 's/^/err: /' err >&2
	[ ! -s out ] || sed 's/^/out: /' out >&2
	exit 1
}

# QEMU processes of the run that is, or was, process $1. Without a fork for
# each process of the machine.
guests_of() {
	local entry words
	for entry in /proc/[0-9]*; do
		{ mapfile -d '' -n 3 words <"$entry/cmdline"; } 2>/dev/null ||
			continue
		case "${words[*]-}" in
		"qemu-system-x86_64 -name kvring-$1-"*) echo "${entry#/proc/}" ;;
		esac
	done
}

none_left() { # pid of the run
	[ -z "$(guests_of "$1")" ] || die "still running: $(guests_of "$1")"
}

# Runs it into ./out and ./err; it must end with the code and leave no guest.
ends_with() { # code, argument of run...
	local wanted=$1 code=0 run
	shift
	"$here/run" "$@" >out 2>err </dev/null &
	run=$!
	wait $run || code=$?
	[ "$code" = "$wanted" ] || die "'$*' exited with $code, not $wanted"
	none_left $run
}

says() { # file, pattern
	grep -qP -- "$2" "$1" || die "$1 lacks '$2'"
}
