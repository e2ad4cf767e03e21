/* SPDX-License-Identifier: Apache-2.0 */
/* How a fuzz target says that what it looked at is wrong. */
#ifndef KVR_TESTS_FUZZ_REQUIRE_H
#define KVR_TESTS_FUZZ_REQUIRE_H

#include <stdbool.h>
#include <stdlib.h>

static inline void require(bool holds)
{
	if (!holds)
		abort();
}

#endif
