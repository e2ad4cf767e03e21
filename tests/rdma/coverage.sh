#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What only devices can run, for scripts/coverage.sh --guest: in the guest, on
# the binaries of the coverage build. The counts come back on standard output,
# as an archive in base64, for nothing else leaves a guest.
set -uo pipefail
tests=$KVRING_BUILD/tests
export GCOV_PREFIX
GCOV_PREFIX=$(mktemp -d)
{
	for way in verbs verbs-exchange; do
		"$tests/conformance/transport/transport_fake" $way
	done
	for name in prev stranger unwind; do
		"$tests/rdma/hostile/rdma_$name"
	done
	bash "$KVRING_SOURCE/tests/rdma/ring.sh"
} >&2
tar -C "$GCOV_PREFIX" -cz . | base64
