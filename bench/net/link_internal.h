/* SPDX-License-Identifier: Apache-2.0 */
/* What link.c and link_open.c share. */
#ifndef KVR_BENCH_NET_LINK_INTERNAL_H
#define KVR_BENCH_NET_LINK_INTERNAL_H

#include "bench/net/link.h"

/* Says BYE both ways and waits for the peer's. */
void link_say_bye(struct link *link);

#endif
