/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one committed case; the container is described in generate.py. */
#ifndef KVR_TESTS_REFERENCE_CASE_H
#define KVR_TESTS_REFERENCE_CASE_H

#include <stdbool.h>

#include "kvring/attention.h"

struct reference_case {
	char name[128]; /* of the file */
	void *data;	/* owns everything below */
	enum kvr_mask mask;
	float scale;	     /* 0: the default */
	float softcap;	     /* 0: none */
	bool values_in_keys; /* and in v all the same */
	struct kvr_window window;
	uint64_t q_start, kv_start;
	struct kvr_tensor q, k, v;
	const float *sinks;	    /* of q heads; NULL: none */
	const uint64_t *cu_seqlens; /* of a packed batch; NULL: not packed */
	size_t sequences;
	const float *out;  /* [q tokens, q heads, value dim] */
	const double *lse; /* [q heads, q tokens] */
	double products;   /* max of scale * sum |q_i k_i| */
	double v_max;	   /* max |v| */
};

/* Exits with a message when the file is not a whole case. */
void reference_case_read(const char *directory, const char *file,
			 struct reference_case *out);
void reference_case_free(struct reference_case *c);

/* The tensor's element at [token, head, i]; of any type. */
double reference_element(const struct kvr_tensor *t, size_t token, size_t head,
			 size_t i);

#endif
