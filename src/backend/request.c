// SPDX-License-Identifier: BSD-3-Clause
/* The out bytes of a request as one string, wherever they lie. Nothing here knows of queues. */
#include <string.h>

#include "backend/device.h"

static uint32_t head_cnt(const struct vhx_request *req)
{
	return (uint32_t)vhx_min_u64(req->out_len, req->head_len);
}

unsigned int vhx_request_out_iov(const struct vhx_request *req, uint32_t off, struct iovec *iov,
				 unsigned int max)
{
	uint32_t head = head_cnt(req);
	unsigned int cnt = 0, i;

	if (off < head && max) {
		iov[cnt++] = (struct iovec){ vhx_unconst(req->head + off), head - off };
		off = head;
	}
	off = off < head ? 0 : off - head;
	for (i = 0; i < req->out_cnt && cnt < max; i++) {
		if (off >= req->out[i].iov_len) {
			off -= (uint32_t)req->out[i].iov_len;
			continue;
		}
		iov[cnt++] = (struct iovec){ (uint8_t *)req->out[i].iov_base + off,
					     req->out[i].iov_len - off };
		off = 0;
	}
	return cnt;
}

uint32_t vhx_request_out_read(const struct vhx_request *req, uint32_t off, void *dst, uint32_t len)
{
	uint32_t done = 0;
	struct iovec iov;

	while (done < len && vhx_request_out_iov(req, off + done, &iov, 1)) {
		uint32_t n = (uint32_t)vhx_min_u64(len - done, iov.iov_len);

		memcpy((uint8_t *)dst + done, iov.iov_base, n);
		done += n;
	}
	return done;
}
