// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One packet of a flood: the headers, with a source that follows from the packet's number.
//
// BPF_PROG_RUN with live frames runs this for each frame of a batch; the frame then leaves by
// the interface `output`. Nothing in it is read: the kernel recycles frames, and what an
// earlier receiver wrote may still stand there. So every octet of the headers is stored anew,
// and the checksums come from sums over the template rather than from the frame.
//
// The packet's number n gives the same octets as `Template::stamp` in flood/template.rs; a
// test compares both.
//
// The program also stays attached to a loopback that is down, where it never runs: otherwise
// the kernel would put it into its dispatcher and take it out again, about 24 ms for each call.

#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) val *name

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;

// ---- What the loader sets, in flood/live.rs.

#define TEMPLATE_WORDS 10

// The interface that the frames leave by, and are said to have come in by.
const volatile __u32 output = 0;
const volatile __u64 seed = 0;
// Whether the template is IPv6.
const volatile __u32 ipv6 = 0;
// Whether it is TCP rather than UDP.
const volatile __u32 tcp = 0;
// Ones' complement sums over the template with zero for source and checksums.
const volatile __u32 ip_sum = 0;
const volatile __u32 l4_sum = 0;
// The headers; the first 56 octets hold those of IPv4, all 80 those of IPv6.
const volatile __u64 template[TEMPLATE_WORDS] = {};

// The number of the next packet, so also how many were stamped.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} stamped SEC(".maps");

// splitmix64 (Steele, Lea, Flood 2014).
static inline __u64 mix(__u64 number)
{
	__u64 z = seed + (number + 1) * 0x9e3779b97f4a7c15ull;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

// RFC 1071: sums of 16-bit words do not care for their order, nor for that of their octets.
static inline __u16 checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static inline __u32 sum_words(__u64 value)
{
	return (value & 0xffff) + (value >> 16 & 0xffff) + (value >> 32 & 0xffff) + (value >> 48);
}

SEC("xdp")
int tidegate_flood(struct xdp_md *ctx)
{
	unsigned char *data = (unsigned char *)(long)ctx->data;
	unsigned char *end = (unsigned char *)(long)ctx->data_end;
	__u32 zero = 0;
	__u64 *number = bpf_map_lookup_elem(&stamped, &zero);

	if (!number || ctx->ingress_ifindex != output)
		return XDP_DROP;

	__u64 random = mix(*number);
	__u16 port = __builtin_bswap16((__u16)random | 1024);
	__u16 sum;

	if (ipv6) {
		if (data + 80 > end)
			return XDP_DROP;
		for (int word = 0; word < 10; word++)
			((__u64 *)data)[word] = template[word];
		// The interface identifier is the last half of the source address.
		*(__u64 *)(data + 14 + 16) = random;
		*(__u16 *)(data + 14 + 40) = port;
		sum = checksum(l4_sum + port + sum_words(random));
		*(__u16 *)(data + 14 + 40 + (tcp ? 16 : 6)) = !tcp && !sum ? 0xffff : sum;
	} else {
		__u16 host = (__u16)(random >> 16);

		if (data + 56 > end)
			return XDP_DROP;
		for (int word = 0; word < 7; word++)
			((__u64 *)data)[word] = template[word];
		*(__u16 *)(data + 14 + 10) = checksum(ip_sum + host);
		*(__u16 *)(data + 14 + 14) = host;
		*(__u16 *)(data + 14 + 20) = port;
		sum = checksum(l4_sum + port + host);
		*(__u16 *)(data + 14 + 20 + (tcp ? 16 : 6)) = !tcp && !sum ? 0xffff : sum;
	}
	*number += 1;
	return bpf_redirect(output, 0);
}
