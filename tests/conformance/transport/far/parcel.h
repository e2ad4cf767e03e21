/* SPDX-License-Identifier: Apache-2.0 */
/* Messages over a stream socket between two runs of the same program. */
#ifndef TESTS_CONFORMANCE_TRANSPORT_FAR_PARCEL_H
#define TESTS_CONFORMANCE_TRANSPORT_FAR_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Things are taken out in the order in which they were put. */
struct parcel {
	uint32_t kind;
	uint8_t *bytes;
	size_t used, room, taken;
};

/* Empty, of that kind; keeps the room. */
void parcel_begin(struct parcel *parcel, uint32_t kind);
void parcel_free(struct parcel *parcel);

void parcel_put(struct parcel *parcel, const void *from, size_t bytes);

/* Where they lie, until the parcel changes; ends the program past its end. */
const void *parcel_take(struct parcel *parcel, size_t bytes);

/* The same for one variable. */
#define PUT(parcel, what) parcel_put(parcel, &(what), sizeof(what))
#define TAKE(parcel, what)                                                     \
	memcpy(&(what), parcel_take(parcel, sizeof(what)), sizeof(what))

/* False when the other side is gone, or says nothing for too long. */
bool parcel_send(int fd, const struct parcel *parcel);
bool parcel_receive(int fd, struct parcel *parcel);

#endif
