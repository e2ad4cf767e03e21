#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kvring doctor: exit codes, the form of its JSON, and that a machine recorded
# is the machine itself. What it finds is tests/unit/cli/test_doctor*.c.
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

machines=$KVRING_SOURCE/tests/machines
unpack=$KVRING_BUILD/tests/cli/unpack_machine
unset KVRING_DEVICE KVRING_GID_INDEX

# Says nothing on standard error, and exits with a code.
examine() { # code, argument...
	local status=0 code=$1
	shift
	timeout 60 "$kvring" doctor "$@" >.out 2>.err || status=$?
	[ "$status" -eq "$code" ] || die "doctor $*: exit $status: $(cat .out)"
	[ ! -s .err ] || die "doctor $*: not silent: $(cat .err)"
	printed=$(cat .out)
	rm .out .err
	echo "ok: doctor $*: $(tail -n 1 <<<"$printed")"
}

# Every member, its type, and no other; what a finding may be.
schema='
import json, sys
OPTIONAL = type(None)
GID = dict(index=int, address=str, type=str, kind=str,
           netdev=(str, OPTIONAL), chosen=bool)
PORT = dict(number=int, state=int, phys_state=int, link_layer=str, rate=str,
            netdev=(str, OPTIONAL), netdev_mtu=int, active_mtu=int,
            pfc=(int, OPTIONAL), gids=[GID])
DEVICE = dict(name=str, usable=bool, driver=str, firmware=str, board=str,
              pci=(str, OPTIONAL), numa_node=(int, OPTIONAL),
              uverbs=(str, OPTIONAL), dmabuf=(bool, OPTIONAL), ports=[PORT])
ROOT = dict(
    schema=int, version=str, recorded=bool, verdict=str,
    findings=[dict(level=str, check=str, subject=str, message=str,
                   remedy=(str, OPTIONAL))],
    devices=[DEVICE],
    gpus=[dict(pci=str, numa_node=(int, OPTIONAL), nearest=(str, OPTIONAL),
               through=str)],
    modules=dict(ib_uverbs=bool, rdma_ucm=bool, nvidia_peermem=bool),
    limits=dict(memlock_known=bool, memlock_soft_bytes=(int, OPTIONAL),
                memlock_hard_bytes=(int, OPTIONAL), cap_ipc_lock=bool,
                memory_available_bytes=int,
                memory_cgroup_bytes=(int, OPTIONAL)))

def same(value, form, where):
    if isinstance(form, dict):
        assert list(value) == list(form), (where, list(value), list(form))
        for name in form:
            same(value[name], form[name], f"{where}.{name}")
    elif isinstance(form, list):
        assert isinstance(value, list), where
        for i, element in enumerate(value):
            same(element, form[0], f"{where}[{i}]")
    else:
        # a bool is an int in Python only
        assert isinstance(value, form) and \
            (form is bool or (isinstance(form, tuple) and bool in form) or
             not isinstance(value, bool)), (where, value)

root = json.load(sys.stdin)
same(root, ROOT, "")
assert root["schema"] == 1
levels = ["good", "warning", "fatal"]
worst = max(levels.index(f["level"]) for f in root["findings"])
assert root["verdict"] == levels[worst], root["verdict"]
for f in root["findings"]:
    assert (f["remedy"] is None) == (f["level"] == "good"), f
    assert "\n" not in f["message"] + (f["remedy"] or ""), f
for d in root["devices"]:
    for p in d["ports"]:
        assert sum(g["chosen"] for g in p["gids"]) <= 1, p
print(root["verdict"])
'

declare -A code=([h100-infiniband]=0 [roce]=0 [down-port]=1 [two-ports]=0
	[no-rdma]=0 [no-driver]=0 [rxe-guest]=0 [low-memlock]=1
	[uverbs-denied]=1)
[ "${#code[@]}" -eq "$(find "$machines" -name '*.tree' | wc -l)" ] ||
	die "a machine is not tried"
for name in "${!code[@]}"; do
	mkdir "$name"
	"$unpack" "$machines/$name.tree" "$name"
	examine "${code[$name]}" --root "$name"
	diff "$machines/$name.expected" - <<<"$printed" ||
		die "$name: not as expected"
	examine "${code[$name]}" --json --root "$name"
	verdict=$(python3 -c "$schema" <<<"$printed") || die "$printed"
	[ $((code[$name])) -eq "$([ "$verdict" = fatal ] && echo 1 || echo 0)" ] ||
		die "$name: verdict $verdict, exit ${code[$name]}"
done

# What the environment asks of the transport is looked at.
KVRING_DEVICE=mlx5_9 examine 1 --root roce
grep -q "no device 'mlx5_9'" <<<"$printed" || die "$printed"
KVRING_GID_INDEX=99 examine 1 --root roce
KVRING_GID_INDEX=3 examine 0 --root roce

# This machine, and its recording: but for what only the live one can be asked.
stable() {
	grep -vE '^ |^[0-9]+ fatal| (verbs|dmabuf|shm|port.pfc|port.mtu) ' |
		sed -E 's/  +/ /g'
}
"$KVRING_SOURCE/scripts/record_machine.sh" >this.tree
mkdir this
"$unpack" this.tree this
live=0
"$kvring" doctor >live || live=$?
examine $live --root this
diff <(stable <live) <(stable <<<"$printed") || die "a recording differs"
examine $live --json
python3 -c "$schema" <<<"$printed" || die "$printed"

# A name that is no text reaches neither terminal nor JSON as it is.
mkdir -p "odd/sys/class/infiniband/$(printf 'mlx\033[31m\xff')/ports/1"
examine 1 --root odd
grep -q 'mlx?\[31m?' <<<"$printed" || die "$printed"
examine 1 --root odd --json
python3 -c "$schema" <<<"$printed" || die "$printed"

rm -rf -- * .out .err
fails 1 "no-such: No such file" doctor --root no-such
mkdir empty
fails 1 "empty: holds no directory sys" doctor --root empty
fails 2 "argument: 'extra'" doctor extra
status=0
"$kvring" doctor >/dev/full 2>err || status=$?
[ $status -eq 1 ] || die "a full standard output exited with $status"
grep -q "^kvring: standard output: cannot be written" err || die "$(cat err)"

# The manual has every check, and no other.
manual=$(sed -n 's/^\.It Cm \([a-z_.]*\)$/\1/p' \
	"$KVRING_SOURCE/cli/man/kvring-doctor.1")
[ "$(wc -w <<<"$manual")" -ge 20 ] || die "checks lost: $manual"
for check in $manual; do
	grep -qF "\"$check\"" "$KVRING_SOURCE"/cli/doctor/judge*.c ||
		die "no finding is called $check"
done
for check in $(awk '/^(good|warning|fatal) / { print $3 }' \
	"$machines"/*.expected | sort -u); do
	grep -qx "$check" <<<"$manual" || die "the manual lacks $check"
done
