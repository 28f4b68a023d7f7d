// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Reading one packet, as far as selectors and flows need it. Part of steer.bpf.c.
//
// In two steps, because most packets need the first one only: `read_link` finds the IP header and
// the addresses in it, and where no selector has the destination nothing else is looked at;
// `read_upper` walks to the upper layer.

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100    // IEEE 802.1Q, C-tag.
#define ETHERTYPE_SERVICE 0x88a8 // IEEE 802.1ad, S-tag.
#define ETHERNET_LEN 14
#define VLAN_LEN 4
#define VLAN_TAGS 2

#define IPV4_LEN 20
#define IPV6_LEN 40
// Extension headers walked. Real traffic has at most two or three (RFC 7872).
#define EXTENSION_HEADERS 8

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AUTHENTICATION 51
#define PROTOCOL_DESTINATION_OPTIONS 60
#define PROTOCOL_SCTP 132
#define PROTOCOL_MOBILITY 135
#define PROTOCOL_HIP 139
#define PROTOCOL_SHIM6 140

// Octets that the first of several buffers has, at the least.
#define FIRST_BUFFER_LEAST 1024

#define FACT_PROTOCOL 1
#define FACT_PORTS 2
#define FACT_LATER_FRAGMENT 4
#define FACT_FRAGMENT 8 // The first or a later one.

// What is known of one packet.
struct facts {
	__u32 source[4];
	__u32 destination[4];
	__u32 l3;
	__u32 l4;
	__u32 end;   // Where the IP datagram ends.
	__u32 ports; // Source and destination port as on the wire.
	__u16 destination_port;
	__u8 family;
	__u8 protocol;
	__u8 known;
	__u8 otherwise; // Outcome if no selector matches.
	__u8 tcp_flags; // SYN and ACK, of a destination that is protected.
};

INLINE __u16 swap16(__u16 be)
{
	return __builtin_bswap16(be);
}

INLINE __u32 swap32(__u32 be)
{
	return __builtin_bswap32(be);
}

// Points `found` to `len` octets at `offset`, or says 0 when they are not in the first buffer.
INLINE int at(struct xdp_md *ctx, __u32 offset, __u32 len, void **found)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	// Every offset is a sum of bounded lengths, at most 18 + 40 + 8 * 2048; the mask tells the verifier.
	offset &= 0x7fff;
	if (data + offset + len > end)
		return 0;
	*found = data + offset;
	return 1;
}

// Octets of the packet, in all its buffers. A call, so only where there can be another buffer: drivers
// fill the first before they take a second, and none has such short ones.
INLINE __u32 length(struct xdp_md *ctx)
{
	__u32 first = ctx->data_end - ctx->data;

	return first < FIRST_BUFFER_LEAST ? first : bpf_xdp_get_buff_len(ctx);
}

// Why `at` said 0: the packet is short, or its headers span buffers.
INLINE enum outcome missing(__u32 packet_len, __u32 offset, __u32 len)
{
	return offset + len > packet_len ? PASS_TRUNCATED : PASS_HEADERS_SPLIT;
}

// Every protocol with ports has them in the first four octets.
INLINE void read_ports(struct xdp_md *ctx, struct facts *facts, __u32 packet_len)
{
	__u16 *ports;

	if (facts->protocol != PROTOCOL_TCP && facts->protocol != PROTOCOL_UDP &&
	    facts->protocol != PROTOCOL_SCTP)
		return;
	if (facts->l4 + 4 > facts->end) {
		facts->otherwise = PASS_TRUNCATED;
		return;
	}
	if (!at(ctx, facts->l4, 4, (void **)&ports)) {
		facts->otherwise = missing(packet_len, facts->l4, 4);
		return;
	}
	facts->ports = *(__u32 *)ports;
	facts->destination_port = swap16(ports[1]);
	facts->known |= FACT_PORTS;
}

// RFC 791. Returns REDIRECTED for "go on", with where the header is; else the outcome.
INLINE enum outcome read_ipv4(struct xdp_md *ctx, struct facts *facts, __u32 packet_len, __u8 **found)
{
	__u8 *header;
	__u32 header_len, total_len;

	if (!at(ctx, facts->l3, IPV4_LEN, (void **)&header))
		return missing(packet_len, facts->l3, IPV4_LEN);
	*found = header;
	header_len = (header[0] & 15) * 4;
	total_len = swap16(*(__u16 *)(header + 2));
	if (header[0] >> 4 != 4 || header_len < IPV4_LEN || total_len < header_len)
		return PASS_MALFORMED;
	facts->end = facts->l3 + total_len;
	if (facts->end > packet_len)
		return PASS_TRUNCATED;
	facts->family = 4;
	facts->source[0] = *(__u32 *)(header + 12);
	facts->destination[0] = *(__u32 *)(header + 16);
	return REDIRECTED;
}

// The rest of a header that `read_ipv4` has read.
INLINE void read_upper_ipv4(struct xdp_md *ctx, struct facts *facts, __u32 packet_len, const __u8 *header)
{
	__u16 fragment;

	facts->protocol = header[9];
	facts->known = FACT_PROTOCOL;
	// RFC 791: the bit says that more follow, the lower 13 are the offset.
	fragment = swap16(*(__u16 *)(header + 6));
	if (fragment & 0x3fff)
		facts->known |= FACT_FRAGMENT;
	if (fragment & 0x1fff) {
		facts->known |= FACT_LATER_FRAGMENT;
		facts->otherwise = PASS_FRAGMENT;
		return;
	}
	facts->l4 = facts->l3 + (header[0] & 15) * 4;
	read_ports(ctx, facts, packet_len);
}

INLINE int is_extension(__u8 protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING ||
	       protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_AUTHENTICATION ||
	       protocol == PROTOCOL_DESTINATION_OPTIONS || protocol == PROTOCOL_MOBILITY ||
	       protocol == PROTOCOL_HIP || protocol == PROTOCOL_SHIM6;
}

// RFC 8200, section 3. As `read_ipv4`.
INLINE enum outcome read_ipv6(struct xdp_md *ctx, struct facts *facts, __u32 packet_len)
{
	__u8 *header;

	if (!at(ctx, facts->l3, IPV6_LEN, (void **)&header))
		return missing(packet_len, facts->l3, IPV6_LEN);
	if (header[0] >> 4 != 6)
		return PASS_MALFORMED;
	facts->end = facts->l3 + IPV6_LEN + swap16(*(__u16 *)(header + 4));
	if (facts->end > packet_len)
		return PASS_TRUNCATED;
	facts->family = 6;
	__builtin_memcpy(facts->source, header + 8, 16);
	__builtin_memcpy(facts->destination, header + 24, 16);
	return REDIRECTED;
}

// RFC 8200, section 4. A chain that cannot be followed leaves the protocol unknown.
INLINE void read_upper_ipv6(struct xdp_md *ctx, struct facts *facts, __u32 packet_len)
{
	__u8 *header;
	__u32 offset = facts->l3 + IPV6_LEN;
	__u8 next;
	int i;

	if (!at(ctx, facts->l3, IPV6_LEN, (void **)&header))
		return;
	next = header[6];

	for (i = 0; i < EXTENSION_HEADERS; i++) {
		if (!is_extension(next))
			break;
		// Every extension header is at least eight octets long.
		if (offset + 8 > facts->end) {
			facts->otherwise = PASS_TRUNCATED;
			return;
		}
		if (!at(ctx, offset, 8, (void **)&header)) {
			facts->otherwise = missing(packet_len, offset, 8);
			return;
		}
		if (next == PROTOCOL_FRAGMENT) {
			next = header[0];
			// RFC 8200, section 4.5: the upper 13 bits are the offset. Zero: the first
			// fragment, or an atomic one, and the chain goes on behind it.
			if (swap16(*(__u16 *)(header + 2)) & 0xfff9)
				facts->known |= FACT_FRAGMENT;
			if (swap16(*(__u16 *)(header + 2)) & 0xfff8) {
				facts->known |= FACT_LATER_FRAGMENT;
				facts->otherwise = PASS_FRAGMENT;
				if (!is_extension(next)) {
					facts->protocol = next;
					facts->known |= FACT_PROTOCOL;
				}
				return;
			}
			offset += 8;
		} else if (next == PROTOCOL_AUTHENTICATION) {
			// RFC 4302, section 2.2: in 4-octet units, minus 2.
			next = header[0];
			offset += (header[1] + 2) * 4;
		} else {
			next = header[0];
			offset += (header[1] + 1) * 8;
		}
	}
	if (is_extension(next)) {
		facts->otherwise = PASS_EXTENSION_HEADERS;
		return;
	}
	if (offset > facts->end) {
		facts->otherwise = PASS_TRUNCATED;
		return;
	}
	facts->protocol = next;
	facts->known |= FACT_PROTOCOL;
	facts->l4 = offset;
	read_ports(ctx, facts, packet_len);
}

INLINE enum outcome read_link(struct xdp_md *ctx, struct facts *facts, __u32 packet_len, __u8 **ipv4)
{
	__u32 offset = ETHERNET_LEN;
	__u16 ethertype, *type;
	int i;

	if (!at(ctx, ETHERNET_LEN - 2, 2, (void **)&type))
		return missing(packet_len, 0, ETHERNET_LEN);
	ethertype = swap16(*type);
	for (i = 0; i < VLAN_TAGS; i++) {
		if (ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_SERVICE)
			break;
		if (!at(ctx, offset + 2, 2, (void **)&type))
			return missing(packet_len, offset, VLAN_LEN);
		ethertype = swap16(*type);
		offset += VLAN_LEN;
	}
	facts->l3 = offset;
	if (ethertype == ETHERTYPE_IPV4)
		return read_ipv4(ctx, facts, packet_len, ipv4);
	if (ethertype == ETHERTYPE_IPV6)
		return read_ipv6(ctx, facts, packet_len);
	return PASS_NOT_IP;
}

APART int read_upper_apart(struct xdp_md *ctx, struct facts *facts, __u32 packet_len)
{
	if (facts)
		read_upper_ipv6(ctx, facts, packet_len);
	return 0;
}

// Returns cost much where the kernel guards them against speculation: none for IPv4.
INLINE void read_upper(struct xdp_md *ctx, struct facts *facts, __u32 packet_len, const __u8 *ipv4)
{
	if (ipv4)
		read_upper_ipv4(ctx, facts, packet_len, ipv4);
	else
		read_upper_apart(ctx, facts, packet_len);
}
