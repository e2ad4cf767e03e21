#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kvring over shm against UCX's ucx_perftest and Open MPI, both of Debian, in
# pairs a moment apart, every other pair the other way round, after one that is
# not counted. What measures runs on CPU 0, its peer on CPU 1. About five
# minutes, for a quiet machine; on a busy one, as root: chrt -f 1 before it.
#	apt-get install ucx-utils openmpi-bin libopenmpi-dev
#	scripts/bench-ucx.sh [--pairs N] [--quick] [--output FILE]
# --output: the same, indented, as docs/measurements wants it.
# A peer that is not installed is said to be missing. Exit 0 also when a goal
# is missed: speed is judged by the reader.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/pairs.bash
. scripts/pairs.bash

usage() {
	echo "usage: scripts/bench-ucx.sh [--pairs N] [--quick]" \
		"[--output FILE]" >&2
	exit 2
}

pairs=11 part=1 output=''
while [ $# -gt 0 ]; do
	case $1 in
	--quick) pairs=1 part=20 ;;
	--pairs)
		[[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage
		pairs=$2
		shift
		;;
	--output)
		[ -n "${2:-}" ] || usage
		output=$2
		shift
		;;
	*) usage ;;
	esac
	shift
done

build=${KVRING_BUILD:-build/release}
kvring=$build/kvring
export UCX_TLS=posix,cma,self UCX_LOG_LEVEL=error
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	echo "bench-ucx: $1" >&2
	[ ! -f "$work/log" ] || cat "$work/log" >&2
	exit 1
}

[ -x "$kvring" ] || fail "no $kvring; build first: cmake --build $build"
[ "$(nproc)" -ge 2 ] || fail "two CPUs are needed, one for each side"

# ---------------------------------------------------------------- one run

count() { # of a full run
	echo $(($1 / part > 10 ? $1 / part : 10))
}

# Each prints one number.
run_kvring() { # key, argument...
	local key=$1
	shift
	timeout 120 "$kvring" bench "$@" --pin 0,1 --json >"$work/json" \
		2>"$work/log" || fail "kvring bench $*"
	python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["rows"][0][sys.argv[2]])' \
		"$work/json" "$key"
}

run_lat() { # bytes, iterations
	run_kvring typical_usec lat --transport shm --size "$1" \
		--iterations "$(count "$2")" --warmup "$(count 10000)"
}

run_bw() { # bytes, iterations
	run_kvring average_mb_per_second bw --transport shm --size "$1" \
		--slots 1 --iterations "$(count "$2")" --warmup "$(count 100)"
}

run_pass() { # iterations, option...
	local iterations=$1
	shift
	run_kvring typical_usec pass --transport shm --size 64 "$@" \
		--iterations "$(count "$iterations")"
}

# The client of the same function's server, which may not listen yet.
ucx_client() { # argument...
	local try
	for ((try = 0; try < 40; try++)); do
		sleep 0.1
		if timeout 120 taskset -c 0 ucx_perftest "$@" 127.0.0.1 \
			>"$work/log" 2>&1; then
			return
		fi
		kill -0 "$server" 2>/dev/null || return 1
	done
	return 1
}

run_ucx() { # column, test, bytes, iterations
	local column=$1 server
	set -- -f -p $((20000 + RANDOM % 10000)) -t "$2" -s "$3" \
		-n "$(count "$4")" -w "$(count $(($4 / 10)))"
	timeout 120 taskset -c 1 ucx_perftest -p "$3" >"$work/server" 2>&1 &
	server=$!
	if ! ucx_client "$@"; then
		kill "$server" 2>/dev/null || true
		fail "ucx_perftest $*"
	fi
	wait "$server" || fail "ucx_perftest $*, the server"
	awk -v c="$column" '/^ +[0-9]+ +[0-9.]+ / { v = $c } END { print v }' \
		"$work/log"
}

run_mpi() { # way, bytes, iterations
	timeout 120 mpirun -n 2 --map-by core --bind-to core \
		"$work/mpi_pingpong" "$1" "$2" "$(count "$3")" \
		>"$work/log" 2>&1 || fail "mpirun mpi_pingpong $*"
	awk -F , '/^[0-9]+,/ { print $3 }' "$work/log"
}

run_memcpy() { # bytes, iterations
	taskset -c 0 "$build/bench/memory_copy" "$1" "$(count "$2")"
}

# ------------------------------------------------------------ comparisons

# figure | ours | the peer's name | what runs it | goal, of the ratio
mib=1048576
comparisons=(
	"64 B, half a round trip, us|run_lat 64 100000|UCX tag_lat|run_ucx 2 tag_lat 64 100000|<= 1.10"
	"64 B, half a round trip, us|run_lat 64 100000|UCX ucp_put_lat|run_ucx 2 ucp_put_lat 64 100000|"
	"64 B, half a round trip, us|run_lat 64 100000|MPI_Send, MPI_Recv|run_mpi send 64 100000|"
	"64 B, half a round trip, us|run_lat 64 100000|MPI_Put|run_mpi put 64 100000|"
	"1 MiB, MB/s|run_bw 1M 5000|UCX ucp_put_bw|run_ucx 5 ucp_put_bw $mib 5000|>= 0.95"
	"1 MiB, MB/s|run_bw 1M 5000|memcpy|run_memcpy $mib 5000|"
	"16 MiB, MB/s|run_bw 16M 200|UCX ucp_put_bw|run_ucx 5 ucp_put_bw $((16 * mib)) 200|>= 0.95"
	"16 MiB, MB/s|run_bw 16M 200|memcpy|run_memcpy $((16 * mib)) 200|"
)

# figure | ours | goal
alone=(
	"pass step of 64 B, us|run_pass 100000|<= 1.5"
	"pass step, threads asleep, us|run_pass 300 --event|"
)

missing=''
here() { # peer
	case $1 in
	UCX*) command -v ucx_perftest >/dev/null ;;
	MPI*) [ -x "$work/mpi_pingpong" ] ;;
	memcpy) [ -x "$build/bench/memory_copy" ] ;;
	esac
}

prepare() {
	if command -v mpicc >/dev/null && command -v mpirun >/dev/null; then
		mpicc -std=c11 -O2 -D_GNU_SOURCE bench/mpi_pingpong.c \
			-o "$work/mpi_pingpong" >"$work/log" 2>&1 ||
			fail "mpicc bench/mpi_pingpong.c"
	else
		missing+="; no MPI: openmpi-bin, libopenmpi-dev"
	fi
	command -v ucx_perftest >/dev/null || missing+="; no UCX: ucx-utils"
	[ -x "$build/bench/memory_copy" ] ||
		missing+="; no $build/bench/memory_copy: -DKVRING_BENCH=ON"
}

# One pair, appended to the comparison's file as "ours theirs".
run_pair() { # index, pair
	local figure ours peer theirs goal a b
	IFS='|' read -r figure ours peer theirs goal <<<"${comparisons[$1]}"
	here "$peer" || return 0
	# shellcheck disable=SC2086 # several words each
	if (($2 % 2)); then
		a=$($ours)
		b=$($theirs)
	else
		b=$($theirs)
		a=$($ours)
	fi
	if [ -z "$a" ] || [ -z "$b" ]; then
		fail "no number of $ours, or of $theirs"
	fi
	[ "$2" -eq 0 ] || echo "$a $b" >>"$work/samples-$1"
}

run_alone() { # index, pair
	local figure ours goal a
	IFS='|' read -r figure ours goal <<<"${alone[$1]}"
	# shellcheck disable=SC2086 # several words
	a=$($ours)
	[ -n "$a" ] || fail "no number of $ours"
	[ "$2" -eq 0 ] || echo "$a" >>"$work/alone-$1"
}

# ----------------------------------------------------------------- report

row='%-30s %-27s %-18s %-27s %-22s %s\n'

format_of() { # figure
	case $1 in
	*MB/s) echo %.0f ;;
	*) echo %.3f ;;
	esac
}

report() { # index
	local figure ours peer theirs goal ratio format file=$work/samples-$1
	IFS='|' read -r figure ours peer theirs goal <<<"${comparisons[$1]}"
	if ! [ -f "$file" ]; then
		# shellcheck disable=SC2059 # the row's
		printf "$row" "$figure" - "$peer" missing - -
		return
	fi
	format=$(format_of "$figure")
	ratio=$(awk '{ print $1 / $2 }' "$file" | spread %.3f)
	# shellcheck disable=SC2059 # the row's
	printf "$row" "$figure" \
		"$(cut -d ' ' -f 1 "$file" | spread "$format")" "$peer" \
		"$(cut -d ' ' -f 2 "$file" | spread "$format")" "$ratio" \
		"$([ -z "$goal" ] || verdict "$goal" "$ratio")"
}

report_alone() { # index
	local figure ours goal value
	IFS='|' read -r figure ours goal <<<"${alone[$1]}"
	value=$(spread %.3f <"$work/alone-$1")
	# shellcheck disable=SC2059 # the row's
	printf "$row" "$figure" "$value" - - - \
		"$([ -z "$goal" ] || verdict "$goal" "$value")"
}

describe() {
	date -u '+%Y-%m-%d %H:%M UTC'
	printf 'commit %s%s\n' \
		"$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
		"$(git diff --quiet HEAD 2>/dev/null || echo ', with changes')"
	printf 'load %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
	printf 'processor: %s; %s CPUs; %s; scheduled %s\n' \
		"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
		"$(nproc)" "$(uname -srm)" \
		"$(chrt -p $$ | sed -n 's/.*policy: //p'), nice $(nice)"
	! command -v ucx_info >/dev/null ||
		printf 'UCX %s, UCX_TLS=%s\n' \
			"$(ucx_info -v | awk '/Version/ { print $3 }')" \
			"$UCX_TLS"
	! [ -x "$work/mpi_pingpong" ] || mpirun --version | head -n 1
	cat <<-END
	Half a round trip: ours is told by the write's immediate, as tag_lat is by
	a matched receive, and MPI_Recv. ucp_put_lat and MPI_Put tell nobody: their
	receivers watch the last byte in memory. All are medians of one run.
	MB/s, of 2^20 bytes: one source, one target, each message over the last
	one; ours waits for the receiver's credit after each (1 slot), ucp_put_bw
	for nobody, memcpy runs in one process.
	A pass step is a whole pass of 2 ranks with all its calls, begin to end.
	END
	echo "$pairs pairs; median (min..max); a ratio is of the pairs${missing}"
}

main() {
	local i pair
	prepare
	describe
	for ((pair = 0; pair <= pairs; pair++)); do
		for ((i = 0; i < ${#comparisons[@]}; i++)); do
			run_pair "$i" "$pair"
		done
		for ((i = 0; i < ${#alone[@]}; i++)); do
			run_alone "$i" "$pair"
		done
	done
	# shellcheck disable=SC2059 # the row's
	printf "\n$row" figure kvring peer "the peer's" "kvring / peer" goal
	for ((i = 0; i < ${#comparisons[@]}; i++)); do
		report "$i"
	done
	for ((i = 0; i < ${#alone[@]}; i++)); do
		report_alone "$i"
	done
	printf 'load %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
}

if [ -n "$output" ]; then
	main | tee >(sed $'s/^\\(.\\)/\t\\1/' >"$output")
else
	main
fi
