/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers that are a function of (seed, stream, index) alone, the
 * same on every machine: any part of a file can be made again by itself.
 */
#ifndef KVR_CLI_RANDOM_H
#define KVR_CLI_RANDOM_H

#include <stdint.h>

/*
 * Steele, Lea, Flood, 2014, "Fast splittable pseudorandom number
 * generators": SplitMix64, its state taken index steps on.
 */
uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index);

/*
 * Close to normal, mean 0, variance 1, within +-3.47: the sum of the four
 * 16-bit parts of random_bits (Irwin-Hall of order 4). Integers up to one
 * exact scaling: no libm, bit for bit equal everywhere.
 */
float random_normal(uint64_t seed, uint64_t stream, uint64_t index);

/* Round to nearest, ties to even; finite values only. */
uint16_t random_to_bf16(float value);

/* Likewise; within the range of f16. */
uint16_t random_to_f16(float value);

#endif
