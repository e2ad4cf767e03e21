/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Edges between two hosts, for a body that knows of one: a transport of which
 * the ends of one role, far ones, live in a process on the other host and are
 * driven from here, one round trip a call. Nothing of the contract is relaxed:
 * each call is made there before it returns here, and memory that both sides
 * see, sources and landing slots, is carried over whenever either side could
 * tell.
 *
 *	body -- near end, real ------------ RDMA ------------.
 *	     \- far end, calls -- TCP -- agent's process, real end
 *
 * Each transport that is opened has a process of its own there, which ends,
 * without a word to anybody, as soon as the caller's does.
 */
#ifndef TESTS_CONFORMANCE_TRANSPORT_FAR_H
#define TESTS_CONFORMANCE_TRANSPORT_FAR_H

#include "tests/conformance/transport/stream.h"

/*
 * ops, which must work between processes, with the ends of that role at the
 * agent, "HOST:PORT". Once in a program.
 */
const struct kvr_transport_ops *
far_transport(const struct kvr_transport_ops *ops, enum kvr_role role,
	      const char *agent);

/* Drives a far end's stream where it lives; false: it is a near one. */
bool far_stream(const struct stream *stream, enum kvr_role role);

/*
 * The agent: serves on that port until its first caller's program has ended.
 * Port 0: on any; prints "port N". An exit status.
 */
int far_serve(const struct kvr_transport_ops *ops, const char *port);

#endif
