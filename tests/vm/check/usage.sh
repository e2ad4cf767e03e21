#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What tests/vm/run refuses, and how it fails before a guest is up.
# shellcheck source=tests/vm/check/lib.bash
. "$KVRING_SOURCE/tests/vm/check/lib.bash" || exit 1

ends_with 2
says err 'COMMAND'
ends_with 2 --hosts 3 -- true
ends_with 2 --netem "loss 1%" -- true
says err 'add --hosts 2'

KVR_VM_KERNEL=$work/none ends_with 125 -- true
says err '^vm: KVR_VM_KERNEL=.* no directory'
mkdir -p kernel/boot
KVR_VM_KERNEL=$work/kernel ends_with 125 -- true
says err '^vm: .*no vmlinuz'

# a QEMU that ends at once, and one that leaves the boot out
mkdir bin
printf '#!/bin/sh\necho it cannot >&2\n' >bin/qemu-system-x86_64
chmod +x bin/qemu-system-x86_64
PATH=$work/bin:$PATH ends_with 125 -- true
says err '^vm: guest 1 died while it booted'
says err '^it cannot'

# Four at once, none of which finds an initramfs, agree on a whole one.
kernel=$(cd "$here" && python3 -B -c \
	'import image; print(image.prepare().root)')
for _ in 1 2 3 4; do
	(cd "$here" && KVR_VM_KERNEL=$kernel XDG_CACHE_HOME=$work/cache \
		python3 -B -c 'import image; print(image.prepare().initramfs)') &
done >made
wait
[ "$(wc -l <made)" = 4 ] && [ "$(sort -u made | wc -l)" = 1 ] ||
	die "made: $(cat made)"
cpio -t --quiet <"$(head -n 1 made)" >out
says out '^modules/.*rdma_rxe.ko$'
[ "$(find cache/kvring -type f | wc -l)" = 3 ] || # a kernel, it, the lock
	die "left: $(find cache)"

# Of two exit codes a failure counts more than a skip, a skip than success.
python3 -B - "$here/run" <<'END'
import importlib.machinery
import sys
run = importlib.machinery.SourceFileLoader("run", sys.argv[1]).load_module()
for codes, worst in (((0, 0), 0), ((0, 77), 77), ((77, 1), 1), ((1, 77), 1),
                     ((3, 4), 4), ((137, 1), 137)):
    assert run.worst(codes) == worst, codes
END
