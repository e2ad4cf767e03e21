/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that has a twin on the other host, which is told what changes. */
#ifndef TESTS_CONFORMANCE_TRANSPORT_FAR_MIRROR_H
#define TESTS_CONFORMANCE_TRANSPORT_FAR_MIRROR_H

#include "tests/conformance/transport/far/parcel.h"

struct mirror {
	uint8_t *here; /* borrowed */
	uint8_t *told; /* what both have, as far as was said; zeros first */
	size_t bytes;
};

void mirror_init(struct mirror *mirror, void *here, size_t bytes);
void mirror_fini(struct mirror *mirror);

/* What the twin does not know, for its mirror_take. */
void mirror_put(struct mirror *mirror, struct parcel *parcel);
void mirror_take(struct mirror *mirror, struct parcel *parcel);

#endif
