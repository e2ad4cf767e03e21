#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# Process 1 of a guest: loads the modules, lays a tmpfs over the host's files,
# brings up the network in there and starts the agent. KVR_HOST, KVR_HOSTS and
# KVR_VM_GUEST, where this directory is on the host, come from the kernel's
# command line. When it ends the kernel panics and QEMU with it.
set -eu
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do
	insmod "$module"
done

mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose \
	root /lower
mount -t tmpfs tmpfs /upper
mkdir /upper/changes /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/changes,workdir=/upper/work \
	overlay /machine
mount --move /proc /machine/proc
mount --move /sys /machine/sys
mount --move /dev /machine/dev
mount -t tmpfs tmpfs /machine/run
mkdir -p /machine/dev/shm /machine/dev/pts
mount -t tmpfs tmpfs /machine/dev/shm
mount -t devpts devpts /machine/dev/pts
ln -sf /proc/self/fd /machine/dev/fd
ln -sf /proc/self/fd/0 /machine/dev/stdin
ln -sf /proc/self/fd/1 /machine/dev/stdout
ln -sf /proc/self/fd/2 /machine/dev/stderr
ulimit -l unlimited
ulimit -n 65536

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root
chroot /machine /bin/bash "$KVR_VM_GUEST/network.sh"
chroot /machine /usr/bin/env python3 -I -S -B "$KVR_VM_GUEST/agent.py"
