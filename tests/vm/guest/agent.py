# SPDX-License-Identifier: Apache-2.0
"""Runs one command inside a guest and tells the host how it went.

Asleep while the command runs and is silent. The frames are those of
machine.py. The command's standard output and error are pipes of their own, so
that it may open /dev/stderr as anywhere else.
"""
import glob
import json
import os
import select
import struct
import subprocess

HEADER = struct.Struct("!BI")
READY, STDOUT, STDERR, EXIT, COMPLAINT = range(5)
BIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin")


def send(port, kind, payload=b""):
    data = HEADER.pack(kind, len(payload)) + payload
    while data:
        data = data[os.write(port, data):]


def read_job(port):
    data = b""
    while not data.endswith(b"\n"):
        data += os.read(port, 4096)
    return json.loads(data)


def environment(job):
    host, hosts = int(os.environ["KVR_HOST"]), int(os.environ["KVR_HOSTS"])
    result = dict(job["environment"], HOME="/root", KVR_HOST=str(host),
                  KVR_HOSTS=str(hosts))
    result["PATH"] = BIN + ":" + result.get("PATH", os.environ["PATH"])
    for other in range(1, hosts + 1):
        result[f"KVR_ADDRESS_{other}"] = f"10.71.1.{other}"
        result[f"KVR_ADDRESS6_{other}"] = f"fd71:1::{other}"
    for rail in (1, 2):
        result[f"KVR_RAIL_{rail}"] = f"10.71.{rail}.{host}"
    return result


def drain(port, streams):
    """What the command has written by now."""
    for pipe, kind in streams.items():
        os.set_blocking(pipe, False)
        try:
            while data := os.read(pipe, 1 << 16):
                send(port, kind, data)
        except BlockingIOError:
            pass


def attend(port, process):
    """Passes output on until the command itself has ended; what it left
    running may go on to hold the pipes."""
    streams = {process.stdout.fileno(): STDOUT,
               process.stderr.fileno(): STDERR}
    end = os.pidfd_open(process.pid)
    poll = select.poll()
    for fd in (end, *streams):
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if end in ready:
            break
        for pipe in ready:
            data = os.read(pipe, 1 << 16)
            if data:
                send(port, streams[pipe], data)
            else:
                poll.unregister(pipe)
    drain(port, streams)
    return process.wait()


def run(port, job):
    inside = environment(job)
    if job["netem"]:
        done = subprocess.run(["cable", "netem", *job["netem"]], env=inside,
                              stderr=subprocess.PIPE, check=False)
        if done.returncode:
            send(port, COMPLAINT, b"--netem: " + done.stderr.strip())
            return
    try:
        os.chdir(job["cwd"])
        process = subprocess.Popen(
            job["argv"], env=inside, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    except OSError as error:
        send(port, STDERR, f"vm: {error}\n".encode())
        send(port, EXIT, b"127" if error.errno == 2 else b"126")
        return
    code = attend(port, process)
    send(port, EXIT, str(code if code >= 0 else 128 - code).encode())


def main():
    port = os.open(glob.glob("/dev/vport*")[0], os.O_RDWR)
    send(port, READY)
    run(port, read_job(port))
    while True:  # the host ends us, when all guests are done
        select.poll().poll(3600000)


if __name__ == "__main__":
    main()
