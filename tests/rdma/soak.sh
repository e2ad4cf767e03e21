#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A ring of four ranks over verbs in one guest, for as many minutes as one
# likes: passes over a modelled device that checks what it computes on. Prints
# passes, bytes, errors and each rank's memory; fails on an error, or when a
# rank's memory grows. By hand, with the variables that ctest sets:
#	tests/rdma/soak.sh [MINUTES]
set -euo pipefail
minutes=${1:-1}
[[ $minutes =~ ^[1-9][0-9]*$ ]] || {
	echo "usage: tests/rdma/soak.sh [MINUTES]" >&2
	exit 2
}
if [ -z "${KVR_HOST:-}" ]; then
	# A busy machine needs longer for the same rows.
	exec "$KVRING_SOURCE/tests/vm/run" --timeout $((minutes * 180 + 300)) \
		-- bash "$0" "$@"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ranks=4 block=65536
# A row takes some 30 s: it measures the transfer, and then with compute.
ratios=$(printf '1.5,%.0s' $(seq $((minutes * 2))))

# Of every rank, in KiB; one line each time.
look() {
	local task line=
	for task in $(<"/proc/$command/task/$command/children"); do
		while read -r key value _; do
			[ "$key" != VmRSS: ] || line+="$value "
		done 2>/dev/null <"/proc/$task/status"
	done
	[ "$(wc -w <<<"$line")" -ne $ranks ] || echo "$line" >>"$work/rss"
}

start=$SECONDS
"$KVRING_BUILD/kvring" bench overlap -n $ranks --transport verbs \
	--size $block --chunk 16K --slots 2 --ratio "${ratios%,}" --seconds 10 \
	--timeout 60 --csv >"$work/table" 2>"$work/said" </dev/null &
command=$!
while kill -0 $command 2>/dev/null; do
	look || true
	sleep 5
done
code=0
wait $command || code=$?
cat "$work/said"

passes=$(awk -F , '/^[0-9]/ { n += $3 } END { print n + 0 }' "$work/table")
echo "$ranks ranks, $(((SECONDS - start) / 60)) min $(((SECONDS - start) % \
	60)) s: $passes passes," \
	"$((passes * block * (ranks - 1) * ranks)) bytes," \
	"$(grep -c . "$work/said" || true) errors, exit $code"

# The largest of the first and of the last third: a row keeps its samples, so
# that memory goes up within one and down again. 1 MiB is for them and for
# what the allocator keeps.
awk -v ranks=$ranks '
	{ for (i = 1; i <= ranks; i++) rss[NR, i] = $i }
	END {
		if (NR < 9) { print "FAILED: too short to judge"; exit 1 }
		third = int(NR / 3)
		for (i = 1; i <= ranks; i++) {
			first = last = 0
			for (j = 2; j <= third; j++)
				if (rss[j, i] > first) first = rss[j, i]
			for (j = NR - third; j < NR; j++)
				if (rss[j, i] > last) last = rss[j, i]
			printf "rank %d: %d KiB at first, %d KiB at last\n",
				i - 1, first, last
			if (last > first + 1024) grew = 1
		}
		if (grew) print "FAILED: memory grew"
		exit grew
	}' "$work/rss"
[ $code -eq 0 ] && [ "$passes" -gt 0 ]
