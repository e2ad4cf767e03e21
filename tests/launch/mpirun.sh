#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# mpirun serves PMIx: each process is a rank, rank 0 collects; the same bits as
# from kvring's own launcher. What goes wrong is said once, by rank 0.
# shellcheck source=tests/launch/lib.bash
. "$KVRING_SOURCE/tests/launch/lib.bash" || exit 1

command -v mpirun >/dev/null || skip "no mpirun; install openmpi-bin"
mpirun --version | grep -q "Open MPI" || skip "mpirun is not Open MPI's"
"$kvring" info | grep -qE '^bootstrap +pmix +usable' ||
	skip "$("$kvring" info | grep pmix)"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Sessions of others on this machine are none of our business.
export TMPDIR=$work/tmp
mkdir "$TMPDIR"
mpi=(mpirun --oversubscribe)

succeeds() { # ranks, argument...
	local n=$1
	shift
	start job "${mpi[@]}" -n "$n" "$kvring" "$@"
	ends_with job 0
	[ ! -s job.err ] || die "not silent: $(cat job.err)"
}

breaks() { # code, pattern, ranks, argument...
	local code=$1 pattern=$2 n=$3
	shift 3
	start job "${mpi[@]}" -n "$n" "$kvring" "$@"
	ends_with job "$code"
	grep '^kvring' job.err >said || true
	says_once said "$pattern"
	[ "$(wc -l <said)" -eq 1 ] || die "more than once: $(cat said)"
	[ ! -e out.st ] || die "something was written"
	eventually nothing_runs
}

works random in.st --tokens 500 --q-heads 4 --kv-heads 2 --head-dim 64
works random half.st --tokens 333 --q-heads 8 --kv-heads 1 --head-dim 128 \
	--dtype bf16
works random tiny.st --tokens 2 --q-heads 2 --head-dim 3

# Four ranks, verified, of each kind of input; also more ranks than tokens.
for options in "in.st" "in.st --causal --partition zigzag" \
	"half.st --causal" "half.st --f32-output" "tiny.st"; do
	# shellcheck disable=SC2086 # several words
	{
		works attention $options -o own.st -n 4
		succeeds 4 attention $options -o mpi.st --verify
	}
	grep -qx verified job.out || die "not verified: $(cat job.out)"
	[ "$(grep -cE '^ +[0-3] +4 ' job.out)" -eq 4 ] ||
		die "not one table of four ranks: $(cat job.out)"
	same_bytes own.st mpi.st
	rm own.st mpi.st
done

# Results of many slots: 16 MiB, where 1 MiB fits into one.
works random big.st --tokens 2048 --q-heads 16 --kv-heads 1 --head-dim 128
works attention big.st -o own.st -n 3 --causal --partition zigzag
succeeds 3 attention big.st -o mpi.st --causal --partition zigzag --json
same_bytes own.st mpi.st
python3 - <<'END'
import json
report = json.load(open("job.out"))
assert report["options"]["n"] == 3, report
assert [r["rank"] for r in report["ranks"]] == [0, 1, 2], report
assert sum(r["tokens"] for r in report["ranks"]) == 2048, report
assert all(len(r["timeline"]) == 3 for r in report["ranks"]), report
END
rm own.st mpi.st big.st

# One rank, and a number that says what mpirun says.
succeeds 1 attention in.st -o out.st
succeeds 2 attention in.st -o out.st -n 2
rm out.st

breaks 2 "^kvring: -n: 3, but 4 ranks were started" 4 \
	attention in.st -o out.st -n 3
breaks 2 "unrecognized option '--frobnicate'" 4 \
	attention in.st -o out.st --frobnicate
breaks 2 "^kvring: --slots: 1 is not enough" 3 attention in.st -o out.st \
	--slots 1
breaks 2 "^kvring: --chunk: 1 bytes cut" 2 attention in.st -o out.st --chunk 1
breaks 1 "^kvring: none.st: cannot be opened" 4 attention none.st -o out.st
breaks 1 "^kvring: no-such/out.st: cannot be written" 4 \
	attention in.st -o no-such/out.st

# One rank has another input: all know, one says it.
cat >other.sh <<-END
	#!/bin/bash
	[ \$PMIX_RANK -ne 2 ] || exec "$kvring" attention \$1 -o out.st \$2
	exec "$kvring" attention in.st -o out.st
END
chmod +x other.sh
other() { # pattern, argument...
	local pattern=$1
	shift
	start job "${mpi[@]}" -n 4 ./other.sh "$@"
	ends_with job 1
	says_once job.err "$pattern"
	[ "$(grep -c '^kvring' job.err)" -eq 1 ] || die "$(cat job.err)"
	eventually nothing_runs
}
other "^kvring: rank 2 cannot begin: none.st: cannot be opened" none.st
other "^kvring: the input's number of tokens differs: 500 on rank 0, 333" \
	half.st
other "^kvring: --causal differs: 0 on rank 0, 1 on rank 2" in.st --causal

# A rank is killed at work: the job fails, and says which.
works random long.st --tokens 24000 --q-heads 4 --kv-heads 2 --head-dim 64
for victim in 0 2; do
	start job "${mpi[@]}" -n 4 "$kvring" attention long.st -o out.st
	eventually our_rank $victim >/dev/null
	sleep 0.5
	kill -KILL "$(our_rank $victim)"
	ends_with job 1
	says_once job.err "^kvring: rank $victim was killed by SIGKILL"
	[ "$(grep -c KVR_ERR_PEER_LOST job.err)" -le 1 ] ||
		die "the news is told more than once: $(cat job.err)"
	[ ! -e out.st ] || die "something was written"
	eventually nothing_runs
done

# mpirun itself is interrupted: it ends the ranks, and one says so.
start job "${mpi[@]}" -n 4 "$kvring" attention long.st -o out.st
eventually our_rank 0 >/dev/null
kill -TERM "$(pgrep -P "${started[job]}")"
wait "${started[job]}" || true
eventually nothing_runs
[ ! -e out.st ] || die "something was written"
[ "$(grep -c '^kvring' job.err)" -le 1 ] || die "more than once: $(cat job.err)"
