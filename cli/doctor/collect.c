/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor/collect.h"

bool collect(const struct tree *tree, const struct collect_live *live,
	     const struct fact_environment *environment, struct facts *out)
{
	struct facts facts = {.recorded = !live, .environment = *environment};

	collect_host(tree, &facts);
	if (!collect_devices(tree, live, &facts) ||
	    !collect_pci(tree, &facts)) {
		facts_free(&facts);
		return false;
	}
	*out = facts;
	return true;
}
