/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a verbs endpoint; every one is zero, or -1, when not there. */
#ifndef KVR_RDMA_VERBS_ENDPOINT_H
#define KVR_RDMA_VERBS_ENDPOINT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "rdma/edge.h"
#include "rdma/verbs/device.h"
#include "rdma/verbs/flush.h"
#include "rdma/verbs/message.h"
#include "rdma/verbs/reach.h"
#include "rdma/verbs/verbs.h"

/* ------------------------------------------------------------- address */

#define VERBS_ADDRESS_MAGIC UINT64_C(0x3130627265765657) /* "WVverb01" */

/* Where one rail is: for librdmacm an IP address, else the port itself. */
struct verbs_rail_address {
	uint8_t ip[16]; /* librdmacm: IPv4 in the first four; else the GID */
	uint16_t tcp_port;
	uint16_t lid;
	uint8_t family; /* 4 or 6; 0: by exchange */
	uint8_t mtu;	/* enum ibv_mtu */
	uint8_t link_layer;
	uint8_t reserved;
};

struct verbs_address {
	uint64_t magic;
	uint32_t role;
	uint32_t by_cm;
	uint32_t rails, qps;
	uint8_t nonce[KVR_NONCE_BYTES];
	struct verbs_rail_address rail[VERBS_RAILS_MAX];
	uint32_t qpn[VERBS_QPS_MAX]; /* by exchange */
	uint32_t psn;		     /* by exchange, of each queue pair */
	uint32_t reserved;
};

_Static_assert(sizeof(struct verbs_address) <= KVR_ADDRESS_BYTES, "fits");

/* ---------------------------------------------------------- queue pair */

/* A write that was posted and whose SENT is not reported yet. */
struct verbs_op {
	uint64_t cookie;
	uint32_t end; /* work requests posted with its last */
};

enum verbs_qp_step {
	VERBS_QP_IDLE = 0,
	VERBS_QP_RESOLVING, /* librdmacm: the address, then the route */
	VERBS_QP_ROUTING,
	VERBS_QP_REQUESTED,
	VERBS_QP_ACCEPTED, /* IN: usable, though the peer's RTU is to come */
	VERBS_QP_READY
};

struct verbs_qp {
	struct ibv_qp *qp;
	struct rdma_cm_id *id; /* librdmacm */
	uint32_t index, rail;
	uint32_t remote_qpn;
	union ibv_gid remote_gid;
	enum verbs_qp_step step;
	int64_t retry_ns; /* not before, on the monotonic clock */

	/* The send queue; counters of work requests run on for ever. */
	uint32_t depth, posted, done;
	uint32_t silent; /* posted since the last that reports completion */
	uint32_t sge_max;
	uint32_t inline_max;
	struct verbs_op *ops; /* [depth] */
	uint32_t op_first, op_count;

	uint32_t receive_depth;
};

/* ---------------------------------------------------------- completion */

#define VERBS_STASH 16

struct verbs_cq {
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	bool armed;
	uint32_t depth;
};

/*
 * wr_id: what a completion belongs to. A queue pair that was given up may
 * leave some behind: those of another attempt are dropped.
 */
enum verbs_wr { VERBS_WR_SEND = 1, VERBS_WR_IMM = 2, VERBS_WR_MESSAGE = 3 };

static inline uint64_t verbs_wr_id(enum verbs_wr kind, uint32_t attempt,
				   uint32_t qp, uint32_t value)
{
	return (uint64_t)kind << 56 | (uint64_t)(attempt & 0xff) << 48 |
	       (uint64_t)qp << 32 | value;
}

static inline enum verbs_wr verbs_wr_kind(uint64_t id)
{
	return (enum verbs_wr)(id >> 56);
}

static inline bool verbs_wr_stale(uint64_t id, uint32_t attempt)
{
	return (id >> 48 & 0xff) != (attempt & 0xff);
}

static inline uint32_t verbs_wr_qp(uint64_t id)
{
	return id >> 32 & 0xffff;
}

/* ------------------------------------------------------------ endpoint */

struct verbs_endpoint {
	struct kvr_endpoint base;
	struct kvr_endpoint_config config;
	struct verbs_transport *transport;
	pid_t owner; /* a forked child must not touch the devices */
	bool by_cm;
	struct verbs_address address, remote;
	bool connecting, connected;
	enum kvr_status failed; /* what connect_poll and poll return */
	bool gone;		/* the peer is lost, once all is drained */
	bool broken;		/* a queue pair failed: nothing more is sent */
	uint32_t attempt;	/* to connect; counts up */
	int64_t talked_ns;	/* when the hello was over; 0: not yet */
	uint32_t peer_attempt;	/* IN: the one of OUT that is under way */

	int epoll_fd;
	struct rdma_event_channel *channel;	      /* librdmacm */
	struct rdma_cm_id *listener[VERBS_RAILS_MAX]; /* IN, until connected */

	uint32_t rails, qps;
	struct verbs_qp qp[VERBS_QPS_MAX];
	struct verbs_cq cq[VERBS_RAILS_MAX];
	struct ibv_wc stash[VERBS_STASH];
	uint32_t stash_first, stash_count;
	uint32_t stash_rail;
	int64_t looked_ns; /* at events of the connection, coarse clock */

	/*
	 * The protection domain of its queue pairs: IN's own, OUT's that of
	 * the rail.
	 */
	struct ibv_pd *pd[VERBS_RAILS_MAX];

	/* IN: what prev writes into. OUT: descriptors on their way. */
	struct kvr_landing layout;
	uint8_t *memory;
	size_t memory_bytes;
	uint8_t *slots; /* IN: behind the descriptors, or on a GPU */
	struct verbs_memory *reached; /* IN: the slots; NULL: they are empty */
	struct verbs_flush *flush;    /* IN: NULL where none is needed */
	struct ibv_mr *mr_described[VERBS_RAILS_MAX];
	uint32_t *describe_end; /* OUT: per place, QP 0's posted at its last */
	bool *describe_used;

	/* The hello: two messages each way. */
	struct verbs_talk talk;
	struct ibv_mr *mr_talk;
	uint8_t key[KVR_MAC_BYTES];
	uint64_t secret_mark;
	struct verbs_grant grant; /* OUT: where the landing memory is */
};

static inline struct verbs_endpoint *verbs_endpoint(struct kvr_endpoint *base)
{
	return (struct verbs_endpoint *)base;
}

static inline bool verbs_is_in(const struct verbs_endpoint *e)
{
	return e->config.role == KVR_ROLE_IN;
}

static inline struct verbs_device *verbs_rail(struct verbs_endpoint *e,
					      uint32_t rail)
{
	return &e->transport->device[rail];
}

int64_t verbs_coarse_ns(void);

/* One line: operation, peer, queue pair, GIDs, device, why. */
void verbs_complain(struct verbs_endpoint *e, const struct verbs_qp *q,
		    const char *operation, const char *why);

/* ---------------------------------------------------------- queue_pair.c */

/* How many work requests each queue holds; LIMIT, logged, if too many. */
enum kvr_status verbs_qp_plan(struct verbs_endpoint *e);

/* Creates it on its rail. */
enum kvr_status verbs_qp_create(struct verbs_endpoint *e, struct verbs_qp *q);
void verbs_qp_destroy(struct verbs_qp *q);

/* To INIT, where it cannot be written to yet, and posts its receives. */
enum kvr_status verbs_qp_init_state(struct verbs_endpoint *e,
				    struct verbs_qp *q,
				    struct ibv_qp_attr *attr, int mask);
/* By RTR to RTS, with our time-outs; the rest of both is the caller's. */
enum kvr_status verbs_qp_ready_state(struct verbs_endpoint *e,
				     struct verbs_qp *q,
				     struct ibv_qp_attr *receive,
				     int receive_mask, struct ibv_qp_attr *send,
				     int send_mask);
void verbs_qp_error_state(struct verbs_qp *q);

/* Lets the peer write: after it has proved who it is, not before. */
enum kvr_status verbs_qp_allow_writes(struct verbs_endpoint *e);

enum kvr_status verbs_post_receives(struct verbs_endpoint *e,
				    struct verbs_qp *q, uint32_t count);

/* ---------------------------------------------------------- completion.c */

/* Adds a descriptor to the endpoint's, and makes it non-blocking. */
enum kvr_status verbs_watch(struct verbs_endpoint *e, int fd);

enum kvr_status verbs_cqs_open(struct verbs_endpoint *e);
void verbs_cqs_close(struct verbs_endpoint *e);

/* The next completion of any rail, left where it is; NULL: none. */
struct ibv_wc *verbs_peek_completion(struct verbs_endpoint *e);
void verbs_drop_completion(struct verbs_endpoint *e);

/* The next, taken off; false: none. */
bool verbs_next_completion(struct verbs_endpoint *e, struct ibv_wc *out);

/* Takes one in. True: *event is to be reported. */
bool verbs_take_completion(struct verbs_endpoint *e, const struct ibv_wc *wc,
			   struct kvr_event *event);

enum kvr_status verbs_poll(struct kvr_endpoint *base, struct kvr_event *events,
			   size_t max, size_t *count);
enum kvr_status verbs_arm(struct kvr_endpoint *base);
void verbs_disarm(struct kvr_endpoint *base);

/* Everything posted is done, or deadline. True: it is. */
bool verbs_drain_sends(struct verbs_endpoint *e, int64_t deadline_ns);

/* ----------------------------------------------------------------- post.c */

uint32_t verbs_pieces_max(struct kvr_endpoint *base);
enum kvr_status verbs_write(struct kvr_endpoint *base,
			    const struct kvr_write *write);
enum kvr_status verbs_describe(struct kvr_endpoint *base,
			       const struct kvr_describe *describe);
enum kvr_status verbs_signal(struct kvr_endpoint *base, uint32_t imm);

/* By exchange: tells the peer that this end closes. */
void verbs_post_last(struct verbs_endpoint *e);

/* So that what was posted without report is known to be done, too. */
void verbs_post_fence(struct verbs_endpoint *e, struct verbs_qp *q);

/* Sends a message of the hello from the talk's buffer. */
enum kvr_status verbs_post_message(struct verbs_endpoint *e, uint32_t index);

/* -------------------------------------------------------------- landing.c */

/* From the first slot to this one. */
static inline size_t verbs_slot_offset(const struct verbs_endpoint *e,
				       uint32_t lane, uint32_t slot)
{
	return e->layout.slots[lane] - e->layout.slots[0] +
	       e->layout.stride[lane] * slot;
}

enum kvr_status verbs_domains_open(struct verbs_endpoint *e);
void verbs_domains_close(struct verbs_endpoint *e);

enum kvr_status verbs_landing_open(struct verbs_endpoint *e);
void verbs_landing_close(struct verbs_endpoint *e);
void verbs_landing_grant(const struct verbs_endpoint *e,
			 struct verbs_grant *out);

/* ---------------------------------------------------------------- hello.c */

enum kvr_status verbs_hello_open(struct verbs_endpoint *e);
void verbs_hello_close(struct verbs_endpoint *e);

/* Queue pair 0 is ready: OUT begins. */
enum kvr_status verbs_hello_begin(struct verbs_endpoint *e);

/*
 * Hears what arrived. KVR_OK: connected. AGAIN: the talk goes on. PEER_LOST:
 * it came to nothing, another may. MISMATCH: and so would any other.
 */
enum kvr_status verbs_hello_poll(struct verbs_endpoint *e);

/* --------------------------------------------------- cm.c and exchange.c */

enum kvr_status verbs_cm_open(struct verbs_endpoint *e);
void verbs_cm_close(struct verbs_endpoint *e);
enum kvr_status verbs_cm_poll(struct verbs_endpoint *e);

/* Connected: notices that the peer went, or what the devices tell. */
void verbs_look(struct verbs_endpoint *e);

enum kvr_status verbs_exchange_open(struct verbs_endpoint *e);

/* Makes the queue pairs ready; the rest is the hello. */
enum kvr_status verbs_exchange_connect(struct verbs_endpoint *e);

#endif
