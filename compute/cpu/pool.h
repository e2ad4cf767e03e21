/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent threads that run one function at a time together with the
 * caller. One caller at a time.
 */
#ifndef KVR_COMPUTE_POOL_H
#define KVR_COMPUTE_POOL_H

#include <stdint.h>

#include "kvring/status.h"

struct kvr_cpu_pool;

/* thread: 0 .. threads - 1, each exactly once; 0 is the caller. */
typedef void (*kvr_cpu_work_fn)(void *arg, uint32_t thread);

/*
 * threads counts the caller: 1 starts none; 0 means 1. The threads block
 * every signal, and have a CPU each where they are as many as the caller's
 * CPUs. Errors: NO_MEMORY, SYSTEM.
 */
enum kvr_status kvr_cpu_pool_open(uint32_t threads, struct kvr_cpu_pool **out);

/* NULL is ignored. No run may be under way. Returns in a forked child, too. */
void kvr_cpu_pool_close(struct kvr_cpu_pool *pool);

uint32_t kvr_cpu_pool_threads(const struct kvr_cpu_pool *pool);

/* Returns when work has returned on every thread; its effects are seen. */
void kvr_cpu_pool_run(struct kvr_cpu_pool *pool, kvr_cpu_work_fn work,
		      void *arg);

#endif
