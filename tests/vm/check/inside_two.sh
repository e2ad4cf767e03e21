#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two hosts measure the cable between them with perftest: host 1 serves, host 2
# asks, each question on a port of its own. The cable began with a delay of
# 20 ms each way. Host 1 exits 3 and host 2 exits 4 when all is well.
set -euo pipefail
mkdir /run/test
cd /run/test

die() {
	echo "FAILED: $*" >&2
	exit 1
}

counter() { # name, of rxe0
	cat "/sys/class/infiniband/rxe0/ports/1/hw_counters/$1"
}

holds() { # arithmetic with fractions
	awk "BEGIN { exit !($1) }"
}

# An ACK timeout of 2^18 * 4 us, 1 s, leaves room for a busy machine; with 2^15
# packets lost at the end of a message are sent again after 1/8 s. That fails no
# transfer, as soft-RoCE does not count down from 7, perftest's retry count. Few
# are sent of packets that overtake each other: it goes back after each.
latency=(ib_write_lat -d rxe0 -s 8 -n 20 -u 18)
bandwidth=(ib_write_bw -d rxe0 -s 65536 -n 16 -t 16 -u 18)
lossy=(ib_write_bw -d rxe0 -s 65536 -n 16 -t 16 -u 15)
few=(ib_write_bw -d rxe0 -s 16384 -n 6 -t 6 -u 15)
slow=(ib_write_bw -d rxe0 -s 65536 -n 16 -t 4 -u 19)
# Only with rdma_cm it counts retries.
endless=(ib_write_bw -R -d rxe0 -s 65536 -n 100000 -t 16 -u 18 --retry_count=3)

# Until the server of that port has got so far, the port is closed. perftest
# connects over TCP: with rdma_cm it may crash on a closed port, and its server
# then wait for ever.
ask() { # port, test...
	local port=$1 try
	shift
	for ((try = 0; try < 300; try++)); do
		if "$@" -p "$port" "$KVR_ADDRESS_1" >"answer-$port" 2>&1; then
			return 0
		fi
		grep -q "Couldn't connect to" "answer-$port" || break
		sleep 0.2
	done
	cat "answer-$port" >&2
	return 1
}

figure() { # port, size, column
	awk -v size="$2" -v column="$3" '$1 == size { print $column }' \
		"answer-$1"
}

noise() { # to
	while sleep 0.1; do
		echo >"/dev/udp/$1/9" || true
	done 2>/dev/null
}

# How much has left this host on rail 1, and how much noise has reached it.
traffic() {
	cat /sys/class/net/rail1/statistics/tx_packets
	awk '/^Udp: [0-9]/ { print $3 }' /proc/net/snmp # to no open port
}

# Goes on when both hosts are here.
meet() { # port
	local try
	if [ "$KVR_HOST" = 1 ]; then
		python3 -c "import socket
socket.create_server(('', $1)).accept()[0].recv(1)"
		return
	fi
	for ((try = 0; try < 300; try++)); do
		if (: >"/dev/tcp/$KVR_ADDRESS_1/$1") 2>/dev/null; then
			return
		fi
		sleep 0.2
	done
	die "host 1 has not got so far"
}

serve() {
	local before
	"${latency[@]}" -p 7001 >server-7001
	cable netem
	"${latency[@]}" -p 7002 >server-7002
	"${bandwidth[@]}" -p 7003 >server-7003
	"${bandwidth[@]}" -p 7004 >server-7004
	"${lossy[@]}" -p 7005 >server-7005
	before=$(counter duplicate_request)
	"${few[@]}" -p 7006 >server-7006
	[ "$(counter duplicate_request)" -gt "$before" ] ||
		die "no packet came twice"
	before=$(counter out_of_seq_request)
	"${few[@]}" -p 7007 >server-7007
	[ "$(counter out_of_seq_request)" -gt "$before" ] ||
		die "no packet overtook another"
	noise "$KVR_ADDRESS_2" &
	"${slow[@]}" -p 7008 >server-7008
	"${endless[@]}" -p 7009 >endless 2>&1 &
	until rdma resource show cm_id | grep -q LISTEN; do
		sleep 0.1
	done
	meet 7010
	meet 7011
	echo "host 1 is done"
	exit 3
}

ask_delay() {
	local slow fast
	ask 7001 "${latency[@]}"
	slow=$(figure 7001 8 3)
	cable netem
	ask 7002 "${latency[@]}"
	fast=$(figure 7002 8 3)
	echo "8 bytes take $fast us, with --netem 'delay 20ms' $slow us"
	holds "$slow >= 18000 && $fast < 9000" || die "delay"
}

ask_rate() {
	local free bound
	ask 7003 "${bandwidth[@]}"
	free=$(figure 7003 65536 4)
	cable netem rate 5mbit
	ask 7004 "${bandwidth[@]}"
	bound=$(figure 7004 65536 4)
	echo "64 KiB writes: $free MB/s, with rate 5mbit $bound MB/s"
	holds "$bound <= 0.7 && $free > 0.9" || die "rate"
}

ask_loss() {
	local before
	before=$(($(counter rcvd_seq_err) + $(counter completer_retry_err)))
	cable netem loss 5%
	ask 7005 "${lossy[@]}"
	before=$(($(counter rcvd_seq_err) + $(counter completer_retry_err) -
		before))
	echo "loss 5%: $before retries"
	[ $before -gt 0 ] || die "nothing was lost"
	cable netem duplicate 50%
	ask 7006 "${few[@]}"
	cable netem delay 2ms reorder 50%
	ask 7007 "${few[@]}"
	echo "duplicates and overtaking: both seen"
}

# Waits until the device has sent a few packets more.
flowing() {
	local start try
	start=$(counter sent_pkts)
	for ((try = 0; try < 300; try++)); do
		[ "$(counter sent_pkts)" -lt $((start + 20)) ] || return 0
		sleep 0.1
	done
	die "nothing flows"
}

# 1 MiB at 2 Mbit/s takes 4 s: the pull comes into it. The ACK timeout of 2 s
# does not, with 1/4 MiB on the way at a time.
pull_for_a_second() {
	local client before after
	noise "$KVR_ADDRESS_1" &
	mapfile -t before < <(traffic)
	cable netem rate 2mbit
	ask 7008 "${slow[@]}" &
	client=$!
	flowing
	mapfile -t after < <(traffic)
	[ "${before[0]}" != "${after[0]}" ] || die "nothing left"
	[ "${before[1]}" != "${after[1]}" ] || die "no noise came"
	cable pull
	sleep 0.3
	mapfile -t before < <(traffic)
	sleep 1
	mapfile -t after < <(traffic)
	[ "${before[0]}" = "${after[0]}" ] || die "it is not cut outwards"
	[ "${before[1]}" = "${after[1]}" ] || die "it is not cut inwards"
	kill -0 $client || die "too short to be interrupted"
	cable plug
	wait $client || die "a pull of 1 s was not survived"
	echo "pulled for 1 s: survived"
}

pull_for_ever() {
	local try
	cable netem
	meet 7010
	ask 7009 "${endless[@]}" 2>/dev/null &
	flowing
	sleep 0.5
	! grep 'status' answer-7009 || die "failed before the pull"
	cable pull
	for ((try = 0; try < 300; try++)); do
		grep -qi 'status 12' answer-7009 && break
		sleep 0.1
	done
	cable plug
	grep -i -m 1 'status 12' answer-7009 ||
		die "a pull was not noticed: $(cat answer-7009)"
	echo "pulled for ever: noticed"
}

[ "$KVR_HOST" = 2 ] || serve
ask_delay
ask_rate
ask_loss
pull_for_a_second
pull_for_ever
meet 7011
echo "host 2 is done"
exit 4
