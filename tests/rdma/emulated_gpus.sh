#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The whole system, without a card and without a GPU: ring attention of four
# ranks on emulated GPUs over real verbs, and captured passes with a kernel of
# one's own between four processes. Landing slots are in host memory.
#	emulated_gpus.sh PLUGIN GPU_RING OWN_KERNEL
# shellcheck source=tests/rdma/lib.bash
. "$KVRING_SOURCE/tests/rdma/lib.bash" || exit 1

export KVRING_CUDA_PLUGIN=$1
before=$(resources)
for way in verbs verbs-exchange; do
	"$2" $way || die "attention over $way"
done
timeout 100 kvring run -n 4 -- "$3" verbs | tee out ||
	die "a kernel of one's own"
[ "$(grep -c 'largest error' out)" = 4 ] || die "a rank is missing"
same_resources "$before"
no_rnr
