/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of a device that computes on blocks. It takes a given time and does
 * not use the CPU: it sleeps until a point in time, as a host thread does that
 * waits for a GPU. What it computes is whether its input stays what it must
 * be: it hashes the block when it begins, at two random moments and at its
 * end, and each hash must be that of the whole and right block.
 *
 * Hashing a whole block would need the CPU that the device does not use.
 * Hashed are samples: one 8-byte word, at a random place, in each of up to
 * DEVICE_SAMPLES equal parts. The sender stamps these words with origin and
 * pass before each pass. A block that is not complete, is another's or of
 * another pass, or that prev overwrites with a part of 1/DEVICE_SAMPLES or
 * more, is found for certain; a smaller overwrite by chance.
 */
#ifndef KVR_BENCH_NET_DEVICE_H
#define KVR_BENCH_NET_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEVICE_SAMPLES 64
#define DEVICE_CHECKS 4

struct device {
	size_t place[DEVICE_SAMPLES]; /* offsets of the words */
	size_t samples;
	uint64_t random;
	bool plant; /* for tests: overwrites the block once it computes */

	/* Since the caller set them to 0. */
	uint64_t late_ns; /* woken after the end of a compute, added up */
	uint64_t checks;
};

/* Where a device saw another block than it was given. */
struct device_fault {
	uint32_t check; /* 0: when it began */
	double at;	/* part of the compute that was over */
};

/* bytes >= 64; all ranks use the same places. seed: this rank's moments. */
void device_init(struct device *device, size_t bytes, uint64_t seed);

/* block is 8-byte aligned. */
void device_stamp(const struct device *device, void *block, uint32_t origin,
		  uint64_t pass);

/* False: *fault says when. ns = 0: one check alone. */
bool device_compute(struct device *device, void *block, uint32_t origin,
		    uint64_t pass, uint64_t ns, struct device_fault *fault);

/* ns, up to `part` less or more. */
uint64_t device_vary(struct device *device, uint64_t ns, double part);

#endif
