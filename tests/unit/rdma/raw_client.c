/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rdma/raw_client.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int raw_dial(const struct kvr_transport_ops *ops, struct kvr_endpoint *endpoint)
{
	uint8_t bytes[KVR_ADDRESS_BYTES];
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct shm_address address;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	ops->address(endpoint, bytes);
	memcpy(&address, bytes, sizeof(address));
	memcpy(name.sun_path, address.name, address.name_bytes);
	assert_true(fd >= 0);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&name,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				    address.name_bytes)),
		0);
	return fd;
}

struct kvr_hello raw_hello(struct pair *pair)
{
	uint8_t bytes[KVR_ADDRESS_BYTES];
	struct shm_address address;
	struct kvr_hello hello;

	pair->ops->address(pair->in, bytes);
	memcpy(&address, bytes, sizeof(address));
	kvr_hello_init(&pair->out_config, address.nonce, &hello);
	return hello;
}

void raw_send(int socket_fd, const void *data, size_t bytes, const int *fds,
	      size_t fd_count)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(64 * sizeof(int))];
	struct iovec part = {(void *)(uintptr_t)data, bytes};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	memset(control, 0, sizeof(control));
	if (fd_count > 0) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, fd_count * sizeof(int));
	}
	assert_true(sendmsg(socket_fd, &message, MSG_NOSIGNAL) >= 0);
}

size_t raw_inbox_bytes(const struct pair *pair)
{
	struct kvr_landing layout;

	shm_layout_init(&pair->out_config, KVR_ROLE_OUT, &layout);
	return layout.bytes;
}

int raw_memfd(size_t bytes, int seals)
{
	int fd = memfd_create("kvring-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}
