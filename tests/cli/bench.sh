#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kvring bench: what it refuses, what it prints, and how it ends when a rank
# dies or a slot is overwritten. How fast anything is, is nobody's affair here.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

fails 2 "the test: lat, bw, credit, pass or overlap, is missing" bench
fails 2 "test: 'latency' is not lat, bw, credit, pass or overlap" bench latency
fails 2 "argument: 'bw' is not expected" bench lat bw
fails 2 "--size: '2Q' is not a number of bytes" bench lat --size 8,2Q
fails 2 "--size: '2G' is not" bench lat --size 2G
fails 2 "--size: '0' is not" bench bw --size 0
fails 2 "--slots: '65' is not a whole number from 1 to 64" bench bw --slots 65
fails 2 "--chunk: '0' is not" bench bw --chunk 0
fails 2 "--ratio: 'x' is not" bench overlap --ratio 1,x
fails 2 "--iterations: '0' is not" bench lat --iterations 0
fails 2 "--pin: '-1' is not a CPU's number" bench lat --pin -1
fails 2 "--transport: 'fake' is not a transport between processes" \
	bench lat --transport fake
fails 2 "--bidirectional: 'lat' is not the test that it is for" \
	bench lat --bidirectional
fails 2 "--event: 'overlap' is not the test" bench overlap --event
fails 2 "--ratio: 'bw' is not the test" bench bw --ratio 1
fails 2 "-n: 'credit' is not the test" bench credit -n 3
fails 2 "--slots K,K: 'lat' is not the test" bench lat --slots 2,3
fails 2 "--size: 'that' is not 8 or more" bench pass --size 7
fails 2 "--size: 'that' is not 64 or more" bench overlap --size 63
fails 1 "rank [0-2]: 3 ranks were started; this test is of 2" \
	run -n 3 -- "$kvring" bench lat
fails 1 "more than 65536 chunks; use a larger --chunk" \
	bench lat --size 1M --chunk 8
fails 1 "slots must be 2 or more when n > 2" bench overlap -n 3 --slots 1

# The columns are perftest's.
works bench lat --event --size 0,2,4096,70000 --iterations 20
tr -s ' ' <<<"$printed" | grep -qxF " #bytes #iterations t_min[usec] \
t_max[usec] t_typical[usec] t_avg[usec] t_stdev[usec] 99% percentile[usec] \
99.9% percentile[usec]" || die "no header: $printed"
[ "$(grep -cE '^ +(0|2|4096|70000) +20( +[0-9]+\.[0-9][0-9]){7}$' \
	<<<"$printed")" -eq 4 ] || die "not four rows: $printed"
grep -q "^# processor: ." <<<"$printed" || die "which processor? $printed"
grep -q "^# transport: shm$" <<<"$printed" || die "which transport? $printed"
grep -qE "^# measured [0-9.]+ s in all; the whole command took [0-9.]+ s$" \
	<<<"$printed" || die "how long? $printed"
works bench bw --event --size 2,70000 --iterations 50
tr -s ' ' <<<"$printed" | grep -qxF " #bytes #iterations BW peak[MB/sec] \
BW average[MB/sec] MsgRate[Mpps] #slots" || die "no header: $printed"

# Every test, polling and sleeping, in one process tree and under run; CSV and
# JSON say the same.
rows='
import csv, json, sys
form, keys, wanted = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3])
if form == "csv":
    lines = [l for l in sys.stdin if not l.startswith("#\x20")]
    head, *rows = list(csv.reader(lines))
    assert len(head) >= len(keys), head
    rows = [[float(v) for v in r] for r in rows]
    assert all(len(r) == len(head) for r in rows), rows
else:
    report = json.load(sys.stdin)
    assert set(report) == {"benchmark", "version", "settings", "notes", "rows",
                           "measured_seconds", "whole_seconds"}, report
    assert 0 < report["measured_seconds"] < report["whole_seconds"], report
    assert report["settings"]["transport"] == "shm"
    assert report["settings"]["ranks"] >= 2 and report["settings"]["processor"]
    assert all(set(keys) <= set(r) for r in report["rows"]), report
    rows = [[r[k] for k in keys] for r in report["rows"]]
assert len(rows) == wanted, rows
assert all(v >= 0 for r in rows for v in r), rows
if keys[2] == "min_usec":
    for r in rows:
        assert 0 < r[2] <= r[4] <= r[7] <= r[8] <= r[3], r
'
shape() { # form, keys, rows
	python3 -c "$rows" "$@" <<<"$printed" || die "$printed"
}
lat=bytes,iterations,min_usec,max_usec,typical_usec,average_usec
lat=$lat,deviation_usec,p99_usec,p999_usec
bw=bytes,iterations,peak_mb_per_second,average_mb_per_second,slots
overlap=slots,chunk_bytes,passes,ratio,compute_usec,transfer_usec,step_usec
overlap=$overlap,step_per_transfer,exposed_percent,exposed_p99_percent
works bench lat --size 0,8,3M --iterations 5 --warmup 1 --json
shape json $lat 3
works run -n 2 -- "$kvring" bench lat --event --size 8 --iterations 30 --csv
shape csv $lat 1
works bench credit --size 1,70000 --event --chunk 1000 --iterations 10 --json
shape json $lat 2
works bench credit --size 8 --iterations 10 --slots 1 --pin 0 --event --csv
shape csv $lat 1
for slots in 1 3 64; do
	works bench bw --size 2,10000 --chunk 3000 --slots $slots --event \
		--iterations 200 --json
	shape json $bw 2
done
works bench bw --size 4096 --iterations 100 --bidirectional --json
shape json $bw 1
works run -n 2 -- "$kvring" bench bw --size 5000 --iterations 100 \
	--bidirectional --event --csv
shape csv $bw 1
works bench pass --size 64,5000 --chunk 1000 --iterations 30 --json
shape json $lat 2
works run -n 3 -- "$kvring" bench pass --event --iterations 10 --csv
shape csv $lat 1
# One row more for each ring: the transfer.
works bench overlap --size 256K --slots 1,2 --chunk 64K --ratio 0.5,1.5 \
	--iterations 5 --json
shape json $overlap 6
works run -n 3 -- "$kvring" bench overlap --size 100000 --chunk 30000 \
	--ratio 2 --jitter 50 --iterations 5 --csv
shape csv $overlap 4
works bench overlap -n 4 --size 64 --slots 2 --chunk 1M --ratio 1 \
	--iterations 5 --json
shape json $overlap 2

# A polling crowd is owned up to.
works bench lat --size 8 --iterations 5 --pin 0 --json
grep -q "2 busy threads (2 ranks) share 1 CPUs" <<<"$printed" || die "$printed"

# A slot that is overwritten while it is computed on.
fails 1 "rank [01]: pass \d+, step 1: the block of rank [01] was not what it must be at \d+ % of its compute: its slot was overwritten" \
	bench overlap --size 256K --slots 2 --ratio 2 --iterations 5 --plant
fails 1 "its slot was overwritten" run -n 3 -- "$kvring" bench overlap \
	--size 64K --slots 2 --ratio 2 --iterations 5 --plant

# Starts a measurement of a quarter of an hour in the background, as process $command, and
# waits for its ranks.
begin() { # argument...
	"$kvring" bench "$@" --iterations 10000000 >.out 2>.err </dev/null &
	command=$!
	eventually rank_pid $command 1 >/dev/null
}
# It ends by itself, with 1 and these words, and leaves nobody.
ends() { # pattern
	local status=0
	wait $command || status=$?
	[ $status -eq 1 ] || die "exit $status: $(cat .err)"
	grep -qE -- "$1" .err || die "no '$1': $(cat .err)"
	[ -z "$(left_over)" ] || die "still running: $(left_over)"
	sed 's/^/ok: /' .err
	rm -f .out .err
}
for test in "lat --event" bw credit "pass --event" overlap; do
	# shellcheck disable=SC2086 # several words
	begin $test --size 1M
	kill -KILL "$(rank_pid $command 1)"
	ends "^kvring bench: (process 1 failed; all others killed|rank 0: .*lost rank 1)"
done
# Stopped, it says nothing any more.
begin bw --event --size 1M --timeout 1
eventually grep -q transport .out
sleep 0.3
kill -STOP "$(rank_pid $command 1)"
ends "^kvring bench: rank 0: rank 1 is silent for 1.0 s"

# Where no parent looks, the other rank notices by itself.
status=0
"$kvring" run -n 2 --timeout 20 -- bash -c "
	[ \$KVRING_RANK -eq 0 ] || (sleep 1; kill -KILL \$\$) &
	exec '$kvring' bench lat --event --size 1M --iterations 10000000" \
	>/dev/null 2>.err || status=$?
[ $status -eq 1 ] || [ $status -eq 137 ] || die "exit $status: $(cat .err)"
grep -q "rank 0: lost rank 1" .err || die "$(cat .err)"

# Not next to the command, nor where it is installed.
cp -L "$kvring" lonely
cp -P "$KVRING_BUILD"/libkvring.so* .
status=0
LD_LIBRARY_PATH=. ./lonely bench lat 2>.err || status=$?
[ $status -eq 1 ] || die "without kvring-bench: $status"
grep -q "^kvring: .*/kvring-bench: cannot be started: No such file" .err ||
	die "$(cat .err)"
