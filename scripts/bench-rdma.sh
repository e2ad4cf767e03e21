#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kvring bench over verbs against Debian's perftest, in pairs a moment apart,
# every other pair the other way round, after one that is not counted: same
# device, port, path MTU, one queue pair, same message sizes; what measures on
# CPU 0, its peer on CPU 1. In the guest, for want of a card:
#	tests/vm/run --timeout 3000 -- scripts/bench-rdma.sh
# Between two processes of one host, over its own device:
#	scripts/bench-rdma.sh [--pairs N] [DEVICE ADDRESS]
# Exit 0 also when a goal is missed: speed is judged by the reader.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/pairs.bash
. scripts/pairs.bash

usage() {
	echo "usage: scripts/bench-rdma.sh [--pairs N] [DEVICE ADDRESS]" >&2
	exit 2
}

pairs=9
if [ "${1:-}" = --pairs ]; then
	[[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage
	pairs=$2
	shift 2
fi
case $# in
0)
	device=$(find /sys/class/infiniband/ -mindepth 1 2>/dev/null |
		sort | head -n 1)
	device=${device##*/}
	address=${KVR_RAIL_1:-}
	;;
2)
	device=$1
	address=$2
	;;
*) usage ;;
esac
if [ -z "$device" ] || [ -z "$address" ]; then
	echo "bench-rdma: no RDMA device here, or its address is not known;" \
		"name both, or run it in the guest: tests/vm/run" >&2
	exit 1
fi

kvring=${KVRING:-build/release/kvring}
export KVRING_DEVICE=$device KVRING_QPS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	echo "bench-rdma: $1" >&2
	cat "$work/log" >&2
	exit 1
}

# --------------------------------------------------------------- one run

# Each prints one number: its tool's column $1, of a table as perftest's.
run_kvring() { # column, argument...
	local column=$1
	shift
	timeout 300 "$kvring" bench "$@" --transport verbs --pin 0,1 --csv \
		>"$work/log" 2>&1 || fail "kvring bench $*"
	awk -F , -v c="$column" '/^[0-9]/ { v = $c } END { print v }' \
		"$work/log"
}

# Of the same function's server, which may not listen yet.
run_client() { # program, argument...
	local try
	for ((try = 0; try < 40; try++)); do
		if timeout 300 taskset -c 0 "$@" "$address" >"$work/log" 2>&1
		then
			return
		fi
		kill -0 "$server" 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}

run_perftest() { # column, program, argument...
	local column=$1 server
	shift
	set -- "$@" -d "$device" -R -F
	taskset -c 1 "$@" >"$work/server" 2>&1 &
	server=$!
	if ! run_client "$@"; then
		kill "$server" 2>/dev/null || true
		fail "$* $address"
	fi
	wait "$server" || fail "$*, the server"
	awk -v c="$column" '/^ *[0-9]+ +[0-9]+ +[0-9.]+ / { v = $c }
		END { print v }' "$work/log"
}

# ------------------------------------------------------------ comparisons

# name | column | kvring bench ... | perftest program ... | goal
comparisons=(
	"bw 64 KiB, MB/s|4|bw --size 64K --iterations 1000|ib_write_bw -s 65536 -n 1000|>= 0.90"
	"bw 1 MiB, MB/s|4|bw --size 1M --iterations 100|ib_write_bw -s 1048576 -n 100|>= 0.95"
	"bw 8 MiB, MB/s|4|bw --size 8M --iterations 12|ib_write_bw -s 8388608 -n 12|>= 0.95"
	"lat 8 B, usec|5|lat --size 8 --iterations 2000|ib_send_lat -s 8 -n 2000|<= 1.10"
	"lat 8 B asleep, usec|5|lat --size 8 --iterations 500 --event|ib_send_lat -e -s 8 -n 500|<= 1.10"
	"lat 8 B, usec|5|lat --size 8 --iterations 2000|ib_write_lat -s 8 -n 2000|"
)

# One pair, appended to the comparison's file as "kvring perftest".
run_pair() { # index, pair
	local name column ours theirs goal a b file=$work/samples-$1
	IFS='|' read -r name column ours theirs goal <<<"${comparisons[$1]}"
	# shellcheck disable=SC2086 # several words each
	if (($2 % 2)); then
		a=$(run_kvring "$column" $ours)
		b=$(run_perftest "$column" $theirs)
	else
		b=$(run_perftest "$column" $theirs)
		a=$(run_kvring "$column" $ours)
	fi
	if [ -z "$a" ] || [ -z "$b" ]; then
		fail "no number of $ours, or of $theirs"
	fi
	[ "$2" -eq 0 ] || echo "$a $b" >>"$file"
}

report() { # index
	local name column ours theirs goal ratio file=$work/samples-$1
	IFS='|' read -r name column ours theirs goal <<<"${comparisons[$1]}"
	ratio=$(awk '{ print $1 / $2 }' "$file" | spread %.3f)
	printf '%-21s kvring %-27s %s %-27s ratio %s  %s\n' "$name" \
		"$(cut -d ' ' -f 1 "$file" | spread %.2f)" "${theirs%% -s*}" \
		"$(cut -d ' ' -f 2 "$file" | spread %.2f)" "$ratio" \
		"$(verdict "$goal" "$ratio")"
}

# ---------------------------------------------------------------- the run

{ "$kvring" bench lat --transport verbs --size 8 --iterations 1 --pin 0,1 ||
	fail "kvring bench lat"; } | grep '^# .*: '
printf 'device %s, address %s, %s\n' "$device" "$address" \
	"$(ib_write_bw --version 2>&1 | head -n 1)"
run_perftest 4 ib_write_bw -s 65536 -n 5 >/dev/null
grep -E '^ *(Mtu|Number of qps|Link type|TX depth)' "$work/log"
for ((i = 0; i < ${#comparisons[@]}; i++)); do
	IFS='|' read -r _ _ ours theirs _ <<<"${comparisons[i]}"
	echo "kvring bench $ours  against  $theirs -R"
done
echo "$pairs pairs; median (min..max); a ratio is of the pairs"
for ((pair = 0; pair <= pairs; pair++)); do
	for ((i = 0; i < ${#comparisons[@]}; i++)); do
		run_pair "$i" "$pair"
	done
done
for ((i = 0; i < ${#comparisons[@]}; i++)); do
	report "$i"
done
