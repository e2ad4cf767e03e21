#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two hosts that are network namespaces on one cable: each finds out by its
# addresses which one it is, and ranks of both meet. shm does not join the
# two, so the meeting itself is what is tested.
# shellcheck source=tests/launch/lib.bash
. "$KVRING_SOURCE/tests/launch/lib.bash" || exit 1

meet=$KVRING_BUILD/tests/launch/launch_meet
command -v ip >/dev/null || skip "no ip; install iproute2"
a=kvr-a-$$ b=kvr-b-$$
remove() {
	ip netns del "$a" 2>/dev/null || true
	ip netns del "$b" 2>/dev/null || true
	cd /
	rm -rf "$work"
}
trap remove EXIT
ip netns add "$a" 2>/dev/null || skip "no network namespaces here: not root?"
ip netns add "$b"
ip -n "$a" link add v0 type veth peer name v1 netns "$b" 2>/dev/null ||
	skip "no veth here"
ip -n "$a" address add 10.77.0.1/24 dev v0
ip -n "$b" address add 10.77.0.2/24 dev v1
ip -n "$a" address add fd77::1/64 dev v0 nodad
ip -n "$b" address add fd77::2/64 dev v1 nodad
for name in "$a" "$b"; do
	ip -n "$name" link set lo up
done
ip -n "$a" link set v0 up
ip -n "$b" link set v1 up

on_a=(ip netns exec "$a") on_b=(ip netns exec "$b")

# Two ranks on each, rank 0's host last; by IPv4 and IPv6.
all_meet() { # list
	local rank where
	for rank in 3 2 1 0; do
		where=("${on_a[@]}")
		[ $rank -lt 2 ] || where=("${on_b[@]}")
		start m$rank "${where[@]}" env KVRING_HOSTS="$1" \
			KVRING_RANK=$rank "$meet" 5
	done
	for rank in 0 1 2 3; do
		ends_with m$rank 0
		grep -qx "rank $rank of 4 gathered" m$rank.out ||
			die "$(cat m$rank.out)"
	done
	echo "ok: $1"
}
all_meet '10.77.0.1*2,10.77.0.2*2'
all_meet '[fd77::1]:4711*2,[fd77::2]*2'

# The same command on both: each starts its own ranks, and only the ring
# between the two is out of reach of shm.
works random in.st --tokens 100 --q-heads 2 --head-dim 16
for host in a b; do
	where=("${on_a[@]}")
	[ $host = a ] || where=("${on_b[@]}")
	start $host "${where[@]}" "$kvring" attention in.st -o out.st -n 4 \
		--hosts 10.77.0.1,10.77.0.2
done
for host in a b; do
	ends_with $host 1
	says $host "joining the ring: KVR_ERR_UNSUPPORTED"
done
grep -q "^kvring: rank 0: " a.err || die "a is not the first host"
grep -q "^kvring: rank 2: " b.err || die "b is not the second host"

# The cable is cut while they meet: everybody ends in time.
for rank in 0 1; do
	where=("${on_a[@]}")
	[ $rank -eq 0 ] || where=("${on_b[@]}")
	start c$rank "${where[@]}" env KVRING_HOSTS=10.77.0.1,10.77.0.2 \
		KVRING_RANK=$rank "$meet" 1000000
done
eventually bash -c "ip netns exec $a ss -tn state established |
	grep -q 10.77.0.2"
sleep 0.3
ip -n "$a" link set v0 down
begin=$SECONDS
ends_with c0 1
ends_with c1 1
[ $((SECONDS - begin)) -le 20 ] || die "took $((SECONDS - begin)) s"
says c0 "rank 1 \(10.77.0.2\) did not take part in time"
