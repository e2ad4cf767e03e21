# SPDX-License-Identifier: Apache-2.0
# For the tests of the command. Each runs in an empty directory of its own;
# what may be in it is what the test put there.
# shellcheck shell=bash disable=SC2034,SC2119,SC2120
set -euo pipefail

kvring=$KVRING_BUILD/kvring
work=$(mktemp -d)
trap 'cd /; rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C
ulimit -c 0

die() {
	echo "FAILED: $*" >&2
	exit 1
}

# Commands and ranks whose working directory is ours. Without a fork for each
# process of the machine.
left_over() {
	local entry program
	for entry in /proc/[0-9]*; do
		[ "$entry/cwd" -ef "$work" ] || continue
		program=
		{ IFS= read -r -d '' program <"$entry/cmdline"; } 2>/dev/null ||
			continue
		case "$program" in
		kvring* | */kvring) echo "${entry#/proc/}" ;;
		esac
	done
}

# Nothing but these files: no temporary one, and no process.
only() { # file...
	local there wanted
	there=$(find . -mindepth 1 | sort)
	wanted=$(for name in "$@"; do echo "./$name"; done | sort)
	[ "$there" = "$wanted" ] || die "there is: $there; wanted: $wanted"
	[ -z "$(left_over)" ] || die "still running: $(left_over)"
}

# The command ends with this code and says, on lines "kvring: ...", something
# that matches the pattern; the directory is as before.
fails() { # code, pattern, argument...
	local code=$1 pattern=$2 before status=0
	shift 2
	before=$(find . | sort)
	timeout 60 "$kvring" "$@" >.out 2>.err </dev/null || status=$?
	local err
	err=$(cat .err)
	rm -f .out .err
	[ "$status" -eq "$code" ] ||
		die "'$*' exited with $status, not $code: $err"
	grep -qP -- "$pattern" <<<"$err" ||
		die "'$*' does not say '$pattern': $err"
	if grep -vqE '^(kvring[a-z ]*: |Try |information\.)' <<<"$err"; then
		die "'$*' says more than messages: $err"
	fi
	[ "$(find . | sort)" = "$before" ] || die "'$*' left: $(find .)"
	[ -z "$(left_over)" ] || die "'$*' still runs"
	echo "ok: $*: $(head -n 1 <<<"$err")"
}

printed= # by the newest `works`
works() { # argument...
	local status=0
	timeout 120 "$kvring" "$@" >.out 2>.err </dev/null || status=$?
	[ "$status" -eq 0 ] || die "'$*' exited with $status: $(cat .err)"
	[ ! -s .err ] || die "'$*' is not silent: $(cat .err)"
	printed=$(cat .out)
	rm -f .out .err
	echo "ok: $*"
}

# The process id of a rank of the command that runs as process $1.
rank_pid() { # parent, rank
	local status
	for status in $(grep -ls "^PPid:[[:space:]]$1\$" /proc/[0-9]*/status); do
		if grep -qs "^Name:[[:space:]]kvring rank $2\$" "$status"; then
			basename "$(dirname "$status")"
			return
		fi
	done
	return 1
}

# Waits until a command succeeds.
eventually() { # command...
	local i
	for ((i = 0; i < 600; i++)); do
		! "$@" || return 0
		sleep 0.05
	done
	die "never: $*"
}
