/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "runtime/tcp.h"

_Static_assert(sizeof(struct kvr_tcp_hello) == 64, "no padding");
_Static_assert(sizeof(struct kvr_tcp_proof) == 40, "no padding");

enum kvr_status kvr_tcp_hello_init(const struct kvr_tcp *tcp,
				   struct kvr_tcp_hello *out)
{
	*out = (struct kvr_tcp_hello){
		.magic = KVR_TCP_MAGIC,
		.version = KVR_TCP_VERSION,
		.n = tcp->n,
		.rank = tcp->rank,
		.has_secret = tcp->secret != NULL,
	};
	if (getrandom(out->nonce, sizeof(out->nonce), 0) == sizeof(out->nonce))
		return KVR_OK;
	kvr_log(&tcp->log, KVR_LOG_ERROR, "bootstrap: no random numbers");
	return KVR_ERR_SYSTEM;
}

bool kvr_tcp_is_hello(const struct kvr_tcp_hello *hello)
{
	static const char magic[sizeof(hello->magic)] = KVR_TCP_MAGIC;

	return !memcmp(hello->magic, magic, sizeof(magic));
}

enum kvr_tcp_verdict kvr_tcp_judge(const struct kvr_tcp *tcp,
				   const struct kvr_tcp_hello *theirs)
{
	if (theirs->version != KVR_TCP_VERSION)
		return KVR_TCP_OTHER_VERSION;
	if (theirs->n != tcp->n)
		return KVR_TCP_OTHER_SIZE;
	if (theirs->rank == 0 || theirs->rank >= tcp->n)
		return KVR_TCP_NO_SUCH_RANK;
	if (tcp->secret && !theirs->has_secret)
		return KVR_TCP_SECRET_MISSING;
	if (!tcp->secret && theirs->has_secret)
		return KVR_TCP_SECRET_UNASKED;
	if (tcp->fds[theirs->rank] >= 0)
		return KVR_TCP_TAKEN;
	return KVR_TCP_WELCOME;
}

enum kvr_status kvr_tcp_prove(const struct kvr_tcp *tcp, bool of_rank_0,
			      const struct kvr_tcp_hello *other,
			      const struct kvr_tcp_hello *rank_0,
			      uint8_t out[KVR_MAC_BYTES])
{
	/* The label keeps one side's proof from serving as the other's. */
	struct {
		char label[32];
		struct kvr_tcp_hello other, rank_0;
	} transcript = {.other = *other, .rank_0 = *rank_0};
	enum kvr_status status;

	snprintf(transcript.label, sizeof(transcript.label),
		 "kvring bootstrap 1, %s", of_rank_0 ? "rank 0" : "other");
	status = kvr_secret_mac(tcp->secret, tcp->secret_bytes, &transcript,
				sizeof(transcript), out);
	if (status == KVR_ERR_UNSUPPORTED)
		kvr_log(&tcp->log, KVR_LOG_ERROR,
			"bootstrap: this build has no libcrypto, which a "
			"secret needs; build with libssl-dev");
	else if (status != KVR_OK)
		kvr_log(&tcp->log, KVR_LOG_ERROR,
			"bootstrap: libcrypto computes no HMAC-SHA256");
	return status;
}

void kvr_tcp_reason(enum kvr_tcp_verdict verdict,
		    const struct kvr_tcp_hello *other,
		    const struct kvr_tcp_hello *rank_0,
		    char out[KVR_TCP_REASON])
{
	static const char *const texts[] = {
		[KVR_TCP_WELCOME] = "it is welcome",
		[KVR_TCP_TAKEN] = "another process is that rank already; "
				  "start each rank once, and another job with "
				  "another port",
		[KVR_TCP_SECRET_MISSING] =
			"it has no secret, rank 0 has; set KVRING_SECRET or "
			"KVRING_SECRET_FILE alike for all ranks",
		[KVR_TCP_SECRET_UNASKED] =
			"it has a secret, rank 0 has none; set KVRING_SECRET "
			"or KVRING_SECRET_FILE alike for all ranks",
		[KVR_TCP_SECRET_WRONG] =
			"its secret is not that of rank 0; set KVRING_SECRET "
			"or KVRING_SECRET_FILE alike for all ranks",
	};

	if (verdict == KVR_TCP_OTHER_VERSION)
		snprintf(out, KVR_TCP_REASON,
			 "it speaks version %u of the bootstrap, rank 0 %u; "
			 "install the same kvring everywhere",
			 other->version, rank_0->version);
	else if (verdict == KVR_TCP_OTHER_SIZE)
		snprintf(out, KVR_TCP_REASON,
			 "its list of hosts makes %u ranks, that of rank 0 %u; "
			 "give all the same list",
			 other->n, rank_0->n);
	else if (verdict == KVR_TCP_NO_SUCH_RANK)
		snprintf(out, KVR_TCP_REASON,
			 "it is none of the ranks 1 to %u; give each process "
			 "its own rank",
			 rank_0->n - 1);
	else
		snprintf(out, KVR_TCP_REASON, "%s",
			 verdict <= KVR_TCP_SECRET_WRONG
				 ? texts[verdict]
				 : "for a reason of a later version; install "
				   "the same kvring everywhere");
}
