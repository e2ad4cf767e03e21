# SPDX-License-Identifier: Apache-2.0
"""The kernel and the initramfs that guests boot.

The kernel is the distribution's own, unpacked from its package and not
installed; the initramfs holds busybox, the modules that soft-RoCE takes, and
guest/init.sh. Both are built once, unpacked, which the guest would take as
long for as to boot, and kept in $XDG_CACHE_HOME/kvring, else
~/.cache/kvring: delete that to get a newer kernel. KVR_VM_KERNEL names a
directory with boot/vmlinuz-* and lib/modules to use instead, such as /.
"""
import collections
import contextlib
import fcntl
import gzip
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import zlib

SELF = pathlib.Path(__file__).resolve()
INIT = SELF.parent / "guest" / "init.sh"
META = ("linux-image-amd64", "linux-image-generic")  # Debian's, Ubuntu's
PACKAGE = re.compile(r"linux-(image|modules|modules-extra)-[0-9]\S*")
MODULES = """
    virtio_pci 9pnet_virtio 9p overlay virtio_console
    virtio_net veth sch_netem sch_ingress cls_matchall act_gact
    crc32_generic crc32_pclmul ib_uverbs rdma_ucm rdma_rxe
""".split()  # without a crc32, adding an rxe device fails

Boot = collections.namedtuple("Boot", "root kernel initramfs")


class Missing(Exception):
    """Something to boot from is missing; the text says what to do."""


def tool(*words, **more):
    """A foreign command's output; its failure is ours."""
    try:
        return subprocess.run(words, check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              **more).stdout
    except FileNotFoundError:
        raise Missing(f"{words[0]} is not installed: scripts/setup.sh test") \
            from None
    except subprocess.CalledProcessError as error:
        raise Missing(f"{' '.join(map(str, words))}: "
                      f"{error.stderr.decode().strip()}") from None


def cache():
    home = os.environ.get("XDG_CACHE_HOME") or \
        pathlib.Path.home() / ".cache"
    path = pathlib.Path(home) / "kvring"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(path):
    """One builder at a time; a killed one's leavings are cleared."""
    with (path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.glob("new-*"):
            shutil.rmtree(left)
        yield pathlib.Path(tempfile.mkdtemp(prefix="new-", dir=path))


def download(into):
    """Unpacks the newest kernel's packages, without installing them."""
    known = tool("apt-cache", "pkgnames", "linux-image-").decode().split()
    meta = next((name for name in META if name in known), None)
    if not meta:
        raise Missing("apt knows no kernel (apt-get update), or this is not "
                      "Debian or Ubuntu: set KVR_VM_KERNEL")
    needed = tool("apt-cache", "depends", "--recurse", "--no-recommends",
                  "--no-suggests", "--no-conflicts", "--no-breaks",
                  "--no-replaces", "--no-enhances", meta).decode()
    names = set(PACKAGE.findall(needed)) and \
        {match.group() for match in PACKAGE.finditer(needed)}
    tool("apt-get", "-o", "APT::Sandbox::User=root", "-o",
         "Acquire::Retries=3", "download", *sorted(names), cwd=into)
    root = into / "root"
    for package in into.glob("*.deb"):
        tool("dpkg", "-x", package, root)
    if not (root / "lib").exists():  # merged /usr
        (root / "lib").symlink_to("usr/lib")
    tool("depmod", "-b", root, version_of(root))
    return root


def version_of(root):
    kernels = sorted((root / "boot").glob("vmlinuz-*"),
                     key=lambda path: path.stat().st_mtime)
    if not kernels:
        raise Missing(f"{root}/boot holds no vmlinuz-*")
    return kernels[-1].name.removeprefix("vmlinuz-")


def unpacked(path):
    """A module's bytes; insmod takes no compressed ones."""
    if path.suffix == ".xz":
        return lzma.open(path).read()
    if path.suffix == ".gz":
        return gzip.open(path).read()
    if path.suffix == ".zst":
        return tool("zstd", "-dcq", path)
    return path.read_bytes()


def module_paths(root, version):
    """The files of MODULES and what they depend on, in order of loading."""
    paths = {}
    for name in MODULES:
        shown = tool("modprobe", "-d", root, "-S", version, "--show-depends",
                     name).decode()
        for line in shown.splitlines():
            verb, *rest = line.split()
            if verb == "insmod":
                paths[pathlib.Path(rest[0])] = None
    return list(paths)


def kernel_of(root, version):
    """Its ELF image, where QEMU can boot that; else what there is."""
    packed = (root / "boot" / f"vmlinuz-{version}").read_bytes()
    # Documentation/arch/x86/boot.rst: setup_sects, payload_offset, _length
    offset, length = struct.unpack_from("<II", packed, 0x248)
    at = (packed[0x1f1] + 1) * 512 + offset
    payload = packed[at:at + length]
    try:
        if payload.startswith(b"\xfd7zXZ"):
            kernel = lzma.LZMADecompressor().decompress(payload)
        elif payload.startswith(b"\x1f\x8b"):
            kernel = zlib.decompressobj(31).decompress(payload)
        else:
            return packed
    except (lzma.LZMAError, zlib.error):
        return packed
    # the note of the entry that QEMU takes, XEN_ELFNOTE_PHYS32_ENTRY
    note = struct.pack("<II", 18, 0x006e6558)
    return kernel if note in kernel else packed


def build(root, version, boot, work):
    tree = work / "tree"
    for name in ("bin", "dev", "proc", "sys", "lower", "upper",
                 "machine", "modules"):
        (tree / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if not busybox:
        raise Missing("busybox is not installed: scripts/setup.sh test")
    shutil.copy(busybox, tree / "bin" / "busybox")
    shutil.copy(INIT, tree / "init")
    (tree / "init").chmod(0o755)
    for number, path in enumerate(module_paths(root, version)):
        stem = path.name.split(".")[0]
        (tree / "modules" / f"{number:02}-{stem}.ko").write_bytes(
            unpacked(path))
    names = "\n".join(str(path.relative_to(tree))
                      for path in sorted(tree.rglob("*")))
    archive = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=tree,
        input=names.encode(), check=True, stdout=subprocess.PIPE).stdout
    made = work / "made"
    made.mkdir()
    (made / "initramfs").write_bytes(archive)
    (made / "kernel").write_bytes(kernel_of(root, version))
    made.rename(boot)


def prepare():
    """Finds or builds what guests boot."""
    here = cache()
    given = os.environ.get("KVR_VM_KERNEL")
    root = pathlib.Path(given) if given else here / "kernel"
    if not root.is_dir():
        if given:
            raise Missing(f"KVR_VM_KERNEL={given} is no directory")
        with locked(here) as work:
            if not root.is_dir():
                download(work).rename(root)
            shutil.rmtree(work)
    version = version_of(root)
    recipe = hashlib.sha256(INIT.read_bytes() + SELF.read_bytes() +
                            str(root).encode()).hexdigest()[:16]
    boot = here / f"boot-{version}-{recipe}"
    if not boot.exists():
        with locked(here) as work:
            if not boot.exists():
                build(root, version, boot, work)
            shutil.rmtree(work)
    return Boot(root, boot / "kernel", boot / "initramfs")
