#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Cables between two guests that lose, delay, reorder and duplicate packets,
# alone and together: never a wrong result or a hang; nearly all are exact, the
# others fail and say why.
#	tests/rdma/faults/loss.sh [SEEDS [FIRST]]
# shellcheck source=tests/rdma/faults/lib.bash
. "$KVRING_SOURCE/tests/rdma/faults/lib.bash" || exit 1

seeds=${1:-2} first=${2:-1}
cables=("loss 1%" "delay 5ms 2ms" "duplicate 1%"
	"delay 5ms 2ms loss 1% duplicate 1%")
declare -A exact failed seconds
total_exact=0

counter() { # name, of rxe0
	cat "/sys/class/infiniband/rxe0/ports/1/hw_counters/$1"
}

# The input of a seed, and what comes out of it without any cable.
prepare() { # seed
	"$kvring" random in.st --seed "$1" --tokens 210 --q-heads 2 \
		--kv-heads 1 --head-dim 16
	[ "$KVR_HOST" = 2 ] ||
		"$kvring" attention in.st -o shm.st -n 4 --causal \
			--transport shm >/dev/null
}

judge() { # seed, cable, exit code
	case $3 in
	0)
		[ "$KVR_HOST" = 2 ] || cmp out.st shm.st >&2 ||
			die "seed $1, $2: a wrong result"
		exact[$2]=$((${exact[$2]:-0} + 1))
		total_exact=$((total_exact + 1))
		;;
	1)
		grep -qE '^kvring: .*(KVR_ERR_|lost|rank)' said ||
			die "seed $1, $2: no clear error: $(cat said)"
		failed[$2]=$((${failed[$2]:-0} + 1))
		sed "s/^/seed $1, $2: /" said
		;;
	*) die "seed $1, $2: exit $3: $(cat said)" ;;
	esac
	rm -f out.st said
}

one() { # seed, chunk, cable
	local code=0 start=$EPOCHREALTIME before spent
	before=$(sent)
	# Unquoted: the words of netem.
	# shellcheck disable=SC2086
	cable netem $3
	both 120 --chunk "$2" --timeout 30 || code=$?
	spent=$((${EPOCHREALTIME/./} - ${start/./}))
	[ $(($(sent) - before)) -le 1048576 ] ||
		die "seed $1, $3: more than 1 MiB of traffic"
	[ $spent -le "${seconds[$3]:-0}" ] || seconds[$3]=$spent
	judge "$1" "$3" $code
}

chunks=(512 1024 2048 4096)
for ((seed = first; seed < first + seeds; seed++)); do
	prepare "$seed"
	for cable in "${cables[@]}"; do
		one "$seed" "${chunks[seed % 4]}" "$cable"
	done
done
cable netem
for cable in "${cables[@]}"; do
	echo "$cable: ${exact[$cable]:-0} exact, ${failed[$cable]:-0} failed," \
		"at most $((${seconds[$cable]} / 1000)) ms"
done
for name in duplicate_request out_of_seq_request rcvd_seq_err \
	completer_retry_err; do
	echo "$name $(counter $name)"
done
[ $(($(counter out_of_seq_request) + $(counter rcvd_seq_err))) -gt 0 ] ||
	die "the cables were perfect"
total=$((seeds * ${#cables[@]}))
allowed=$((total < 20 ? 1 : total / 10))
[ $total_exact -ge $((total - allowed)) ] ||
	die "only $total_exact of $total are exact"
