/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/verbs/message.h"

#include <string.h>

#include "runtime/secret.h"

enum kvr_status verbs_key_make(const struct kvr_endpoint_config *config,
			       uint8_t key[KVR_MAC_BYTES], uint64_t *mark)
{
	struct {
		char label[16];
		uint8_t entropy[KVR_ENTROPY_BYTES];
		uint64_t ring_id, generation;
	} seed = {
		.label = "kvring edge key",
		.ring_id = config->ring_id,
		.generation = config->generation,
	};
	static const char label[] = "kvring edge mark";
	uint8_t made[KVR_MAC_BYTES], shown[KVR_MAC_BYTES];
	enum kvr_status status;

	memcpy(seed.entropy, config->entropy, sizeof(seed.entropy));
	/* No secret is one without bytes. */
	status =
		kvr_secret_mac(config->secret ? config->secret : "",
			       config->secret_bytes, &seed, sizeof(seed), made);
	if (status == KVR_OK)
		status = kvr_secret_mac(made, sizeof(made), label,
					sizeof(label), shown);
	if (status != KVR_OK)
		return status;
	memcpy(key, made, sizeof(made));
	memcpy(mark, shown, sizeof(*mark));
	return KVR_OK;
}

enum kvr_status verbs_talk_mac(const uint8_t key[KVR_MAC_BYTES],
			       const struct verbs_talk *talk, uint32_t index,
			       uint8_t mac[KVR_MAC_BYTES])
{
	struct verbs_message said[VERBS_MESSAGES];

	memcpy(said, talk->message, (index + 1) * sizeof(said[0]));
	memset(said[index].mac, 0, sizeof(said[index].mac));
	return kvr_secret_mac(key, KVR_MAC_BYTES, said,
			      (index + 1) * sizeof(said[0]), mac);
}

enum kvr_status verbs_talk_seal(const uint8_t key[KVR_MAC_BYTES],
				struct verbs_talk *talk, uint32_t index)
{
	struct verbs_message *message = &talk->message[index];

	message->magic = VERBS_MESSAGE_MAGIC;
	message->version = VERBS_VERSION;
	message->type = index + VERBS_HELLO_OUT;
	return verbs_talk_mac(key, talk, index, message->mac);
}

enum verbs_verdict verbs_talk_judge(const uint8_t key[KVR_MAC_BYTES],
				    const struct verbs_talk *talk,
				    uint32_t index, uint32_t bytes)
{
	const struct verbs_message *message = &talk->message[index];
	uint8_t mac[KVR_MAC_BYTES];

	if (bytes != sizeof(*message) || message->magic != VERBS_MESSAGE_MAGIC)
		return VERBS_GARBAGE;
	if (message->version != VERBS_VERSION)
		return VERBS_VERSION_DIFFERS;
	if (message->type != index + VERBS_HELLO_OUT || index != talk->count)
		return VERBS_GARBAGE;
	if (verbs_talk_mac(key, talk, index, mac) != KVR_OK ||
	    !kvr_secret_mac_equal(mac, message->mac))
		return VERBS_FORGED;
	return VERBS_GENUINE;
}
