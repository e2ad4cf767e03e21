/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strangers and liars at the socket and in the shared memory of a shm edge.
 * A stranger is dropped and the wait goes on; a peer that knows the nonce and
 * lies is an error; neither makes this process touch what it should not.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/rdma/raw_client.h"

static void open_pair(struct pair *pair)
{
	pair_init(pair, 1, 2, 5000, 1000);
	pair_open(pair);
	pair_introduce(pair);
}

static void poll_in_stays_again(struct pair *pair)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(pair->ops->connect_poll(pair->in),
				 KVR_ERR_AGAIN);
}

/* ------------------------------------------------------------ strangers */

static void stranger_too_short(int fd, struct kvr_hello *hello)
{
	raw_send(fd, hello, sizeof(*hello) - 1, NULL, 0);
}

static void stranger_of_a_few_bytes(int fd, struct kvr_hello *hello)
{
	raw_send(fd, hello, 5, NULL, 0);
}

static void stranger_too_long(int fd, struct kvr_hello *hello)
{
	uint8_t longer[sizeof(*hello) + 1] = {0};

	memcpy(longer, hello, sizeof(*hello));
	raw_send(fd, longer, sizeof(longer), NULL, 0);
}

static void stranger_huge(int fd, struct kvr_hello *hello)
{
	static uint8_t huge[60000];

	memcpy(huge, hello, sizeof(*hello));
	raw_send(fd, huge, sizeof(huge), NULL, 0);
}

static void stranger_without_magic(int fd, struct kvr_hello *hello)
{
	hello->magic++;
	raw_send(fd, hello, sizeof(*hello), NULL, 0);
}

static void stranger_without_nonce(int fd, struct kvr_hello *hello)
{
	const int memfd = raw_memfd(4096, RAW_SEALS);

	hello->nonce[KVR_NONCE_BYTES - 1] ^= 1;
	raw_send(fd, hello, sizeof(*hello), &memfd, 1);
	close(memfd);
}

static void stranger_with_many_files(int fd, struct kvr_hello *hello)
{
	int fds[64];

	for (int i = 0; i < 64; i++)
		fds[i] = fd;
	hello->nonce[0] ^= 1;
	raw_send(fd, hello, sizeof(*hello), fds, 64);
}

static void stranger_silent(int fd, struct kvr_hello *hello)
{
	(void)fd, (void)hello;
}

static void stranger_half_closed(int fd, struct kvr_hello *hello)
{
	(void)hello;
	shutdown(fd, SHUT_RDWR);
}

typedef void (*stranger_fn)(int fd, struct kvr_hello *hello);

static const stranger_fn strangers[] = {
	stranger_too_short,	  stranger_of_a_few_bytes,
	stranger_too_long,	  stranger_huge,
	stranger_without_magic,	  stranger_without_nonce,
	stranger_with_many_files, stranger_silent,
	stranger_half_closed,
};

#define STRANGERS (sizeof(strangers) / sizeof(strangers[0]))

static void connect_amid_strangers_finds_the_real_peer(void **state)
{
	const int before = test_fd_count();

	(void)state;
	/* qemu-user keeps the descriptors of a message that it cuts short. */
	if (getenv("KVRING_EMULATED"))
		skip();
	for (size_t s = 0; s < STRANGERS; s++) {
		struct pair pair;
		enum kvr_status in, out;
		int fds[12];

		open_pair(&pair);
		/* More than it keeps waiting at once. */
		for (int i = 0; i < 12; i++) {
			struct kvr_hello hello = raw_hello(&pair);

			fds[i] = raw_dial(pair.ops, pair.in);
			strangers[s](fds[i], &hello);
			if (i % 4 == 0)
				poll_in_stays_again(&pair);
		}
		poll_in_stays_again(&pair);
		pair_connect(&pair, &in, &out);
		assert_int_equal(in, KVR_OK);
		assert_int_equal(out, KVR_OK);
		assert_int_equal(pair.ops->signal(pair.out, 5), KVR_OK);
		pair_run(&pair, 1, 0);
		for (int i = 0; i < 12; i++)
			close(fds[i]);
		pair_close(&pair);
		assert_int_equal(test_fd_count(), before);
	}
}

/* It was the real peer's hello, and the peer comes again. */
static void peer_that_hung_up_may_come_again(void **state)
{
	const int maps = test_map_count(), before = test_fd_count();
	struct pair pair;
	enum kvr_status in, out;

	(void)state;
	open_pair(&pair);
	const struct kvr_hello hello = raw_hello(&pair);
	const int memfd = raw_memfd(raw_inbox_bytes(&pair), RAW_SEALS);
	for (int i = 0; i < 3; i++) {
		const int fd = raw_dial(pair.ops, pair.in);

		raw_send(fd, &hello, sizeof(hello), &memfd, 1);
		close(fd);
		poll_in_stays_again(&pair);
	}
	close(memfd);
	pair_connect(&pair, &in, &out);
	assert_int_equal(in, KVR_OK);
	assert_int_equal(out, KVR_OK);
	pair_close(&pair);
	assert_int_equal(test_map_count(), maps);
	assert_int_equal(test_fd_count(), before);
}

/* Who knows the nonce and is of another user, such as a container's. */
static void connect_of_another_user_is_dropped(void **state)
{
	struct pair pair;
	enum kvr_status in, out;
	char done;
	int ends[2], status;

	(void)state;
	if (geteuid() != 0)
		skip(); /* only root can become another */
	open_pair(&pair);
	const struct kvr_hello hello = raw_hello(&pair);
	const int memfd = raw_memfd(raw_inbox_bytes(&pair), RAW_SEALS);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	const pid_t pid = fork();
	if (pid == 0) {
		if (setresuid(65534, 65534, 65534))
			_exit(1);
		int fd = raw_dial(pair.ops, pair.in);
		raw_send(fd, &hello, sizeof(hello), &memfd, 1);
		if (write(ends[1], "", 1) != 1 || read(ends[1], &done, 1) != 1)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(read(ends[0], &done, 1), 1);
	poll_in_stays_again(&pair);
	assert_non_null(strstr(pair.lines, "stranger"));
	assert_int_equal(write(ends[0], "", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	pair_connect(&pair, &in, &out);
	assert_int_equal(in, KVR_OK);
	assert_int_equal(out, KVR_OK);
	close(memfd);
	close(ends[0]);
	close(ends[1]);
	pair_close(&pair);
}

/* ----------------------------------------- peers that know the nonce, lie */

static void expect_refusal(const char *name, const int *fds, size_t fd_count)
{
	const int before = test_fd_count();
	struct pair pair;
	enum kvr_status status;

	open_pair(&pair);
	const struct kvr_hello hello = raw_hello(&pair);
	const int fd = raw_dial(pair.ops, pair.in);
	raw_send(fd, &hello, sizeof(hello), fds, fd_count);
	status = pair.ops->connect_poll(pair.in);
	if (status != KVR_ERR_PROTOCOL)
		fail_msg("%s: %s", name, kvr_status_name(status));
	assert_non_null(strstr(pair.lines, "memfd"));
	assert_int_equal(pair.ops->connect_poll(pair.in), KVR_ERR_PROTOCOL);
	close(fd);
	pair_close(&pair);
	assert_int_equal(test_fd_count(), before);
}

static void hello_with_bad_memory_is_a_protocol_error(void **state)
{
	struct pair model;
	int fds[6];

	(void)state;
	pair_init(&model, 1, 2, 5000, 1000);
	const size_t bytes = raw_inbox_bytes(&model);
	expect_refusal("none", NULL, 0);
	fds[0] = raw_memfd(bytes - 4096, RAW_SEALS);
	expect_refusal("too small", &fds[0], 1);
	fds[1] = raw_memfd(bytes + 4096, RAW_SEALS);
	expect_refusal("too large", &fds[1], 1);
	fds[2] = raw_memfd(bytes, 0);
	expect_refusal("unsealed", &fds[2], 1);
	fds[3] = raw_memfd(bytes, F_SEAL_GROW | F_SEAL_SEAL);
	expect_refusal("may shrink", &fds[3], 1);
	fds[4] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	expect_refusal("a device", &fds[4], 1);
	fds[5] = raw_memfd(bytes, RAW_SEALS);
	const int two[2] = {fds[5], fds[5]};
	expect_refusal("two", two, 2);
	for (int i = 0; i < 6; i++)
		close(fds[i]);
}

static void hello_of_another_version_is_named(void **state)
{
	static const size_t sizes[] = {KVR_HELLO_PREFIX_BYTES, 112, 300};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct pair pair;
		uint8_t bytes[300] = {0};

		open_pair(&pair);
		struct kvr_hello hello = raw_hello(&pair);
		hello.version = 77;
		memcpy(bytes, &hello, sizeof(hello));
		const int fd = raw_dial(pair.ops, pair.in);
		raw_send(fd, bytes, sizes[i], NULL, 0);
		assert_int_equal(pair.ops->connect_poll(pair.in),
				 KVR_ERR_MISMATCH);
		assert_non_null(strstr(pair.lines,
				       "hello version is 1 here, 77 there"));
		close(fd);
		pair_close(&pair);
	}
}

/* ------------------------------------------------------ a lying listener */

static void listener_that_lies_gets_no_edge(void **state)
{
	struct pair pair;
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t bytes = sizeof(name.sun_family);
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct shm_address address;
	uint8_t raw[KVR_ADDRESS_BYTES];

	(void)state;
	pair_init(&pair, 1, 2, 5000, 1000);
	pair_open(&pair);
	assert_int_equal(bind(fd, (struct sockaddr *)&name, bytes), 0);
	assert_int_equal(listen(fd, 4), 0);
	bytes = sizeof(name);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &bytes), 0);
	pair.ops->address(pair.in, raw);
	memcpy(&address, raw, sizeof(address));
	address.name_bytes =
		(uint32_t)(bytes - offsetof(struct sockaddr_un, sun_path));
	memcpy(address.name, name.sun_path, address.name_bytes);
	memcpy(raw, &address, sizeof(address));
	assert_int_equal(pair.ops->connect(pair.out, raw), KVR_OK);

	/* A stranger: no nonce of ours. Each time we come again. */
	for (int i = 0; i < 3; i++) {
		struct kvr_hello hello = raw_hello(&pair);

		assert_int_equal(pair.ops->connect_poll(pair.out),
				 KVR_ERR_AGAIN);
		const int peer = accept(fd, NULL, NULL);
		assert_true(peer >= 0);
		raw_send(peer, &hello, sizeof(hello), NULL, 0);
		assert_int_equal(pair.ops->connect_poll(pair.out),
				 KVR_ERR_AGAIN);
		close(peer);
	}
	/* One that knows it, and passes memory that does not fit. */
	assert_int_equal(pair.ops->connect_poll(pair.out), KVR_ERR_AGAIN);
	const int peer = accept(fd, NULL, NULL);
	const int memfd = raw_memfd(4096, RAW_SEALS);
	struct kvr_hello hello;
	pair.ops->address(pair.out, raw);
	memcpy(&address, raw, sizeof(address));
	kvr_hello_init(&pair.in_config, address.nonce, &hello);
	raw_send(peer, &hello, sizeof(hello), &memfd, 1);
	assert_int_equal(pair.ops->connect_poll(pair.out), KVR_ERR_PROTOCOL);
	close(memfd);
	close(peer);
	close(fd);
	pair_close(&pair);
}

/* --------------------------------------------- a peer inside, by its memory */

struct intruder {
	struct pair pair;
	int socket_fd, memfd;
	struct shm_ring *own;	  /* what pair.in produces into */
	struct shm_ring *landing; /* what pair.in consumes */
	size_t landing_bytes;
};

static int receive_fd(int socket_fd)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
	uint8_t data[512];
	struct iovec part = {data, sizeof(data)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	int fd = -1;

	assert_int_equal(recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC),
			 sizeof(struct kvr_hello));
	const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (!header)
		fail_msg("no memory came with the hello");
	else
		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

static void intrude(struct intruder *i)
{
	struct kvr_landing layout;
	struct kvr_hello hello;
	int landing;

	open_pair(&i->pair);
	hello = raw_hello(&i->pair);
	i->socket_fd = raw_dial(i->pair.ops, i->pair.in);
	i->memfd = raw_memfd(raw_inbox_bytes(&i->pair), RAW_SEALS);
	raw_send(i->socket_fd, &hello, sizeof(hello), &i->memfd, 1);
	assert_int_equal(i->pair.ops->connect_poll(i->pair.in), KVR_OK);
	landing = receive_fd(i->socket_fd);
	shm_layout_init(&i->pair.in_config, KVR_ROLE_IN, &layout);
	i->landing_bytes = layout.bytes;
	i->landing = mmap(NULL, layout.bytes, PROT_READ | PROT_WRITE,
			  MAP_SHARED, landing, 0);
	i->own = mmap(NULL, raw_inbox_bytes(&i->pair), PROT_READ | PROT_WRITE,
		      MAP_SHARED, i->memfd, 0);
	assert_ptr_not_equal(i->landing, MAP_FAILED);
	assert_ptr_not_equal(i->own, MAP_FAILED);
	/* Nobody can shrink what is mapped here. */
	assert_int_equal(ftruncate(landing, 4096), -1);
	close(landing);
}

static void leave(struct intruder *i)
{
	munmap(i->landing, i->landing_bytes);
	munmap(i->own, raw_inbox_bytes(&i->pair));
	close(i->memfd);
	close(i->socket_fd);
	pair_close(&i->pair);
}

static void index_that_lies_is_a_protocol_error(void **state)
{
	/* Of the ring it reads, then of the one it writes. */
	static const uint32_t lies[] = {
		SHM_RING_ENTRIES + 1, 1u << 31, UINT32_MAX, 1, 1u << 31,
		UINT32_MAX - 5000};

	(void)state;
	for (int n = 0; n < 6; n++) {
		struct intruder i;
		struct kvr_event events[8];
		size_t count;

		intrude(&i);
		if (n < 3)
			atomic_store(&i.landing->head, lies[n]);
		else
			atomic_store(&i.own->tail, lies[n]);
		assert_int_equal(i.pair.ops->signal(i.pair.in, 1), KVR_OK);
		for (int twice = 0; twice < 2; twice++) {
			assert_int_equal(
				i.pair.ops->poll(i.pair.in, events, 8, &count),
				KVR_ERR_PROTOCOL);
			assert_int_equal(count, 0);
		}
		assert_int_equal(i.pair.ops->arm(i.pair.in), KVR_ERR_AGAIN);
		assert_non_null(strstr(i.pair.lines, "impossible index"));
		leave(&i);
	}
}

/* Anything at all, anywhere in the shared memory. */
static void memory_full_of_garbage_does_no_harm(void **state)
{
	uint64_t random = 7;

	(void)state;
	for (int n = 0; n < 300; n++) {
		struct intruder i;
		struct kvr_event events[8];
		struct kvr_descriptor descriptor;
		const void *metadata;
		size_t count = 0;

		intrude(&i);
		for (int step = 0; step < 50; step++) {
			uint32_t *words =
				(uint32_t *)(void *)(test_random(&random) & 1
							     ? i.landing
							     : i.own);
			size_t at = test_random(&random) %
				    (sizeof(struct shm_ring) / 4);

			words[test_random(&random) & 1 ? at : at % 4 * 16] =
				(uint32_t)(test_random(&random) >>
					   test_random(&random) % 64);
			enum kvr_status status =
				i.pair.ops->poll(i.pair.in, events, 8, &count);
			assert_true(status == KVR_OK ||
				    status == KVR_ERR_PROTOCOL);
			assert_true(count <= 8);
			status = i.pair.ops->signal(i.pair.in, 1);
			assert_true(status == KVR_OK ||
				    status == KVR_ERR_AGAIN);
			status = i.pair.ops->arm(i.pair.in);
			assert_true(status == KVR_OK ||
				    status == KVR_ERR_AGAIN);
			i.pair.ops->disarm(i.pair.in);
		}
		i.pair.ops->descriptor(i.pair.in, 0, 1, &descriptor, &metadata);
		leave(&i);
	}
}

/* Its own inbox, cut out under our mapping. */
static void hole_in_the_peers_memory_does_no_harm(void **state)
{
	struct intruder i;

	(void)state;
	intrude(&i);
	assert_int_equal(fallocate(i.memfd,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   0, (off_t)raw_inbox_bytes(&i.pair)),
			 0);
	for (uint32_t n = 0; n < 10; n++)
		assert_int_equal(i.pair.ops->signal(i.pair.in, n), KVR_OK);
	leave(&i);
}

static void flood_of_wake_ups_costs_a_bounded_poll(void **state)
{
	struct intruder i;
	struct kvr_event events[8];
	size_t count, sent = 0;

	(void)state;
	intrude(&i);
	while (send(i.socket_fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
		sent++;
	assert_true(sent > 8);
	i.pair.ops->disarm(i.pair.in);
	/* Some were taken, not all: it returned before the flood was over. */
	assert_int_equal(send(i.socket_fd, "x", 1, MSG_DONTWAIT), 1);
	assert_int_equal(i.pair.ops->poll(i.pair.in, events, 8, &count),
			 KVR_OK);
	assert_int_equal(count, 0);
	/* And ours to it, which it never takes: we do not block. */
	for (int n = 0; n < 5000; n++) {
		atomic_store(&i.own->armed, 1);
		assert_int_equal(i.pair.ops->signal(i.pair.in, 1), KVR_OK);
		atomic_store(&i.own->tail, atomic_load(&i.own->head));
	}
	leave(&i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connect_amid_strangers_finds_the_real_peer),
		cmocka_unit_test(peer_that_hung_up_may_come_again),
		cmocka_unit_test(connect_of_another_user_is_dropped),
		cmocka_unit_test(hello_with_bad_memory_is_a_protocol_error),
		cmocka_unit_test(hello_of_another_version_is_named),
		cmocka_unit_test(listener_that_lies_gets_no_edge),
		cmocka_unit_test(index_that_lies_is_a_protocol_error),
		cmocka_unit_test(memory_full_of_garbage_does_no_harm),
		cmocka_unit_test(hole_in_the_peers_memory_does_no_harm),
		cmocka_unit_test(flood_of_wake_ups_costs_a_bounded_poll),
	};

	pair_ops = &kvr_shm_transport;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
