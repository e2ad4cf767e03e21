# SPDX-License-Identifier: Apache-2.0
# For the tests of launching: on top of those of the command.
# shellcheck shell=bash disable=SC2034
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1
unset KVRING_HOSTS KVRING_HOST_INDEX KVRING_PORT KVRING_RANK KVRING_SIZE \
	KVRING_BOOTSTRAP_FD KVRING_SECRET KVRING_SECRET_FILE \
	PMIX_RANK PMIX_NAMESPACE

skip() {
	echo "skipped: $*"
	exit 77
}

# Ports that nobody listens on just now, none of those that the kernel gives
# out for outgoing connections.
free_ports() { # count
	python3 - "$1" <<-'END'
		import random, socket, sys
		held = []
		while len(held) < int(sys.argv[1]):
		    port = random.randrange(10000, 30000)
		    s = socket.socket()
		    try:
		        s.bind(("", port))
		        held.append((s, port))
		    except OSError:
		        pass
		print(*[port for s, port in held])
	END
}

sum_of() { # file
	sha256sum <"$1" | cut -d ' ' -f 1
}

same_bytes() { # file, file
	[ "$(sum_of "$1")" = "$(sum_of "$2")" ] || die "$1 and $2 differ"
	echo "ok: $1 and $2: $(sum_of "$1")"
}

# Runs in the background; its output goes to NAME.out, NAME.err.
start() { # name, command...
	local name=$1
	shift
	timeout 60 "$@" >"$name.out" 2>"$name.err" </dev/null &
	started[$name]=$!
}
declare -A started

# It ended with this code; "some": with any but 0.
ends_with() { # name, code
	local status=0
	wait "${started[$1]}" || status=$?
	[ $status -eq "${2/some/$((status ? status : 1))}" ] ||
		die "$1 exited with $status, not $2: $(cat "$1.out" "$1.err")"
	sed "s/^/ok: $1: /" "$1.err"
}

says() { # name, pattern
	grep -qE -- "$2" "$1.err" ||
		die "$1 does not say '$2': $(cat "$1.err")"
}

# Exactly once, whoever says it.
says_once() { # file, pattern
	[ "$(grep -cE -- "$2" "$1")" -eq 1 ] ||
		die "'$2' is not said once: $(cat "$1")"
}

prints_nothing() { # name
	[ ! -s "$1.out" ] && [ ! -s "$1.err" ] ||
		die "$1 says: $(cat "$1.out" "$1.err")"
}

nothing_runs() { [ -z "$(left_over)" ]; }

# The process id of a rank whose working directory is ours.
our_rank() { # rank
	local status
	for status in $(grep -ls "^Name:[[:space:]]kvring rank $1\$" \
		/proc/[0-9]*/status); do
		status=${status%/status}
		[ "$status/cwd" -ef "$work" ] || continue
		echo "${status#/proc/}"
		return
	done
	return 1
}
