/* SPDX-License-Identifier: Apache-2.0 */
/* What the body and the agent's process say to each other. */
#ifndef TESTS_CONFORMANCE_TRANSPORT_FAR_PROCESS_H
#define TESTS_CONFORMANCE_TRANSPORT_FAR_PROCESS_H

#include <sys/types.h>

#include "tests/conformance/transport/far/mirror.h"
#include "tests/conformance/transport/far/parcel.h"
#include "tests/conformance/transport/stream.h"

/*
 * Calls to the one transport and the one endpoint of a process: first what the
 * call of the seam takes, then for some the memory that changed. Answers begin
 * with a status.
 */
enum far_kind {
	FAR_PROBE,
	FAR_OPEN,
	FAR_CLOSE,
	FAR_REGISTER,
	FAR_DEREGISTER,
	FAR_ENDPOINT_OPEN,
	FAR_ENDPOINT_CLOSE,
	FAR_ADDRESS,
	FAR_CONNECT,
	FAR_CONNECT_POLL,
	FAR_SLOTS, /* landing memory, both ways */
	FAR_DESCRIPTOR,
	FAR_PIECES_MAX,
	FAR_WRITE,
	FAR_DESCRIBE,
	FAR_SIGNAL,
	FAR_POLL,
	FAR_FLUSH,
	FAR_ARM,
	FAR_DISARM,
	FAR_STREAM, /* all of it, there */
	FAR_CALLS,  /* so many */
	FAR_ANSWER,
	FAR_LINE, /* logged amid a call */
	FAR_WAKE  /* the armed endpoint's descriptor is readable */
};

#define FAR_NAME_BYTES 32
#define FAR_REASON_BYTES 160
#define FAR_EVENTS_MAX 64
#define FAR_PAGE 4096

struct far_piece {
	uint64_t source; /* what FAR_REGISTER gave */
	uint64_t offset, bytes;
};

/* The caller's side of one connection. */
struct far_process {
	int fd;
	pid_t owner;		   /* who opened it; a fork of that may not */
	const struct kvr_log *log; /* may be NULL */
	int woken_fd; /* an eventfd that each FAR_WAKE raises; -1: none */
	struct parcel call, answer;
};

/* agent is "HOST:PORT"; waits until it listens, or ends the program. */
void far_process_open(struct far_process *process, const char *agent);
void far_process_close(struct far_process *process);
bool far_process_is_ours(const struct far_process *process);

/* Put what it takes into what begin returns; the answer is process->answer. */
struct parcel *far_call_begin(struct far_process *process, enum far_kind kind);
enum kvr_status far_call(struct far_process *process);

/* The life of the agent's process. */
__attribute__((noreturn)) void
far_agent_run(const struct kvr_transport_ops *ops, int fd);

/* ------------------------------------------------------------- far ends */

/* Of the body's registered memory, at the agent. */
struct far_source {
	struct far_source *next;
	struct mirror mirror;
	uint64_t id;
};

struct far_sources {
	struct far_source *first;
	bool freed; /* SENT has been reported since they were last carried */
};

enum kvr_status far_source_register(struct far_process *process,
				    struct far_sources *sources, void *address,
				    size_t bytes, void **key);
void far_source_deregister(struct far_process *process,
			   struct far_sources *sources, void *key);

/* Both are borrowed until the endpoint closes. */
enum kvr_status far_endpoint_open(struct far_process *process,
				  struct far_sources *sources,
				  const struct kvr_endpoint_config *config,
				  struct kvr_endpoint **out);

/* Carries over what the body wrote into slots that it has just asked for. */
void far_endpoint_settle(void);

/* The calls of an endpoint; the others are NULL. */
extern const struct kvr_transport_ops far_endpoint_ops;

#endif
