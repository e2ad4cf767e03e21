/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime's only clock. */
#ifndef KVR_RUNTIME_CLOCK_H
#define KVR_RUNTIME_CLOCK_H

#include <stdint.h>
#include <time.h>

#define KVR_NS_PER_MS UINT64_C(1000000)
#define KVR_NS_PER_S UINT64_C(1000000000)

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t kvr_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * KVR_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline struct timespec kvr_clock_timespec(uint64_t ns)
{
	return (struct timespec){
		.tv_sec = (time_t)(ns / KVR_NS_PER_S),
		.tv_nsec = (long)(ns % KVR_NS_PER_S),
	};
}

#endif
