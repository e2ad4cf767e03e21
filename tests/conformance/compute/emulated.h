/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GPU's attention behind the compute seam, for tensors of the host: each
 * is copied to the emulated device and back. What runs is compute/cuda as it
 * is; tests/emulated_cuda carries it out.
 */
#ifndef KVR_TESTS_CONFORMANCE_EMULATED_H
#define KVR_TESTS_CONFORMANCE_EMULATED_H

#include "runtime/compute.h"

extern const struct kvr_compute_ops emulated_compute;

/* What tiles may share from the next open on: how many tiles a problem has. */
void emulated_set_cache(size_t bytes);

/* Rows that step hands over one range after another go into a graph, which is
 * launched in place of the calls. */
void emulated_set_captured(bool captured);

#endif
