#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The example with MPI's all-gather, compiled as its comment says, and run.
# shellcheck source=tests/launch/lib.bash
. "$KVRING_SOURCE/tests/launch/lib.bash" || exit 1

command -v mpicc >/dev/null || skip "no mpicc; install libopenmpi-dev"
command -v mpirun >/dev/null || skip "no mpirun; install openmpi-bin"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export TMPDIR=$work/tmp
mkdir "$TMPDIR"

mpicc -std=c11 -Wall -Wextra -Werror -I"$KVRING_SOURCE/include" \
	"$KVRING_SOURCE/examples/mpi_ring.c" -L"$KVRING_BUILD" -lkvring \
	-Wl,-rpath,"$KVRING_BUILD" -o mpi_ring
for n in 1 2 4; do
	sum=$((n * (n + 1) / 2))
	start job mpirun --oversubscribe -n $n ./mpi_ring
	ends_with job 0
	for ((rank = 0; rank < n; rank++)); do
		echo "rank $rank of $n: the sum is $sum"
	done | diff - <(sort job.out) || die "$(cat job.out)"
	echo "ok: $n ranks"
done
