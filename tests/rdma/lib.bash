# SPDX-License-Identifier: Apache-2.0
# For what runs inside a guest.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
export LC_ALL=C
PATH=$KVRING_BUILD:$PATH
work=$(mktemp -d)
cd "$work"

die() {
	echo "FAILED: $*" >&2
	exit 1
}

# What the kernel holds for RDMA programs.
resources() {
	rdma resource show | sed 's/ctx [0-9]*//'
}

# Waits for it: the kernel puts its things away a moment later.
same_resources() { # before
	local i
	for i in {1..50}; do
		[ "$(resources)" != "$1" ] || return 0
		sleep 0.1
	done
	die "left behind, after $i looks: had '$1', has '$(resources)'"
}

# No write may ever find no receive posted.
no_rnr() {
	local counters=(/sys/class/infiniband/*/ports/*/hw_counters/*_rnr_err)
	[ ${#counters[@]} -ge 4 ] || die "no counters: ${counters[*]}"
	! grep -HvE '^0$' "${counters[@]}" || die "receives were missing"
}

small_input() { # file
	kvring random "$1" --tokens 210 --q-heads 4 --kv-heads 2 \
		--head-dim 16 --dtype f32 --seed 1
}

# An attention that must be verified; its output in $1.
verified() { # output, arguments...
	local out=$1
	shift
	timeout 100 kvring attention in.st -o "$out" --causal --verify \
		--timeout 20 "$@" >table || die "kvring attention $*"
	[ ! -s table ] || grep -qx verified table || die "not verified: $*"
}
