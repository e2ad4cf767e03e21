/* SPDX-License-Identifier: Apache-2.0 */
/* Which machine, boot, network namespace and user this process is of. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rdma/shm/endpoint.h"

enum kvr_status shm_errno(const struct kvr_log *log, const char *operation)
{
	int error = errno;

	kvr_log(log, KVR_LOG_ERROR, "shm: %s: %s", operation, strerror(error));
	if (error == ENOMEM || error == ENOSPC)
		return KVR_ERR_NO_MEMORY;
	return KVR_ERR_SYSTEM;
}

static enum kvr_status read_boot_id(const struct kvr_log *log, char *out,
				    size_t bytes)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return shm_errno(log, "open boot_id in /proc");
	length = read(fd, out, bytes);
	close(fd);
	if (length <= 0)
		return shm_errno(log, "read boot_id in /proc");
	return KVR_OK;
}

enum kvr_status shm_host_identify(const struct kvr_log *log,
				  struct shm_address *out)
{
	struct shm_address address = {.magic = SHM_ADDRESS_MAGIC};
	struct stat netns;
	enum kvr_status status;

	status = read_boot_id(log, address.boot_id, sizeof(address.boot_id));
	if (status != KVR_OK)
		return status;
	if (stat("/proc/self/ns/net", &netns))
		return shm_errno(log, "stat the network namespace in /proc");
	address.netns_device = netns.st_dev;
	address.netns_inode = netns.st_ino;
	address.uid = geteuid();
	address.pid = (uint32_t)getpid();
	if (getrandom(address.nonce, sizeof(address.nonce), 0) !=
	    sizeof(address.nonce))
		return shm_errno(log, "getrandom");
	*out = address;
	return KVR_OK;
}

bool shm_host_reaches(const struct shm_address *local,
		      const struct shm_address *remote)
{
	return local->magic == SHM_ADDRESS_MAGIC &&
	       remote->magic == SHM_ADDRESS_MAGIC &&
	       memcmp(local->boot_id, remote->boot_id,
		      sizeof(local->boot_id)) == 0 &&
	       local->netns_device == remote->netns_device &&
	       local->netns_inode == remote->netns_inode &&
	       local->uid == remote->uid;
}
