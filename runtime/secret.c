/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/secret.h"

#ifdef KVR_HAVE_LIBCRYPTO
#include <limits.h>

#include <openssl/hmac.h>

enum kvr_status kvr_secret_mac(const void *secret, size_t secret_bytes,
			       const void *data, size_t bytes,
			       uint8_t out[KVR_MAC_BYTES])
{
	unsigned int length = 0;

	if (secret_bytes > INT_MAX ||
	    !HMAC(EVP_sha256(), secret, (int)secret_bytes, data, bytes, out,
		  &length) ||
	    length != KVR_MAC_BYTES)
		return KVR_ERR_SYSTEM;
	return KVR_OK;
}
#else
enum kvr_status kvr_secret_mac(const void *secret, size_t secret_bytes,
			       const void *data, size_t bytes,
			       uint8_t out[KVR_MAC_BYTES])
{
	(void)secret, (void)secret_bytes, (void)data, (void)bytes, (void)out;
	return KVR_ERR_UNSUPPORTED;
}
#endif

bool kvr_secret_mac_equal(const uint8_t a[KVR_MAC_BYTES],
			  const uint8_t b[KVR_MAC_BYTES])
{
	unsigned int differ = 0;

	for (int i = 0; i < KVR_MAC_BYTES; i++)
		differ |= a[i] ^ b[i];
	return differ == 0;
}
