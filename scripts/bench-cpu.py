#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attention on this processor beside PyTorch's and ONNX Runtime's, in pairs a
moment apart, every other pair the other way round, after one that is not
counted. All take random data of the same shape and the same number of threads;
ours includes packing keys and values and returns the log-sum-exp as well.

	scripts/bench-cpu.py [--peers DIR] [--pairs N] [--tokens N] [--heads N]
			     [--threads N] [--cpu-time]

--peers: a virtual environment, made with the peers in it where it is not there
yet; without it this Python's packages count. --cpu-time: seconds of the
processors instead of those on the wall, for a machine that others use too. A
peer that cannot be had is said to be missing. Exit 0 also when a goal is
missed: speed is judged by the reader.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

SERVE = os.path.join(os.environ.get("KVRING_BUILD", "build/release"),
                     "bench", "cpu_serve")
PACKAGES = ("torch", "onnxruntime", "onnx", "numpy")


def enter(peers):
    """Goes on in the virtual environment, which is made if need be."""
    python = os.path.join(peers, "bin", "python3")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", peers], check=True)
        for package in PACKAGES:
            subprocess.run([python, "-m", "pip", "install", "-q", package])
    os.environ["KVRING_PEERS"] = peers
    os.execv(python, [python, *sys.argv])


class Clock:
    """Of this process, as cpu_serve has its own."""

    def __init__(self, options):
        self.cpu, self.threads = options.cpu_time, options.threads

    def seconds(self, call):
        now = time.process_time if self.cpu else time.perf_counter
        begun = now()
        call()
        return (now() - begun) / (self.threads if self.cpu else 1)


def torch_sdpa(options, dtype, dim, causal):
    import torch
    torch.set_num_threads(options.threads)
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    q, k, v = (torch.rand(1, options.heads, options.tokens, dim).mul_(2)
               .sub_(1).to(kind) for _ in range(3))
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def call():
        with torch.inference_mode():
            sdpa(q, k, v, is_causal=causal)
    return call


def onnxruntime_mha(options, dtype, dim, causal):
    import numpy
    import onnx
    import onnxruntime
    if dtype != "f32":
        raise ImportError("its MultiHeadAttention has no bf16 on CPUs")
    helper, shape = onnx.helper, [1, options.tokens, options.heads * dim]
    names = ("query", "key", "value")
    node = helper.make_node(
        "MultiHeadAttention", list(names), ["out"], domain="com.microsoft",
        num_heads=options.heads, unidirectional=int(causal))
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "attention",
        [tensor(n, onnx.TensorProto.FLOAT, shape) for n in names],
        [tensor("out", onnx.TensorProto.FLOAT, shape)])
    model = helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)])
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings,
        providers=["CPUExecutionProvider"])
    random = numpy.random.default_rng(1)
    feed = {n: random.random(shape, numpy.float32) * 2 - 1 for n in names}
    return lambda: session.run(["out"], feed)


class Ours:
    def __init__(self, options, dtype, dim, causal):
        self.process = subprocess.Popen(
            [SERVE, dtype, str(dim), "causal" if causal else "full",
             str(options.tokens), str(options.heads), str(options.threads),
             "cpu" if options.cpu_time else "wall"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.kernel = self.process.stdout.readline().strip()

    def seconds(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def spread(values):
    return "%.3f (%.3f..%.3f)" % (statistics.median(values), min(values),
                                  max(values))


def compare(options, name, make, goal, dtype, dim, causal):
    case = "%-4s d=%3d %-6s" % (dtype, dim, "causal" if causal else "full")
    try:
        call = make(options, dtype, dim, causal)
    except ImportError as error:
        print("%s %-16s missing: %s" % (case, name, error), flush=True)
        return
    clock, ours = Clock(options), Ours(options, dtype, dim, causal)
    a, b = [], []
    for pair in range(options.pairs + 1):
        if pair % 2:
            a.append(ours.seconds())
        b.append(clock.seconds(call))
        if pair % 2 == 0:
            a.append(ours.seconds())
    a, b = a[1:], b[1:]
    ours.close()
    print("%s %-16s %-6s ms %s  %s ms %s  times as fast %s  goal %s" % (
        case, name, ours.kernel, spread([x * 1e3 for x in a]), name,
        spread([x * 1e3 for x in b]),
        spread([y / x for x, y in zip(a, b)]), goal), flush=True)


def main():
    parser = argparse.ArgumentParser(
        usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("--peers")
    parser.add_argument("--cpu-time", action="store_true")
    for name, default in (("pairs", 9), ("tokens", 4096), ("heads", 8),
                          ("threads", 2)):
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    if options.peers and os.environ.get("KVRING_PEERS") != options.peers:
        enter(options.peers)
    if not os.path.exists(SERVE):
        sys.exit("bench-cpu: no %s; build first" % SERVE)
    print("tokens %d x %d, heads %d, threads %d, %d pairs; "
          "median (min..max)%s" % (
              options.tokens, options.tokens, options.heads, options.threads,
              options.pairs,
              "; processors' time" if options.cpu_time else ""), flush=True)
    for dim in (64, 128):
        for causal in (False, True):
            compare(options, "PyTorch SDPA", torch_sdpa, "1.1, better 1.5",
                    "f32", dim, causal)
            compare(options, "PyTorch SDPA", torch_sdpa, "1, better 2",
                    "bf16", dim, causal)
        compare(options, "ONNX Runtime MHA", onnxruntime_mha,
                "1.25, better 1.5", "f32", dim, False)
    print("bf16           oneDNN graph     missing: no package brings its "
          "fused attention")


if __name__ == "__main__":
    main()
