#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Host lists on one machine: a command for each host or each rank, two jobs at
# once, and every way in which they fail to meet.
# shellcheck source=tests/launch/lib.bash
. "$KVRING_SOURCE/tests/launch/lib.bash" || exit 1

meet=$KVRING_BUILD/tests/launch/launch_meet
read -r port other_port < <(free_ports 2)
export KVRING_PORT=$port

works random in.st --tokens 500 --q-heads 4 --kv-heads 2 --head-dim 64
works attention in.st -o own.st -n 4 --causal --partition zigzag
options="in.st --causal --partition zigzag"

# All hosts are this one: one command starts them all.
works attention in.st -o out.st -n 4 --causal --partition zigzag --verify \
	--hosts 127.0.0.1
grep -qx verified <<<"$printed" || die "not verified: $printed"
same_bytes own.st out.st
rm out.st
works attention in.st -o out.st -n 4 --causal --partition zigzag \
	--hosts 127.0.0.1,127.0.0.2
same_bytes own.st out.st
rm out.st

# A command for each of two hosts, the second one first.
hosts='127.0.0.1*3,127.0.0.2'
# shellcheck disable=SC2086 # several words
{
	start second "$kvring" attention $options -o out.st --hosts "$hosts" \
		--host-index 1
	start first "$kvring" attention $options -o out.st --hosts "$hosts" \
		--host-index 0 -n 4 --verify
}
ends_with first 0
ends_with second 0
prints_nothing second
grep -qx verified first.out || die "not verified: $(cat first.out)"
same_bytes own.st out.st
rm out.st

# A command for each rank, from a file and the environment; with a secret; two
# jobs at once.
printf '%s\n' "# two hosts" "127.0.0.1 slots=2" "127.0.0.2 slots=2" >hosts
echo "open sesame" >secret
for rank in 3 1 0 2; do
	# shellcheck disable=SC2086 # several words
	{
		start a$rank env KVRING_RANK=$rank KVRING_SECRET_FILE=secret \
			"$kvring" attention $options -o a.st --hostfile hosts
		start b$rank env KVRING_RANK=$rank KVRING_PORT="$other_port" \
			KVRING_HOSTS='127.0.0.1*4' \
			"$kvring" attention $options -o b.st
	}
done
for rank in 0 1 2 3; do
	ends_with a$rank 0
	ends_with b$rank 0
	[ $rank -eq 0 ] || prints_nothing a$rank
	[ $rank -eq 0 ] || prints_nothing b$rank
done
same_bytes own.st a.st
same_bytes own.st b.st
rm a.st b.st

# ------------------------------------------------------- what goes wrong
a="attention in.st -o out.st"
# shellcheck disable=SC2086 # several words
{
	fails 2 "--hosts: 'a,,b' is not host" $a --hosts a,,b
	fails 2 "--hosts: '::1' is not host" $a --hosts ::1
	fails 2 "--hosts: names no host" $a --hosts " "
	fails 2 "-n: 3 ranks do not spread evenly over the 2 hosts" \
		$a --hosts localhost,localhost -n 3
	fails 2 "-n: 2, but --hosts makes 4" $a --hosts 'localhost*4' -n 2
	fails 2 "--hosts: makes 1025 ranks" $a --hosts 'localhost*1025'
	fails 2 "--hosts: 'b' is not needed after" $a --hosts a --hosts b
	fails 2 "--hosts: none of the hosts is this machine" \
		$a --hosts no-such-host.invalid
	fails 2 "--host-index: 1 is not below the 1 hosts" \
		$a --hosts localhost --host-index 1
	fails 2 "--host-index: '-1'" $a --hosts localhost --host-index -1
	fails 2 "--hostfile: none: cannot be read: No such file" \
		$a --hostfile none
	fails 2 "--hostfile: .: cannot be read" $a --hostfile .
	fails 2 "/dev/null: names no host" $a --hostfile /dev/null
	fails 2 "--port: '0'" $a --hosts localhost --port 0
	fails 2 "--port: '65536'" $a --hosts localhost --port 65536
	fails 2 "--join-timeout: '0'" $a --hosts localhost --join-timeout 0
	export KVRING_RANK=4
	fails 2 "KVRING_RANK: '4' is not a whole number from 0 to 3" \
		$a --hosts 'localhost*4'
	unset KVRING_RANK
	export KVRING_HOST_INDEX=x
	fails 2 "KVRING_HOST_INDEX: 'x'" $a --hosts localhost
	unset KVRING_HOST_INDEX
	export KVRING_HOSTS=a/b
	fails 2 "KVRING_HOSTS: 'a/b' is not host" $a
	unset KVRING_HOSTS

	# Half of the ranks never come.
	fails 1 "rank 2 \(127.0.0.2\) and 1 more of 4 ranks did not come within 1.0 s" \
		$a --hosts '127.0.0.1*2,127.0.0.2*2' --host-index 0 \
		--join-timeout 1
	fails 1 "rank 2 found no rank 0 at 127.0.0.1:$port within 1.0 s" \
		$a --hosts '127.0.0.1*2,127.0.0.2*2' --host-index 1 \
		--join-timeout 1
}

# Somebody has the port.
python3 -c "import socket, time
s = socket.create_server(('127.0.0.1', $port))
open('listening', 'w').close()
time.sleep(60)" &
holder=$!
eventually test -e listening
# shellcheck disable=SC2086 # several words
fails 1 "port $port of 127.0.0.1 is in use.*--port" \
	$a --hosts '127.0.0.1*2' --join-timeout 3
kill $holder
wait $holder || true
rm listening

# Secrets that differ: both sides say so.
start wrong env KVRING_RANK=1 KVRING_SECRET=barley "$kvring" attention in.st \
	-o out.st --hosts '127.0.0.1*2' --join-timeout 3
start right env KVRING_RANK=0 KVRING_SECRET=sesame "$kvring" attention in.st \
	-o out.st --hosts '127.0.0.1*2' --join-timeout 3
ends_with wrong 1
ends_with right 1
says wrong "KVR_ERR_MISMATCH: .*its secret is not that of rank 0"
says right "its secret is not that of rank 0"

# Other inputs: every command says so, once.
works random other.st --tokens 400 --q-heads 4 --kv-heads 2 --head-dim 64
start first "$kvring" attention in.st -o out.st --hosts "$hosts" --host-index 0
start second "$kvring" attention other.st -o out.st --hosts "$hosts" \
	--host-index 1
for name in first second; do
	ends_with $name 1
	says_once $name.err "tokens differs: 500 on rank 0, 400 on rank 3"
	[ "$(wc -l <$name.err)" -eq 1 ] || die "$(cat $name.err)"
done
[ ! -e out.st ] || die "something was written"

# The same tokens, packed otherwise; and then alike, collected stripe by stripe.
shape="--tokens 400 --q-heads 4 --kv-heads 2 --head-dim 64"
# shellcheck disable=SC2086 # $shape is several words
{
	works random packed.st $shape --sequences 30 --seed 1
	works random other.st $shape --sequences 30 --seed 2
}
packed() { # the second's input
	start first "$kvring" attention packed.st -o out.st --hosts "$hosts" \
		--host-index 0 --partition interleave:9 --causal --verify
	start second "$kvring" attention "$1" -o out.st --hosts "$hosts" \
		--host-index 1 --partition interleave:9 --causal
}
packed other.st
for name in first second; do
	ends_with $name 1
	says_once $name.err "hash of the input's cu_seqlens differs: "
done
packed packed.st
ends_with first 0
ends_with second 0
rm out.st

# A rank dies while they meet, or between two all-gathers: nobody hangs, and
# all know which.
export KVRING_HOSTS='127.0.0.1*4'
for end in 1 2; do
	for rank in 0 1 2 3; do
		kills=
		[ $rank -ne 2 ] || kills=$end
		start m$rank env KVRING_RANK=$rank "$meet" 3 $kills
	done
	begin=$SECONDS
	for rank in 0 1 3; do
		ends_with m$rank 1
		says m$rank "rank 2 \(127.0.0.1\) ended"
	done
	[ $((SECONDS - begin)) -le 4 ] || die "took $((SECONDS - begin)) s"
	ends_with m2 137
done
# Rank 0 itself.
for rank in 0 1 2 3; do
	kills=
	[ $rank -ne 0 ] || kills=2
	start m$rank env KVRING_RANK=$rank "$meet" 3 $kills
done
for rank in 1 2 3; do
	ends_with m$rank 1
	says m$rank "rank 0 at 127.0.0.1:$port: ended"
done
ends_with m0 137
nothing_runs || die "still running: $(left_over)"
