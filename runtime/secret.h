/* SPDX-License-Identifier: Apache-2.0 */
/* Proof that a peer knows the ring's secret: HMAC-SHA256 by libcrypto. */
#ifndef KVR_RUNTIME_SECRET_H
#define KVR_RUNTIME_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvring/status.h"

#define KVR_MAC_BYTES 32

/*
 * Of bytes at data, with the secret as key. Errors: UNSUPPORTED (a build
 * without libcrypto), SYSTEM (libcrypto failed).
 */
enum kvr_status kvr_secret_mac(const void *secret, size_t secret_bytes,
			       const void *data, size_t bytes,
			       uint8_t out[KVR_MAC_BYTES]);

/* In a time that does not depend on where they differ. */
bool kvr_secret_mac_equal(const uint8_t a[KVR_MAC_BYTES],
			  const uint8_t b[KVR_MAC_BYTES]);

#endif
