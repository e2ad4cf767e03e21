/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/net/device.h"

#include <errno.h>
#include <string.h>

#include "runtime/clock.h"

/* splitmix64's finisher. */
static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t draw(struct device *device)
{
	return mix(device->random += UINT64_C(0x9e3779b97f4a7c15));
}

/* 0 .. 1 */
static double draw_part(struct device *device)
{
	return (double)(draw(device) >> 11) * 0x1p-53;
}

void device_init(struct device *device, size_t bytes, uint64_t seed)
{
	size_t words = bytes / 8, i;

	*device = (struct device){.random = mix(seed + 1)};
	device->samples = words < DEVICE_SAMPLES ? words : DEVICE_SAMPLES;
	for (i = 0; i < device->samples; i++) {
		size_t first = i * words / device->samples;
		size_t end = (i + 1) * words / device->samples;

		device->place[i] = (first + mix(bytes + i) % (end - first)) * 8;
	}
}

/* ---------------------------------------------------------------- hash */

static uint64_t stamp(uint32_t origin, uint64_t pass, size_t sample)
{
	return mix(mix(pass * 65536 + origin) + sample);
}

static uint64_t fold(uint64_t hash, uint64_t word)
{
	return mix(hash ^ word) + hash;
}

void device_stamp(const struct device *device, void *block, uint32_t origin,
		  uint64_t pass)
{
	char *bytes = block;
	size_t i;

	for (i = 0; i < device->samples; i++) {
		uint64_t word = stamp(origin, pass, i);

		memcpy(bytes + device->place[i], &word, sizeof(word));
	}
}

static uint64_t hash_of_right(const struct device *device, uint32_t origin,
			      uint64_t pass)
{
	uint64_t hash = 0;
	size_t i;

	for (i = 0; i < device->samples; i++)
		hash = fold(hash, stamp(origin, pass, i));
	return hash;
}

static uint64_t hash_of_block(const struct device *device, const char *block)
{
	uint64_t hash = 0;
	size_t i;

	/* Atomic: an overwrite is what is looked for, whenever it comes. */
	for (i = 0; i < device->samples; i++) {
		const void *at = block + device->place[i];

		hash = fold(hash, __atomic_load_n((const uint64_t *)at,
						  __ATOMIC_RELAXED));
	}
	return hash;
}

/* ------------------------------------------------------------- compute */

static void sleep_until(uint64_t ns)
{
	const struct timespec until = kvr_clock_timespec(ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) ==
	       EINTR)
		;
}

/* The begin, two moments in between in order, the end. */
static void choose_moments(struct device *device, double at[DEVICE_CHECKS])
{
	double one = draw_part(device), other = draw_part(device);

	at[0] = 0;
	at[1] = one < other ? one : other;
	at[2] = one < other ? other : one;
	at[3] = 1;
}

/* What a prev does that does not wait for its credit. */
static void overwrite(struct device *device, char *block)
{
	uint64_t word = ~UINT64_C(0);

	if (!device->plant)
		return;
	memcpy(block + device->place[device->samples / 2], &word, sizeof(word));
}

bool device_compute(struct device *device, void *block, uint32_t origin,
		    uint64_t pass, uint64_t ns, struct device_fault *fault)
{
	const uint64_t right = hash_of_right(device, origin, pass);
	const uint64_t begin_ns = kvr_clock_ns();
	double at[DEVICE_CHECKS];
	uint32_t i, checks = ns ? DEVICE_CHECKS : 1;

	choose_moments(device, at);
	for (i = 0; i < checks; i++) {
		uint64_t moment_ns = begin_ns + (uint64_t)(at[i] * (double)ns);

		if (i == 1)
			overwrite(device, block);
		if (i > 0)
			sleep_until(moment_ns);
		if (i == checks - 1)
			device->late_ns += kvr_clock_ns() - moment_ns;
		device->checks++;
		if (hash_of_block(device, block) != right) {
			*fault = (struct device_fault){i, at[i]};
			return false;
		}
	}
	return true;
}

uint64_t device_vary(struct device *device, uint64_t ns, double part)
{
	double vary = (draw_part(device) * 2 - 1) * part;

	return (uint64_t)((double)ns * (1 + vary));
}
