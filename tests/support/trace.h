/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a ring of engines did, as one list of events in the order in which
 * they happened, and the rules of the protocol over such a list. Nothing here
 * knows the engine: the rules are those of tests/model/kvring.pml.
 *
 * Sequences are the full running hop counters, never masked and never reset;
 * tx counts what goes to next, rx what comes from prev, per lane. A refused
 * action (KVR_ERR_AGAIN, STATE ...) is no event.
 */
#ifndef KVR_TESTS_TRACE_H
#define KVR_TESTS_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvring/kvring.h"

#define KVR_TRACE_LOCAL UINT32_MAX     /* source or slot: the local block */
#define KVR_TRACE_CANCELLED (1u << 31) /* in d of DESCRIBE */

/*
 *	kind		lane	a		b		c	d
 *
 * Calls of the caller, when they succeed:
 *	BEGIN		-	tag		hops of the pass
 *	TAKE		yes	step		slot, or LOCAL	origin
 *	RELEASE		yes	step
 *	CANCEL
 *	ENDING		the first kvr_engine_end of a pass: releases the rest
 *	END		kvr_engine_end returned OK or CANCELLED
 * Actions that the transport accepted:
 *	DESCRIBE	yes	tx		target slot	origin	chunks
 *				(d | KVR_TRACE_CANCELLED: flag of descriptor)
 *	WRITE		yes	tx		chunk		source slot, or
 *								LOCAL
 *	GRANT		yes	cumulative (the first grant says 1)
 *	BYE		-	side to which it is said (KVR_TRACE_PREV, NEXT)
 * Events from the edges:
 *	SENT		yes	tx		chunk
 *	LANDED_DESC	yes	rx		origin
 *	LANDED		yes	rx		chunk
 *	CREDIT		yes	cumulative seen
 *	LOST		-	side
 * The engine's failure, once per rank, when it is first seen:
 *	ABORT		-	blamed rank	cause
 */
enum kvr_trace_side { KVR_TRACE_PREV = 0, KVR_TRACE_NEXT = 1 };

enum kvr_trace_kind {
	KVR_TRACE_BEGIN,
	KVR_TRACE_DESCRIBE,
	KVR_TRACE_WRITE,
	KVR_TRACE_SENT,
	KVR_TRACE_LANDED_DESC,
	KVR_TRACE_LANDED,
	KVR_TRACE_TAKE,
	KVR_TRACE_RELEASE,
	KVR_TRACE_GRANT,
	KVR_TRACE_CREDIT,
	KVR_TRACE_ENDING,
	KVR_TRACE_END,
	KVR_TRACE_CANCEL,
	KVR_TRACE_ABORT,
	KVR_TRACE_LOST,
	KVR_TRACE_BYE,
	KVR_TRACE_KINDS
};

struct kvr_trace_event {
	uint32_t rank; /* where it happened */
	enum kvr_trace_kind kind;
	uint32_t lane;
	uint64_t a, b, c, d;
};

struct kvr_trace {
	uint32_t n, lanes, slots;
	enum kvr_lane_kind kind[KVR_LANES_MAX];

	/* Every rank has closed: what must hold at the end is checked too. */
	bool complete;

	const struct kvr_trace_event *events; /* borrowed */
	size_t count;
};

/*
 * Could a correct ring have done this? If not, why names the rule, the rank
 * and the event ("event 17, rank 2: write: slot not granted").
 */
bool kvr_trace_accept(const struct kvr_trace *trace, char *why,
		      size_t why_bytes);

/* "DESCRIBE" ...; static. */
const char *kvr_trace_kind_name(enum kvr_trace_kind kind);

#endif
