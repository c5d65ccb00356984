/*
 * Debian 12's OpenSMTPD 6.8 keeps its private keys in another process and marks the RSA key of a
 * connection as such, on the object that EVP_PKEY_get1_RSA returns. Since OpenSSL 3 that is a copy,
 * so the mark is lost and every handshake ends with "missing private key" (OpenSMTPD's issue 1171).
 * Later versions put the copy back. This does the same for the old one, when preloaded.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

struct evp_pkey_st;
struct rsa_st;

int EVP_PKEY_set1_RSA(struct evp_pkey_st *key, struct rsa_st *rsa);

struct rsa_st *EVP_PKEY_get1_RSA(struct evp_pkey_st *key)
{
	struct rsa_st *(*get)(struct evp_pkey_st *);
	struct rsa_st *rsa;

	*(void **)&get = dlsym(RTLD_NEXT, "EVP_PKEY_get1_RSA");
	rsa = get(key);
	if (rsa)
		EVP_PKEY_set1_RSA(key, rsa);
	return rsa;
}
