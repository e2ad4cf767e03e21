/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the judge: how its parts speak. */
#ifndef KVR_CLI_DOCTOR_JUDGING_H
#define KVR_CLI_DOCTOR_JUDGING_H

#include "cli/doctor/judge.h"

struct judging {
	const struct facts *facts;
	struct findings *out;
	bool any_usable; /* device */
};

/* A new finding. */
__attribute__((format(printf, 5, 6))) void
judging_find(struct judging *judging, enum level level, const char *check,
	     const char *subject, const char *format, ...);

/* What to do about the newest one. */
__attribute__((format(printf, 2, 3))) void
judging_remedy(struct judging *judging, const char *format, ...);

/*
 * What keeps a device from being used is fatal when the user named it, or
 * when no other one can be used.
 */
enum level judging_obstacle(const struct judging *judging,
			    const struct fact_device *device);

/* Does KVRING_DEVICE name it? port 0: any. True when it is not set. */
bool judging_wanted(const struct facts *facts, const char *device,
		    uint32_t port);

void judging_environment(struct judging *judging);
void judging_device(struct judging *judging, const struct fact_device *device);
void judging_port(struct judging *judging, const struct fact_device *device,
		  const struct fact_port *port);
void judging_gid(struct judging *judging, const struct fact_device *device,
		 const struct fact_port *port, const char *subject);
void judging_host(struct judging *judging);
void judging_pci(struct judging *judging);

#endif
