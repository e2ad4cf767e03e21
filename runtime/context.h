/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The context: what all rings of a process share. Owns the log, the opened
 * transports, the list of registered memory and the progress thread; rings
 * borrow it.
 */
#ifndef KVR_RUNTIME_CONTEXT_H
#define KVR_RUNTIME_CONTEXT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "runtime/log.h"
#include "runtime/registry.h"

struct kvr_ring;

struct kvr_progress_thread {
	pthread_t thread;
	bool running;
	int epoll_fd; /* kick_fd and the event descriptors of the rings */
	int kick_fd;
	atomic_bool stop;
	atomic_bool asleep; /* a kick is needed; pairs with ring->dirty */
	atomic_ullong sleeps;
};

struct kvr_context {
	struct kvr_log log;
	struct kvr_transport_config transport_config;
	enum kvr_progress progress;
	unsigned forks; /* kvr_fork_count() at open */

	/*
	 * Guards everything below, and that no ring goes away under a step.
	 * The progress thread holds it nearly always and gives way to those
	 * who announce themselves in lock_wanted: kvr_context_lock.
	 */
	pthread_mutex_t lock;
	atomic_uint lock_wanted;
	struct kvr_transport *transports[KVR_TRANSPORTS_MAX];
	unsigned users[KVR_TRANSPORTS_MAX]; /* endpoints that exist */
	bool chosen[KVR_TRANSPORTS_MAX];    /* an edge was on it once */
	struct kvr_memory *memories;	    /* list */
	struct kvr_ring *rings;		    /* list */
	struct kvr_progress_thread thread;
};

/* Source memory, registered with every transport that is open. */
struct kvr_memory {
	struct kvr_context *context;
	void *address;
	size_t bytes;
	bool on_gpu; /* known only to transports that take such */
	void *keys[KVR_TRANSPORTS_MAX];
	struct kvr_memory *next, **link;
};

/* Is this process a forked child of the one that opened the context? */
bool kvr_context_forked(const struct kvr_context *context);

/*
 * Makes memory known to a transport; *key stays as it is for memory of a GPU
 * where that takes none. Errors: the back end's.
 */
enum kvr_status kvr_memory_make_key(const struct kvr_memory *memory,
				    struct kvr_transport *transport,
				    void **key);

void kvr_context_lock(struct kvr_context *context);
void kvr_context_unlock(struct kvr_context *context);

/*
 * The context's transport of that registry index, for one endpoint; opened at
 * first use, and all registered memory becomes known to it. Errors: the back
 * end's.
 */
enum kvr_status kvr_context_take_transport(struct kvr_context *context,
					   size_t index,
					   struct kvr_transport **out);

/*
 * The endpoint is gone. The last closes the transport, unless an edge was on
 * it: what no ring chose must neither pin the caller's memory nor refuse it.
 */
void kvr_context_leave_transport(struct kvr_context *context, size_t index);

/* An edge is on it: it stays open, and memory registered with it. */
void kvr_context_choose_transport(struct kvr_context *context, size_t index);

#endif
