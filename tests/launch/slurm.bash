# SPDX-License-Identifier: Apache-2.0
# A Slurm of one machine for the length of a test: munged, slurmctld and
# slurmd, by hand, all of it in a directory of its own. For root only.
# shellcheck shell=bash

slurm_pids=()

# Waits for a daemon's sign of life, or shows its log.
slurm_await() { # name, pid, log, command...
	local name=$1 pid=$2 log=$3 i
	shift 3
	for ((i = 0; i < 300; i++)); do
		! "$@" >/dev/null 2>&1 || return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	die "$name does not work: $(tail -n 20 "$log" 2>&1)"
}

# Of a daemon that went into the background by itself: from its pid file.
slurm_end() {
	local pid i
	for pid in "${slurm_pids[@]}"; do
		kill -TERM "$pid" 2>/dev/null || continue
		for ((i = 0; i < 100; i++)); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	slurm_pids=()
}

slurm_config() { # directory, ports...
	cat <<-END
		ClusterName=kvring-test
		SlurmctldHost=$(hostname -s)(127.0.0.1)
		SlurmUser=root
		SlurmctldPort=$2
		SlurmdPort=$3
		AuthType=auth/munge
		AuthInfo=socket=$1/munge.socket
		CryptoType=crypto/munge
		StateSaveLocation=$1/state
		SlurmdSpoolDir=$1/spool
		SlurmctldPidFile=$1/slurmctld.pid
		SlurmdPidFile=$1/slurmd.pid
		SlurmctldLogFile=$1/slurmctld.log
		SlurmdLogFile=$1/slurmd.log
		ProctrackType=proctrack/linuxproc
		TaskPlugin=task/none
		JobAcctGatherType=jobacct_gather/none
		AccountingStorageType=accounting_storage/none
		MpiDefault=none
		ReturnToService=2
		SlurmdParameters=config_overrides
		NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
		PartitionName=test Nodes=ALL Default=YES State=UP
	END
}

# Leaves $SLURM_CONF and running daemons. Stop with slurm_end.
slurm_begin() { # directory
	local dir=$1 ports
	read -ra ports < <(free_ports 2)
	mkdir -p "$dir/state" "$dir/spool"
	chmod 755 "$dir"
	export SLURM_CONF=$dir/slurm.conf
	slurm_config "$dir" "${ports[@]}" >"$SLURM_CONF"

	dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 2>/dev/null
	chmod 400 "$dir/munge.key"
	munged --foreground --force --socket="$dir/munge.socket" \
		--key-file="$dir/munge.key" --log-file="$dir/munged.log" \
		--pid-file="$dir/munged.pid" --seed-file="$dir/munged.seed" \
		>"$dir/munged.out" 2>&1 &
	slurm_pids=($!)
	slurm_await munged $! "$dir/munged.log" munge -S "$dir/munge.socket" -n

	slurmctld -D >"$dir/slurmctld.out" 2>&1 &
	slurm_pids=($! "${slurm_pids[@]}")
	slurm_await slurmctld $! "$dir/slurmctld.log" scontrol ping

	slurmd -D >"$dir/slurmd.out" 2>&1 &
	slurm_pids=($! "${slurm_pids[@]}")
	slurm_await slurmd $! "$dir/slurmd.log" \
		bash -c 'sinfo -h -o %t | grep -qx idle'
}
