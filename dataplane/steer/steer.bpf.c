// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The XDP program: which packets leave the kernel, and everything else stays.
//
//     packet ── gate open? ── Ethernet, VLAN ── IPv4 / IPv6 ── selectors ── socket on this queue? ── redirect
//                  │                │                │             │                  │
//                  └────────────────┴── PASS, one counter per reason ┴─────────────────┘
//
// It fails open. Whatever it cannot read, does not know or may not do goes on to the
// kernel stack as if this program were not there, and is counted.
//
// What a packet does not show matches only selectors that do not ask for it: a later
// fragment has no ports, a header chain longer than the walk has no known protocol, yet
// a selector that names only a destination takes both.
//
// VLAN tags are seen where they are in the packet. A tag that the NIC has stripped
// (rx-vlan-offload) is not, and the packet then looks untagged.
//
// Only <linux/bpf.h> is included, helpers and headers are declared here: clang and the
// kernel's user-space headers rebuild the object (see ./rebuild).

#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) val *name

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;
static long (*const bpf_xdp_adjust_meta)(struct xdp_md *ctx, int delta) = (void *)BPF_FUNC_xdp_adjust_meta;
static __u64 (*const bpf_xdp_get_buff_len)(struct xdp_md *ctx) = (void *)BPF_FUNC_xdp_get_buff_len;

// ---- What user space and this program agree on: dataplane/steer/{counters,selector,program}.rs

// One packet has one outcome. Same order and names as `OUTCOMES` in counters.rs, where the help is.
enum outcome {
	REDIRECTED,
	PASS_GATE_CLOSED,
	PASS_NOT_IP,
	PASS_NO_SELECTOR,
	PASS_MALFORMED,
	PASS_TRUNCATED,
	PASS_FRAGMENT,
	PASS_EXTENSION_HEADERS,
	PASS_HEADERS_SPLIT,
	PASS_NO_SOCKET,
	PASS_METADATA_REFUSED,
	OUTCOMES,
};

// Most selectors in one generation: bounds the scan, and its cost where nothing matches.
#define SELECTORS 64
// Most receive queues that can have a socket.
#define QUEUES 1024
// Marks metadata as ours; "ti" read from its high octet.
#define MAGIC 0x7469

#define SELECTOR_ANY_PROTOCOL 1
#define SELECTOR_PORTS 2
#define SELECTOR_TAKE_FRAGMENTS 4

// Addresses and masks as on the wire; IPv4 uses the first word, the others are zero. Ports in host order.
struct selector {
	__u32 destination[4];
	__u32 destination_mask[4];
	__u32 source[4];
	__u32 source_mask[4];
	__u16 port_low;
	__u16 port_high;
	__u8 family; // 4 or 6.
	__u8 protocol;
	__u8 flags;
	__u8 reserved;
};

struct generation {
	__u32 count;
	__u32 reserved;
	struct selector selectors[SELECTORS];
};

struct tally {
	__u64 packets;
	__u64 octets;
};

struct counters {
	struct tally in;
	struct tally outcomes[OUTCOMES];
	struct tally selectors[SELECTORS]; // Redirected, by selector.
};

struct metadata {
	__u16 magic;
	__u16 selector;
	__u16 l3_offset;
	__u16 l4_offset; // 0: a later fragment, or the upper layer was not reached.
};

// The switchboard: one octet, so that a write of it cannot be seen half done.
#define CONFIG_GENERATION 1 // Which of the two generations is active.
#define CONFIG_PASS_ALL 2   // The gate is closed.

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct generation);
} generations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

// ---- Reading the packet

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

#define FACT_PROTOCOL 1
#define FACT_PORTS 2
#define FACT_LATER_FRAGMENT 4

// What is known of one packet.
struct facts {
	__u32 source[4];
	__u32 destination[4];
	__u32 l3;
	__u32 l4;
	__u32 end; // Where the IP datagram ends.
	__u16 destination_port;
	__u8 family;
	__u8 protocol;
	__u8 known;
	__u8 otherwise; // Outcome if no selector matches.
};

INLINE __u16 swap16(__u16 be)
{
	return __builtin_bswap16(be);
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
	facts->destination_port = swap16(ports[1]);
	facts->known |= FACT_PORTS;
}

// RFC 791. Returns REDIRECTED for "go on", else the outcome.
INLINE enum outcome read_ipv4(struct xdp_md *ctx, struct facts *facts, __u32 packet_len)
{
	__u8 *header;
	__u32 header_len, total_len;
	__u16 fragment;

	if (!at(ctx, facts->l3, IPV4_LEN, (void **)&header))
		return missing(packet_len, facts->l3, IPV4_LEN);
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
	facts->protocol = header[9];
	facts->known = FACT_PROTOCOL;
	fragment = swap16(*(__u16 *)(header + 6));
	if (fragment & 0x1fff) {
		facts->known |= FACT_LATER_FRAGMENT;
		facts->otherwise = PASS_FRAGMENT;
		return REDIRECTED;
	}
	facts->l4 = facts->l3 + header_len;
	read_ports(ctx, facts, packet_len);
	return REDIRECTED;
}

INLINE int is_extension(__u8 protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING ||
	       protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_AUTHENTICATION ||
	       protocol == PROTOCOL_DESTINATION_OPTIONS || protocol == PROTOCOL_MOBILITY ||
	       protocol == PROTOCOL_HIP || protocol == PROTOCOL_SHIM6;
}

// RFC 8200, section 4. As `read_ipv4`; a chain that cannot be followed leaves the protocol unknown.
INLINE enum outcome read_ipv6(struct xdp_md *ctx, struct facts *facts, __u32 packet_len)
{
	__u8 *header;
	__u32 offset = facts->l3 + IPV6_LEN;
	__u8 next;
	int i;

	if (!at(ctx, facts->l3, IPV6_LEN, (void **)&header))
		return missing(packet_len, facts->l3, IPV6_LEN);
	if (header[0] >> 4 != 6)
		return PASS_MALFORMED;
	facts->end = offset + swap16(*(__u16 *)(header + 4));
	if (facts->end > packet_len)
		return PASS_TRUNCATED;
	facts->family = 6;
	__builtin_memcpy(facts->source, header + 8, 16);
	__builtin_memcpy(facts->destination, header + 24, 16);
	next = header[6];

	for (i = 0; i < EXTENSION_HEADERS; i++) {
		if (!is_extension(next))
			break;
		// Every extension header is at least eight octets long.
		if (offset + 8 > facts->end) {
			facts->otherwise = PASS_TRUNCATED;
			return REDIRECTED;
		}
		if (!at(ctx, offset, 8, (void **)&header)) {
			facts->otherwise = missing(packet_len, offset, 8);
			return REDIRECTED;
		}
		if (next == PROTOCOL_FRAGMENT) {
			next = header[0];
			// RFC 8200, section 4.5: the upper 13 bits are the offset. Zero: the first
			// fragment, or an atomic one, and the chain goes on behind it.
			if (swap16(*(__u16 *)(header + 2)) & 0xfff8) {
				facts->known |= FACT_LATER_FRAGMENT;
				facts->otherwise = PASS_FRAGMENT;
				if (!is_extension(next)) {
					facts->protocol = next;
					facts->known |= FACT_PROTOCOL;
				}
				return REDIRECTED;
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
		return REDIRECTED;
	}
	if (offset > facts->end) {
		facts->otherwise = PASS_TRUNCATED;
		return REDIRECTED;
	}
	facts->protocol = next;
	facts->known |= FACT_PROTOCOL;
	facts->l4 = offset;
	read_ports(ctx, facts, packet_len);
	return REDIRECTED;
}

INLINE enum outcome read_packet(struct xdp_md *ctx, struct facts *facts, __u32 packet_len)
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
		return read_ipv4(ctx, facts, packet_len);
	if (ethertype == ETHERTYPE_IPV6)
		return read_ipv6(ctx, facts, packet_len);
	return PASS_NOT_IP;
}

// ---- Deciding

INLINE int in_prefix(const __u32 *address, const __u32 *prefix, const __u32 *mask)
{
	return !(((address[0] & mask[0]) ^ prefix[0]) | ((address[1] & mask[1]) ^ prefix[1]) |
		 ((address[2] & mask[2]) ^ prefix[2]) | ((address[3] & mask[3]) ^ prefix[3]));
}

INLINE int matches(const struct selector *selector, const struct facts *facts)
{
	if (selector->family != facts->family)
		return 0;
	if (!in_prefix(facts->destination, selector->destination, selector->destination_mask))
		return 0;
	if (!in_prefix(facts->source, selector->source, selector->source_mask))
		return 0;
	if (!(selector->flags & SELECTOR_ANY_PROTOCOL) &&
	    (!(facts->known & FACT_PROTOCOL) || selector->protocol != facts->protocol))
		return 0;
	if (!(selector->flags & SELECTOR_PORTS))
		return 1;
	if (facts->known & FACT_LATER_FRAGMENT)
		return selector->flags & SELECTOR_TAKE_FRAGMENTS;
	return (facts->known & FACT_PORTS) && facts->destination_port >= selector->port_low &&
	       facts->destination_port <= selector->port_high;
}

// Writes the metadata in front of the packet. Refused where the driver has no room for any.
INLINE int write_metadata(struct xdp_md *ctx, const struct facts *facts, __u32 selector)
{
	struct metadata *metadata;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*metadata)))
		return 0;
	metadata = (void *)(long)ctx->data_meta;
	if ((void *)(metadata + 1) > (void *)(long)ctx->data)
		return 0;
	metadata->magic = MAGIC;
	metadata->selector = selector;
	metadata->l3_offset = facts->l3;
	metadata->l4_offset = facts->l4;
	return 1;
}

INLINE enum outcome steer(struct xdp_md *ctx, __u32 packet_len, __u32 *matched)
{
	struct facts facts = { .otherwise = PASS_NO_SELECTOR };
	const struct generation *generation;
	__u32 queue = ctx->rx_queue_index;
	__u32 zero = 0, half, i;
	enum outcome refusal;
	__u32 *config_octets;

	config_octets = bpf_map_lookup_elem(&config, &zero);
	if (!config_octets)
		return PASS_GATE_CLOSED;
	half = *(volatile __u32 *)config_octets;
	if (half & CONFIG_PASS_ALL)
		return PASS_GATE_CLOSED;
	half &= CONFIG_GENERATION;

	refusal = read_packet(ctx, &facts, packet_len);
	if (refusal != REDIRECTED)
		return refusal;

	generation = bpf_map_lookup_elem(&generations, &half);
	if (!generation)
		return PASS_NO_SELECTOR;
	for (i = 0; i < SELECTORS; i++) {
		if (i >= generation->count)
			return facts.otherwise;
		if (matches(&generation->selectors[i], &facts))
			break;
	}
	if (i >= SELECTORS)
		return facts.otherwise;

	// Asked before the metadata is written: what passes must not carry any.
	if (!bpf_map_lookup_elem(&sockets, &queue))
		return PASS_NO_SOCKET;
	// Without metadata user space could only guess the selector, from what an earlier
	// packet left in the same chunk. So the packet stays with the kernel.
	if (!write_metadata(ctx, &facts, i))
		return PASS_METADATA_REFUSED;
	// The socket can have left in between.
	if (bpf_redirect_map(&sockets, queue, XDP_PASS) != XDP_REDIRECT)
		return PASS_NO_SOCKET;
	*matched = i;
	return REDIRECTED;
}

SEC("xdp.frags")
int tidegate_steer(struct xdp_md *ctx)
{
	__u32 packet_len = bpf_xdp_get_buff_len(ctx);
	__u32 zero = 0, matched = 0, outcome;
	struct counters *counts = bpf_map_lookup_elem(&counters, &zero);

	if (!counts)
		return XDP_PASS;
	outcome = steer(ctx, packet_len, &matched);
	counts->in.packets += 1;
	counts->in.octets += packet_len;
	if (outcome < OUTCOMES) {
		counts->outcomes[outcome].packets += 1;
		counts->outcomes[outcome].octets += packet_len;
	}
	if (outcome != REDIRECTED)
		return XDP_PASS;
	if (matched < SELECTORS) {
		counts->selectors[matched].packets += 1;
		counts->selectors[matched].octets += packet_len;
	}
	return XDP_REDIRECT;
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
