#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is sent for a fabric that routes adaptively: as many requests as it
# should be, what the conformance body asks of data, rings with the same bits.
#	adaptive.sh REQUESTS CONFORMANCE, two programs
# shellcheck source=tests/rdma/lib.bash
. "$KVRING_SOURCE/tests/rdma/lib.bash" || exit 1

"$1" || die "the requests are not as they should be"
small_input in.st
verified shm.st -n 3 --transport shm
before=$(resources)
export KVRING_ADAPTIVE_ROUTING=1
for way in verbs verbs-exchange; do
	"$2" $way "write*" || die "the body over $way"
	verified $way.st -n 3 --transport $way --chunk 4K
	cmp shm.st $way.st || die "$way differs"
done
export KVRING_DEVICE=rxe0,rxe1 KVRING_QPS=2
verified rails.st -n 3 --transport verbs --chunk 512 --slots 3
cmp shm.st rails.st || die "over two rails it differs"
same_resources "$before"
no_rnr
echo "ok: three rings with the bits of shm"
