/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor/facts.h"

#include <stdlib.h>
#include <string.h>

bool facts_grow(void **array, size_t *count, size_t element)
{
	char *larger = reallocarray(*array, *count + 1, element);

	if (!larger)
		return false;
	memset(larger + *count * element, 0, element);
	*array = larger;
	(*count)++;
	return true;
}

void facts_free(struct facts *facts)
{
	struct fact_device *device = facts->devices;
	size_t i, k;

	for (i = 0; i < facts->device_count; i++, device++) {
		for (k = 0; k < device->port_count; k++)
			free(device->ports[k].gids);
		free(device->ports);
	}
	free(facts->devices);
	free(facts->gpus);
	free(facts->adapters);
	*facts = (struct facts){.recorded = false};
}
