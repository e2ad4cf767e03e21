# SPDX-License-Identifier: Apache-2.0
"""Guests: QEMU processes, their cables, and the channel to the agent inside.

Everything between us and a QEMU process is an inherited socket, so nothing is
left on disk and each end notices the other's death.
"""
import collections
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys

import image

HERE = pathlib.Path(__file__).resolve().parent
RAILS = (1, 2)
MTU = 4200  # RoCE's largest path MTU, 4096, and its headers

# frames from the agent: kind, length; then the payload
HEADER = struct.Struct("!BI")
READY, STDOUT, STDERR, EXIT, COMPLAINT = range(5)


class Machine:
    def __init__(self, host, emit, log):
        self.host, self.emit, self.log = host, emit, log
        self.ready = self.ended = False
        self.code = self.complaint = self.process = None
        self.received = b""
        self.unfinished = {STDOUT: b"", STDERR: b""}
        self.lines = collections.deque([b""], maxlen=60)
        self.port, self.port_inside = socket.socketpair()
        self.console, self.console_inside = socket.socketpair()

    def start(self, boot, hosts, cables):
        inherited = [self.port_inside, self.console_inside, *cables]
        self.process = subprocess.Popen(
            # QEMU must not survive us, however we end
            ["setpriv", "--pdeathsig", "KILL",
             *command(self, boot, hosts, cables)],
            stdin=subprocess.DEVNULL, stdout=self.console_inside,
            stderr=self.console_inside,
            pass_fds=[end.fileno() for end in inherited])
        for end in inherited:
            end.close()

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.port.close()
        self.console.close()

    def tell(self, job):
        self.port.sendall(json.dumps(job).encode() + b"\n")

    def hear(self):
        """Takes frames from the agent; false at the end of the guest."""
        data = receive(self.port)
        self.received += data
        while len(self.received) >= HEADER.size:
            kind, length = HEADER.unpack_from(self.received)
            end = HEADER.size + length
            if len(self.received) < end:
                break
            self.frame(kind, self.received[HEADER.size:end])
            self.received = self.received[end:]
        self.ended = not data
        return bool(data)

    def frame(self, kind, payload):
        if kind in self.unfinished:
            self.unfinished[kind] = self.emit(
                self.host, kind, self.unfinished[kind] + payload)
        elif kind == READY:
            self.ready = True
        elif kind == COMPLAINT:
            self.complaint = f"guest {self.host}: {payload.decode()}"
        elif kind == EXIT:
            for stream, rest in self.unfinished.items():
                self.emit(self.host, stream, rest, last=True)
            self.code = int(payload)

    def see(self):
        data = receive(self.console)
        if self.log:
            self.log.write(data)
            self.log.flush()
        first, *rest = data.replace(b"\r", b"").split(b"\n")
        self.lines[-1] += first
        self.lines.extend(rest)
        if "KVR_VM_DEBUG" in os.environ:
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
        return bool(data)

    def last_words(self):
        self.console.setblocking(False)
        while self.see():
            pass
        text = b"\n".join(self.lines).decode(errors="replace").strip()
        return f"-- console of guest {self.host}, its end:\n{text}\n--"


def receive(end):
    try:
        return end.recv(1 << 16)
    except (BlockingIOError, ConnectionResetError):
        return b""


def command(guest, boot, hosts, cables):
    kernel = ["console=ttyS0", "loglevel=6", "panic=-1", "oops=panic",
              "mitigations=off", "random.trust_cpu=on", "tsc=reliable",
              # on a busy machine the timer's test fails, and the boot with it
              "no_timer_check",
              f"KVR_HOST={guest.host}", f"KVR_HOSTS={hosts}",
              f'KVR_VM_GUEST="{HERE / "guest"}"']
    words = [
        "qemu-system-x86_64", "-name", f"kvring-{os.getpid()}-{guest.host}",
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35",
        # /dev/kvm is often missing, and where it exists it may hang
        "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2G",
        "-kernel", boot.kernel, "-initrd", boot.initramfs,
        "-append", " ".join(kernel),
        "-chardev", f"socket,id=console,fd={guest.console_inside.fileno()}",
        "-serial", "chardev:console",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=port,fd={guest.port_inside.fileno()}",
        "-device", "virtserialport,chardev=port,name=kvring",
        "-fsdev", "local,id=root,path=/,readonly=on,security_model=none,"
                  "multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=root"]
    for rail, end in zip(RAILS, cables):
        words += ["-netdev", f"socket,id=rail{rail},fd={end.fileno()}",
                  "-device", f"virtio-net-pci,netdev=rail{rail},"
                  f"host_mtu={MTU},speed=10000,duplex=full,"
                  f"mac=52:54:00:71:0{rail}:0{guest.host}"]
    return [str(word) for word in words]


def start(boot, hosts, emit, log):
    """Boots the guests, two with a cable per rail between them."""
    for tool in ("qemu-system-x86_64", "setpriv"):
        if not shutil.which(tool):
            raise image.Missing(f"{tool} is not installed: "
                                "scripts/setup.sh test")
    cables = [socket.socketpair() for _ in RAILS] if hosts == 2 else []
    guests = []
    if log:
        log.mkdir(parents=True, exist_ok=True)
    for host in range(1, hosts + 1):
        kept = log and (log / f"console-{host}.log").open("wb")
        guests.append(Machine(host, emit, kept))
    for guest in guests:
        guest.start(boot, hosts, [pair[guest.host - 1] for pair in cables])
    return guests
