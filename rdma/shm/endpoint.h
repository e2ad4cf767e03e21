/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a shm endpoint; every one is zero, or -1, when not there. */
#ifndef KVR_RDMA_SHM_ENDPOINT_H
#define KVR_RDMA_SHM_ENDPOINT_H

#include <sys/types.h>

#include "rdma/edge.h"
#include "rdma/shm/ring.h"
#include "rdma/shm/shm.h"

/* ---------------------------------------------------------------- host */

#define SHM_ADDRESS_MAGIC UINT64_C(0x3130306d6873564b) /* "KVshm001" */
#define SHM_NAME_MAX 16

/*
 * Abstract socket names live in a network namespace of one boot of one
 * machine; only a process of the same user may map the slots.
 */
struct shm_address {
	uint64_t magic;
	char boot_id[40];
	uint64_t netns_device, netns_inode;
	uint32_t uid;
	uint32_t pid;
	uint8_t nonce[KVR_NONCE_BYTES];
	uint32_t name_bytes; /* 0: an OUT endpoint, which does not listen */
	char name[SHM_NAME_MAX];
};

_Static_assert(sizeof(struct shm_address) <= KVR_ADDRESS_BYTES, "fits");

/* All but nonce and name. Errors: SYSTEM. */
enum kvr_status shm_host_identify(const struct kvr_log *log,
				  struct shm_address *out);
bool shm_host_reaches(const struct shm_address *local,
		      const struct shm_address *remote);

/* -------------------------------------------------------------- region */

/* A sealed memfd, mapped. */
struct shm_region {
	uint8_t *base;
	size_t bytes;
	int fd;
};

/*
 * All of it is allocated here: lack of memory is NO_MEMORY now and no SIGBUS
 * later. Errors: NO_MEMORY, SYSTEM.
 */
enum kvr_status shm_region_create(const struct kvr_log *log, size_t bytes,
				  struct shm_region *out);

/*
 * Maps what a peer passed, after checking that it has that many bytes and
 * can never lose one. fd stays the caller's. Errors: PROTOCOL, NO_MEMORY,
 * SYSTEM.
 */
enum kvr_status shm_region_adopt(const struct kvr_log *log, int fd,
				 size_t bytes, struct shm_region *out);
void shm_region_close_fd(struct shm_region *region);
void shm_region_release(struct shm_region *region);

/* Logs errno and translates it: NO_MEMORY or SYSTEM. */
enum kvr_status shm_errno(const struct kvr_log *log, const char *operation);

/* -------------------------------------------------------------- layout */

/* The region of an endpoint of a role: a ring, and IN's landing memory. */
void shm_layout_init(const struct kvr_endpoint_config *config,
		     enum kvr_role role, struct kvr_landing *out);

/* ---------------------------------------------------------------- copy */

enum shm_way { SHM_PLAIN, SHM_STREAM, SHM_WAYS };

/* Which way to copy large pieces is fast here; zero: not known yet. */
struct shm_copier {
	uint64_t cost[SHM_WAYS]; /* least ns for 1024 bytes; 0: none yet */
	enum shm_way best;
	bool trying;		 /* the other one */
	uint32_t interval, left; /* copies between two trials; until then */
};

/* The next bytes of gather, by the better way. */
void shm_copier_copy(struct shm_copier *copier, struct kvr_gather *gather,
		     void *to, size_t bytes);

/* What shm_copier_copy does: a way, and what it took. */
enum shm_way shm_copier_choose(struct shm_copier *copier);
void shm_copier_note(struct shm_copier *copier, enum shm_way way, size_t bytes,
		     uint64_t ns);

/* --------------------------------------------------------------- queue */

#define SHM_WRITES 64  /* until SENT is reported */
#define SHM_QUEUE 128  /* all kinds */
#define SHM_SIGNALS 32 /* of these, for signals only */

_Static_assert(SHM_QUEUE <= SHM_RING_ENTRIES - SHM_RING_ROOM,
	       "a farewell has room");

struct shm_item {
	uint32_t imm;
	bool is_write;
	uint64_t cookie;
	uint8_t *target;
	size_t left; /* bytes still to copy */
	struct kvr_gather gather;
};

/* One queue for everything keeps the immediates in the order posted. */
struct shm_queue {
	struct shm_item items[SHM_QUEUE];
	uint32_t first, count;
	uint64_t sent[SHM_WRITES];
	uint32_t sent_first, sent_count;
	uint32_t writes; /* queued, or sent and not yet reported */
	struct shm_copier copier;
};

/* The place to fill in at the end, or NULL: AGAIN. */
struct shm_item *shm_queue_reserve(struct shm_queue *queue, bool is_write,
				   bool is_signal);

enum shm_progress {
	SHM_IDLE,    /* nothing queued */
	SHM_FULL,    /* the peer's ring has no room */
	SHM_MORE,    /* bounded work done, more is left */
	SHM_CORRUPT, /* the peer's ring makes no sense */
};

/* Copies at most budget bytes. *wake: the peer wants to be woken. */
enum shm_progress shm_queue_run(struct shm_queue *queue,
				struct shm_producer *producer, size_t budget,
				bool *wake);

/* What shm_queue_run would find, without doing any of it. */
enum shm_progress shm_queue_state(const struct shm_queue *queue,
				  const struct shm_producer *producer);

/*
 * Before closing: what needs no more bytes goes into the rest of the ring,
 * SHM_RING_ROOM and beyond. The end of the connection wakes the consumer.
 */
void shm_queue_farewell(struct shm_queue *queue, struct shm_producer *producer);

size_t shm_queue_pop_sent(struct shm_queue *queue, struct kvr_event *events,
			  size_t max);

/* ------------------------------------------------------------ endpoint */

#define SHM_CANDIDATES 8

struct shm_endpoint {
	struct kvr_endpoint base;
	struct kvr_endpoint_config config;
	pid_t owner; /* a forked child must not say good-bye for it */
	struct shm_address address, remote;
	bool connecting, connected;

	int epoll_fd;  /* holds the two below: one for the caller */
	int listen_fd; /* IN, until connected */
	int socket_fd; /* to the peer: hello, wake-ups, and its death */
	int candidates[SHM_CANDIDATES]; /* IN: accepted, no hello yet */
	uint32_t next_candidate;

	struct shm_region inbox, outbox; /* ours, the peer's */
	struct kvr_landing inbox_layout, outbox_layout;
	struct shm_consumer consumer; /* of inbox */
	struct shm_producer producer; /* into outbox */
	struct shm_queue queue;

	bool gone; /* the socket says so */
	enum kvr_status failed;
	int64_t looked_ns; /* at the socket, coarse clock */
};

/* IN: binds and listens. */
enum kvr_status shm_listen(struct shm_endpoint *endpoint);
enum kvr_status shm_accept_poll(struct shm_endpoint *endpoint);
enum kvr_status shm_dial_poll(struct shm_endpoint *endpoint);

/* Closes the sockets, whatever state they are in. */
void shm_hang_up(struct shm_endpoint *endpoint);

#endif
