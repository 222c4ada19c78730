/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whom an end meets by Argo:
 *
 *   argo                 nobody yet: peers come at run time
 *   argo:peer=DOMID
 *   argo:name:NAME       the domain of this name, whatever its number is at the moment
 *   argo:uuid:UUID       likewise
 *   argo:any             every domain that comes
 */
#ifndef VHX_CONFIG_ARGO_SPEC_H
#define VHX_CONFIG_ARGO_SPEC_H

#include "util/base.h"
#include "util/error.h"

enum vhx_argo_spec_kind {
	VHX_ARGO_SPEC_NONE,
	VHX_ARGO_SPEC_DOMID,
	VHX_ARGO_SPEC_NAME,
	VHX_ARGO_SPEC_UUID,
	VHX_ARGO_SPEC_ANY,
};

/* Names of domains are short; Xen's tools take no longer ones. A UUID has 36 letters. */
#define VHX_ARGO_SPEC_TEXT_MAX 128u
/* The last number of an ordinary domain is below Xen's reserved ones. */
#define VHX_ARGO_SPEC_DOMID_MAX 0x7fefu

struct vhx_argo_spec {
	enum vhx_argo_spec_kind kind;
	uint16_t domid;
	char text[VHX_ARGO_SPEC_TEXT_MAX]; /* name or UUID, the latter in lower case */
};

/* Is it an address of this kind at all? */
bool vhx_argo_spec_matches(const char *text);

/* 0, -EINVAL, -ERANGE, -ENAMETOOLONG with a text. */
int vhx_argo_spec_parse(const char *text, struct vhx_argo_spec *spec, struct vhx_error *err);

/* The words that mean @spec, the same ones for the same. @max: VHX_ARGO_SPEC_ADDRESS_MAX suffices. */
#define VHX_ARGO_SPEC_ADDRESS_MAX (VHX_ARGO_SPEC_TEXT_MAX + 16u)
void vhx_argo_spec_print(const struct vhx_argo_spec *spec, char *text, size_t max);

/* A number of a domain alone. */
int vhx_argo_domid_parse(const char *text, uint16_t *domid, struct vhx_error *err);

#endif
