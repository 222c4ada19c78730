/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layouts of VirtIO 5.1 (network device), little-endian, and nothing else.
 */
#ifndef VHX_DEVICE_NET_LAYOUT_H
#define VHX_DEVICE_NET_LAYOUT_H

#include "util/base.h"
#include "vhx/endian.h"

#define VIRTIO_ID_NET 1

/* 5.1.3, bit numbers */
#define VIRTIO_NET_F_CSUM 0
#define VIRTIO_NET_F_GUEST_CSUM 1
#define VIRTIO_NET_F_MTU 3
#define VIRTIO_NET_F_MAC 5
#define VIRTIO_NET_F_GUEST_TSO4 7
#define VIRTIO_NET_F_GUEST_TSO6 8
#define VIRTIO_NET_F_GUEST_ECN 9
#define VIRTIO_NET_F_HOST_TSO4 11
#define VIRTIO_NET_F_HOST_TSO6 12
#define VIRTIO_NET_F_HOST_ECN 13
#define VIRTIO_NET_F_MRG_RXBUF 15
#define VIRTIO_NET_F_STATUS 16
#define VIRTIO_NET_F_CTRL_VQ 17
#define VIRTIO_NET_F_CTRL_RX 18
#define VIRTIO_NET_F_CTRL_RX_EXTRA 20
#define VIRTIO_NET_F_GUEST_ANNOUNCE 21
#define VIRTIO_NET_F_MQ 22
#define VIRTIO_NET_F_CTRL_MAC_ADDR 23

/* 5.1.4 */
struct virtio_net_config {
	uint8_t mac[6];
	vhx_le16 status;
	vhx_le16 max_virtqueue_pairs;
	vhx_le16 mtu;
};

_Static_assert(sizeof(struct virtio_net_config) == 12, "5.1.4");

#define VIRTIO_NET_S_LINK_UP 1u
#define VIRTIO_NET_S_ANNOUNCE 2u

/* 5.1.6: before every packet, whatever was negotiated, since VERSION_1 was. */
struct virtio_net_hdr {
	uint8_t flags;
	uint8_t gso_type;
	vhx_le16 hdr_len;
	vhx_le16 gso_size;
	vhx_le16 csum_start;
	vhx_le16 csum_offset;
	vhx_le16 num_buffers;
};

_Static_assert(sizeof(struct virtio_net_hdr) == 12, "5.1.6");

#define VIRTIO_NET_HDR_F_NEEDS_CSUM 1u

#define VIRTIO_NET_HDR_GSO_NONE 0u
#define VIRTIO_NET_HDR_GSO_TCPV4 1u
#define VIRTIO_NET_HDR_GSO_TCPV6 4u
#define VIRTIO_NET_HDR_GSO_ECN 0x80u

/* 5.1.6.5 */
struct virtio_net_ctrl {
	uint8_t class;
	uint8_t command;
};

#define VIRTIO_NET_OK 0u
#define VIRTIO_NET_ERR 1u

#define VIRTIO_NET_CTRL_RX 0u
#define VIRTIO_NET_CTRL_RX_PROMISC 0u
#define VIRTIO_NET_CTRL_RX_ALLMULTI 1u
#define VIRTIO_NET_CTRL_RX_ALLUNI 2u
#define VIRTIO_NET_CTRL_RX_NOMULTI 3u
#define VIRTIO_NET_CTRL_RX_NOUNI 4u
#define VIRTIO_NET_CTRL_RX_NOBCAST 5u

#define VIRTIO_NET_CTRL_MAC 1u
#define VIRTIO_NET_CTRL_MAC_TABLE_SET 0u
#define VIRTIO_NET_CTRL_MAC_ADDR_SET 1u

#define VIRTIO_NET_CTRL_ANNOUNCE 3u
#define VIRTIO_NET_CTRL_ANNOUNCE_ACK 0u

#define VIRTIO_NET_CTRL_MQ 4u
#define VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET 0u
#define VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN 1u

/* Ethernet, and what the largest IP packet needs of it: header and one VLAN tag. */
#define VHX_ETHER_ADDRESS_LEN 6u
#define VHX_ETHER_HEADER_LEN 14u
#define VHX_ETHER_VLAN_LEN 4u
#define VHX_ETHER_FRAME_MAX (65535u + VHX_ETHER_HEADER_LEN + VHX_ETHER_VLAN_LEN)
/* A packet of the device: header and frame. */
#define VHX_NET_PACKET_MAX ((uint32_t)sizeof(struct virtio_net_hdr) + VHX_ETHER_FRAME_MAX)

#endif
