/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/transport/far/mirror.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/ranks.h"

#define GRAIN ((size_t)4096)

struct span {
	uint64_t at, bytes; /* 0 bytes: the last */
};

void mirror_init(struct mirror *mirror, void *here, size_t bytes)
{
	*mirror = (struct mirror){here, calloc(1, bytes), bytes};
	CHECK(mirror->told);
}

void mirror_fini(struct mirror *mirror)
{
	free(mirror->told);
}

void mirror_put(struct mirror *mirror, struct parcel *parcel)
{
	struct span span = {0};

	for (size_t at = 0; at < mirror->bytes; at += GRAIN) {
		const size_t rest = mirror->bytes - at;

		span = (struct span){at, rest < GRAIN ? rest : GRAIN};
		if (memcmp(mirror->here + at, mirror->told + at, span.bytes) ==
		    0)
			continue;
		/* A device may be writing: what was copied is what is told. */
		memcpy(mirror->told + at, mirror->here + at, span.bytes);
		PUT(parcel, span);
		parcel_put(parcel, mirror->told + at, span.bytes);
	}
	span.bytes = 0;
	PUT(parcel, span);
}

void mirror_take(struct mirror *mirror, struct parcel *parcel)
{
	struct span span;
	const void *bytes;

	for (TAKE(parcel, span); span.bytes > 0; TAKE(parcel, span)) {
		CHECK(span.at + span.bytes <= mirror->bytes);
		bytes = parcel_take(parcel, span.bytes);
		memcpy(mirror->here + span.at, bytes, span.bytes);
		memcpy(mirror->told + span.at, bytes, span.bytes);
	}
}
