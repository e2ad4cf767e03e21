/* SPDX-License-Identifier: Apache-2.0 */
/* How long the survivors of ring_kill took to notice, as a histogram. */
#ifndef KVR_TESTS_KILL_TALLY_H
#define KVR_TESTS_KILL_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#define TALLY_BINS 12
#define TALLY_MAX 4096

struct tally_column {
	uint32_t count;
	uint64_t ns[TALLY_MAX];
};

struct tally {
	uint32_t runs[2];		  /* killed, stopped */
	uint32_t again;			  /* made once more: untimely */
	struct tally_column column[2][2]; /* [stopped][ring was open] */
};

void tally_run(struct tally *tally, bool stopped);
void tally_add(struct tally *tally, bool stopped, bool open, uint64_t ns);
/* False: there are too few to say. */
bool tally_fastest(const struct tally *tally, bool stopped, bool open,
		   uint64_t *ns);
void tally_print(struct tally *tally);

#endif
