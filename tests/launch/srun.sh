#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# srun --mpi=pmix on a Slurm of this machine alone, started here and ended
# here: the same bits as from kvring's own launcher; failures said once.
# shellcheck source=tests/launch/lib.bash
. "$KVRING_SOURCE/tests/launch/lib.bash" || exit 1
# shellcheck source=tests/launch/slurm.bash
. "$KVRING_SOURCE/tests/launch/slurm.bash" || exit 1

for program in munged munge slurmctld slurmd srun; do
	command -v $program >/dev/null ||
		skip "no $program; install munge and slurm-wlm"
done
[ "$(id -u)" -eq 0 ] || skip "Slurm's daemons need root here"
"$kvring" info | grep -qE '^bootstrap +pmix +usable' ||
	skip "$("$kvring" info | grep pmix)"

trap 'slurm_end; cd /; rm -rf "$work"' EXIT
slurm_begin "$work/slurm"
srun --mpi=list 2>&1 | grep -q pmix || skip "this Slurm has no PMIx plugin"
job=(srun --mpi=pmix -O)

works random in.st --tokens 500 --q-heads 4 --kv-heads 2 --head-dim 64
for options in "" "--causal --partition zigzag"; do
	# shellcheck disable=SC2086 # none or several words
	{
		works attention in.st -o own.st -n 4 $options
		start job "${job[@]}" -n 4 "$kvring" attention in.st \
			-o slurm.st --verify $options
	}
	ends_with job 0
	grep -qx verified job.out || die "not verified: $(cat job.out)"
	[ "$(grep -cE '^ +[0-3] +4 ' job.out)" -eq 4 ] ||
		die "not one table of four ranks: $(cat job.out)"
	same_bytes own.st slurm.st
	rm own.st slurm.st
done

breaks() { # code, pattern, argument...
	local code=$1 pattern=$2
	shift 2
	start job "${job[@]}" -n 3 "$kvring" "$@"
	ends_with job "$code"
	grep '^kvring' job.err >said || true
	says_once said "$pattern"
	[ "$(wc -l <said)" -eq 1 ] || die "more than once: $(cat said)"
	[ ! -e out.st ] || die "something was written"
	eventually nothing_runs
}
breaks 2 "^kvring: -n: 2, but 3 ranks were started" \
	attention in.st -o out.st -n 2
breaks 1 "^kvring: none.st: cannot be opened" attention none.st -o out.st

# A rank is killed at work. Slurm kills the others when it learns of it, and
# srun's code is then that of one of these.
works random long.st --tokens 24000 --q-heads 4 --kv-heads 2 --head-dim 64
for victim in 0 2; do
	start job "${job[@]}" -n 3 "$kvring" attention long.st -o out.st
	eventually our_rank $victim >/dev/null
	sleep 0.5
	kill -KILL "$(our_rank $victim)"
	ends_with job some
	says_once job.err "^kvring: rank $victim was killed by SIGKILL"
	[ "$(grep -c KVR_ERR_PEER_LOST job.err)" -le 1 ] ||
		die "the news is told more than once: $(cat job.err)"
	[ ! -e out.st ] || die "something was written"
	eventually nothing_runs
done

daemons=("${slurm_pids[@]}")
slurm_end
for pid in "${daemons[@]}"; do
	! kill -0 "$pid" 2>/dev/null || die "process $pid is still there"
done
