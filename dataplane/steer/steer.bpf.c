// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The XDP program: which packets leave the kernel, and everything else stays.
//
//     packet ── gate open? ── Ethernet, VLAN ── IPv4 / IPv6 ── selectors ── socket on this queue? ── redirect
//                  │                │                │             │                  │
//                  └────────────────┴── PASS, one counter per reason ┴─────────────────┘
//
// Between the last two a selector that protects its destination has more to say, see protect.bpf.h.
//
// It fails open. Whatever it cannot read, does not know or may not do goes on to the
// kernel stack as if this program were not there, and is counted.
//
// Most packets are nobody's: their destination address is looked up octet by octet in tables of
// which selectors could want it, and where that is none nothing further is read.
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
// Verified once, for all that it can be called with: without, the verifier would follow the rest of
// the program for each way through the headers.
#define APART __attribute__((noinline))
// Has the compiler forget what it knows of a value, and so write the check that the verifier wants.
#define HIDE(value) asm volatile("" : "+r"(value))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) val *name

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;
static long (*const bpf_xdp_adjust_meta)(struct xdp_md *ctx, int delta) = (void *)BPF_FUNC_xdp_adjust_meta;
static __u64 (*const bpf_xdp_get_buff_len)(struct xdp_md *ctx) = (void *)BPF_FUNC_xdp_get_buff_len;
static __u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;
static __u64 (*const bpf_jiffies64)(void) = (void *)BPF_FUNC_jiffies64;
static struct bpf_sock *(*const bpf_skc_lookup_tcp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 len, __u64 netns,
						    __u64 flags) = (void *)BPF_FUNC_skc_lookup_tcp;
static struct bpf_sock *(*const bpf_sk_lookup_udp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 len, __u64 netns,
						   __u64 flags) = (void *)BPF_FUNC_sk_lookup_udp;
static long (*const bpf_sk_release)(void *sock) = (void *)BPF_FUNC_sk_release;

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
	PASS_PEACE,
	PASS_VERDICT,
	DROP_VERDICT,
	PASS_SOCKET,
	PASS_STALLED,
	DROP_STALLED,
	PASS_DRAINED,
	OUTCOMES,
};

// Beside an outcome: the packet is marked METADATA_ORDERED.
#define ORDERED 256

// Most selectors in one generation: one bit for each in a word.
#define SELECTORS 64
// Octets of an address that have a table of which selectors want them. IPv6: the rest is compared.
#define TABLES_IPV4 4
#define TABLES_IPV6 8
// Most receive queues that can have a socket.
#define QUEUES 1024
// Places for the number of a flow's last packet, shared out to the queues.
#define STAMPS 65536
// Buckets in which flows are known again, four each.
#define BUCKETS 65536
// Rules whose verdicts can be cached.
#define RULES 16384
// A shard that says nothing for so long stands still: with the coarse clock's tick, of 10 ms at the
// most, less than 100 ms.
#define STALE_NS 80000000
// Marks metadata as ours; "ti" read from its high octet.
#define MAGIC 0x7469

#define SELECTOR_ANY_PROTOCOL 1
#define SELECTOR_PORTS 2
#define SELECTOR_TAKE_FRAGMENTS 4
#define SELECTOR_PROTECTS 8
#define SELECTOR_CLOSED 16 // While its shard stands still, packets are dropped.

#define METADATA_NUMBERED 1 // The packet's number stands in front of the metadata.
#define METADATA_ORDERED 2  // Goes to the stack, and came here for its place in the flow alone.

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
	__u8 scope; // Whose verdicts it obeys.
};

struct generation {
	__u32 count;
	__u32 reserved;
	struct selector selectors[SELECTORS];
	__u64 ipv4[TABLES_IPV4][256];
	__u64 ipv6[TABLES_IPV6][256];
};

struct tally {
	__u64 packets;
	__u64 octets;
};

// Counts of a selector that protects, whatever its state. A cache line.
struct peace {
	struct tally dropped; // Here: by a verdict, or for a shard that stands still.
	struct tally others;
	__u64 syn;
	// Estimates:
	__u64 new_flows; // Of the others.
	__u64 asked;     // Requests for a TCP connection, by flow; all that were dropped.
	__u64 answered;  // Of these, the flow went on.
};

struct counters {
	struct tally in;
	struct tally outcomes[OUTCOMES];
	struct tally ordered;              // Redirected and marked ORDERED.
	struct tally selectors[SELECTORS]; // Redirected, by selector.
	struct peace peaces[SELECTORS];
};

struct metadata {
	__u16 magic;
	__u16 selector;
	__u8 l3_offset;
	__u8 flags;
	__u16 l4_offset; // 0: a later fragment, or the upper layer was not reached.
};

struct numbered_metadata {
	__u64 number;
	struct metadata metadata;
};

// Bits of the board's switches: one octet, so that a write of it cannot be seen half done.
#define SWITCH_GENERATION 1 // Which of the two generations is active.
#define SWITCH_PASS_ALL 2   // The gate is closed.

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

INLINE void count(struct tally *tally, __u32 octets)
{
	tally->packets += 1;
	tally->octets += octets;
}

#include "read.bpf.h"

#include "protect.bpf.h"

// ---- Deciding

INLINE int in_prefix(const __u32 *address, const __u32 *prefix, const __u32 *mask)
{
	return !(((address[0] & mask[0]) ^ prefix[0]) | ((address[1] & mask[1]) ^ prefix[1]) |
		 ((address[2] & mask[2]) ^ prefix[2]) | ((address[3] & mask[3]) ^ prefix[3]));
}

// Selectors whose destination the packet may have, one bit each. IPv4: all of them have.
INLINE __u64 candidates(const struct generation *generation, const struct facts *facts)
{
	const __u8 *octets = (const __u8 *)facts->destination;
	__u64 mask = ~0ull;
	int i;

	if (facts->family == 4) {
		for (i = 0; i < TABLES_IPV4; i++)
			mask &= generation->ipv4[i][octets[i]];
	} else {
		for (i = 0; i < TABLES_IPV6; i++)
			mask &= generation->ipv6[i][octets[i]];
	}
	return mask;
}

INLINE int is_drop(__u32 outcome)
{
	return outcome == DROP_VERDICT || outcome == DROP_STALLED;
}

// Place of the lowest bit, of which there is one. This instruction set has none for it, so by a
// de Bruijn sequence: its six highest bits differ for each shift. Without branches, each of which
// the verifier would follow.
static const __u8 places[64] = {
	0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28, 62, 5,  39, 46, 44, 42,
	22, 9,  24, 35, 59, 56, 49, 18, 29, 11, 63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21,
	23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

INLINE __u32 lowest(__u64 mask)
{
	return places[(mask & -mask) * 0x022fdd63cc95386dull >> 58];
}

INLINE int matches(const struct selector *selector, const struct facts *facts)
{
	if (facts->family == 4) {
		if ((facts->source[0] & selector->source_mask[0]) ^ selector->source[0])
			return 0;
	} else if (!in_prefix(facts->destination, selector->destination, selector->destination_mask) ||
		   !in_prefix(facts->source, selector->source, selector->source_mask)) {
		return 0;
	}
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
	metadata->flags = 0;
	metadata->l4_offset = facts->l4;
	return 1;
}

INLINE enum outcome redirect(struct xdp_md *ctx, const struct facts *facts, __u32 selector)
{
	__u32 queue = ctx->rx_queue_index;

	// Asked before the metadata is written: what passes must not carry any.
	if (!bpf_map_lookup_elem(&sockets, &queue))
		return PASS_NO_SOCKET;
	// Without metadata user space could only guess the selector, from what an earlier
	// packet left in the same chunk. So the packet stays with the kernel.
	if (!write_metadata(ctx, facts, selector))
		return PASS_METADATA_REFUSED;
	// The socket can have left in between.
	if (bpf_redirect_map(&sockets, queue, XDP_PASS) != XDP_REDIRECT)
		return PASS_NO_SOCKET;
	return REDIRECTED;
}

// The same with a number, which is the flow's stamp from now on.
//
// A number is given before the packet is on the ring, and numbers of one queue reach the ring in
// their order: a queue is polled by one processor at a time. One that is given and not received is
// a packet that the kernel lost; the next that is received tells so.
INLINE enum outcome redirect_numbered(struct xdp_md *ctx, const struct facts *facts, __u32 selector, __u8 flags,
				      __u64 *stamp)
{
	struct numbered_metadata *numbered;
	__u32 index = ctx->rx_queue_index;
	struct queue *queue = bpf_map_lookup_elem(&queues, &index);
	__u64 number;

	if (!queue)
		return PASS_NO_SOCKET;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*numbered)))
		return PASS_METADATA_REFUSED;
	numbered = (void *)(long)ctx->data_meta;
	if ((void *)(numbered + 1) > (void *)(long)ctx->data)
		return PASS_METADATA_REFUSED;
	number = __sync_fetch_and_add(&queue->numbered, 1) + 1;
	*(volatile __u64 *)stamp = number;
	numbered->number = number;
	numbered->metadata.magic = MAGIC;
	numbered->metadata.selector = selector;
	numbered->metadata.l3_offset = facts->l3;
	numbered->metadata.flags = METADATA_NUMBERED | flags;
	numbered->metadata.l4_offset = facts->l4;
	if (bpf_redirect_map(&sockets, index, XDP_PASS) != XDP_REDIRECT)
		return PASS_NO_SOCKET;
	return REDIRECTED;
}

INLINE enum outcome drop_verdict(const struct facts *facts, struct peace *peace, __u32 rule, __u32 packet_len)
{
	count_hit(rule, packet_len);
	if (facts->tcp_flags == TCP_SYN)
		peace->asked += 1;
	return DROP_VERDICT;
}

// What becomes of a packet of a protected destination, where it can be told without a call: all in
// peace, and those of a source that is known to be dropped. OUTCOMES for the others.
//
// Of the others nothing is counted here but SYN.
INLINE __u32 protect_quickly(struct xdp_md *ctx, struct facts *facts, const struct selector *selector, __u32 place,
			     __u32 half, const struct board *told, struct counters *counts, __u32 packet_len)
{
	struct peace *peace;
	struct place quick;
	__u32 rule;
	__u8 state;

	HIDE(place);
	HIDE(half);
	place &= SELECTORS - 1;
	peace = &counts->peaces[place];
	read_flags(ctx, facts);
	if (facts->tcp_flags == TCP_SYN)
		peace->syn += 1;
	state = *(volatile __u8 *)&told->states[place][half & 1];
	if (state == STATE_ENGAGED) {
		// A flow's verdict goes before its source's.
		if (told->kinds & KIND_FLOW || facts->family != 4)
			return OUTCOMES;
		quick = quick_place(facts, selector->scope, told);
		rule = quick_rule(&quick);
		if (rule >= RULES)
			return OUTCOMES;
		count(&peace->dropped, packet_len);
		return drop_verdict(facts, peace, rule, packet_len);
	}
	if (state == STATE_DRAINING)
		return OUTCOMES;
	count(&peace->others, packet_len);
	note_flow(facts, peace, flow_hash(facts));
	return PASS_PEACE;
}

// The same of the others: the picture in protect.bpf.h.
//
// An outcome, with ORDERED beside it where the packet is marked so.
APART __u32 protect(struct xdp_md *ctx, const struct facts *facts, __u32 place, __u32 half, __u32 packet_len)
{
	const struct generation *generation = bpf_map_lookup_elem(&generations, &half);
	__u32 zero = 0, queue = ctx->rx_queue_index, hash;
	struct counters *counts = bpf_map_lookup_elem(&counters, &zero);
	const struct board *told = bpf_map_lookup_elem(&board, &zero);
	struct peace *peace;
	enum outcome passes = PASS_NO_SELECTOR, outcome;
	const struct verdict *verdict;
	const struct shard *shard;
	__u64 now_ns, *stamp;
	const struct selector *selector;
	struct place quick;
	__u8 state, stalled, flags = 0;

	if (!generation || !counts || !told || !facts || place >= SELECTORS)
		return PASS_NO_SELECTOR;
	selector = &generation->selectors[place];
	peace = &counts->peaces[place];
	HIDE(place);
	HIDE(half);
	state = *(volatile __u8 *)&told->states[place & (SELECTORS - 1)][half & 1];
	now_ns = bpf_ktime_get_coarse_ns();
	if (state == STATE_ENGAGED) {
		quick = quick_place(facts, selector->scope, told);
		verdict = cached(facts, selector->scope, told, now_ns, &quick);
		if (verdict) {
			if (verdict->drop)
				return drop_verdict(facts, peace, verdict->rule, packet_len);
			count_hit(verdict->rule, packet_len);
			passes = PASS_VERDICT;
		}
	}
	hash = flow_hash(facts);
	note_flow(facts, peace, hash);
	if (state != STATE_ENGAGED && state != STATE_DRAINING)
		return PASS_PEACE;
	if (state == STATE_DRAINING) {
		passes = PASS_DRAINED;
	} else if (passes == PASS_NO_SELECTOR && has_socket(ctx, facts)) {
		passes = PASS_SOCKET;
	}
	shard = bpf_map_lookup_elem(&shards, &queue);
	stamp = stamp_of(queue, hash, told);
	if (!shard || !stamp || !bpf_map_lookup_elem(&sockets, &queue))
		return passes == PASS_NO_SELECTOR ? PASS_NO_SOCKET : passes;
	// The coarse clock may be behind that of the shard.
	stalled = (__s64)(now_ns - *(volatile __u64 *)&shard->beat_ns) > STALE_NS;
	if (passes != PASS_NO_SELECTOR) {
		if (*(volatile __u64 *)stamp <= *(volatile __u64 *)&shard->settled)
			return passes;
		// It may overtake what is out: better than to wait for a shard that stands still.
		if (stalled)
			return PASS_STALLED;
		flags = METADATA_ORDERED;
	} else if (stalled) {
		return selector->flags & SELECTOR_CLOSED ? DROP_STALLED : PASS_STALLED;
	}
	outcome = redirect_numbered(ctx, facts, place, flags, stamp);
	return flags && outcome == REDIRECTED ? REDIRECTED | ORDERED : outcome;
}

// The first selector of those in `mask` that the packet matches, or SELECTORS.
APART __u32 find(const struct facts *facts, __u64 mask, __u32 half)
{
	const struct generation *generation = bpf_map_lookup_elem(&generations, &half);
	__u32 i, place;

	if (!generation || !facts)
		return SELECTORS;
	for (i = 0; i < SELECTORS; i++) {
		if (!mask)
			return SELECTORS;
		place = lowest(mask) & (SELECTORS - 1);
		if (matches(&generation->selectors[place], facts))
			return place;
		mask &= mask - 1;
	}
	return SELECTORS;
}

INLINE __u32 steer(struct xdp_md *ctx, __u32 packet_len, const struct board *told, struct counters *counts,
		   __u32 *matched)
{
	struct facts facts = { .otherwise = PASS_NO_SELECTOR };
	const struct generation *generation;
	__u32 half, place, outcome;
	const struct selector *selector;
	enum outcome refusal;
	struct peace *peace;
	__u8 *ipv4 = 0;
	__u64 mask;

	half = *(volatile __u32 *)&told->switches;
	if (half & SWITCH_PASS_ALL)
		return PASS_GATE_CLOSED;
	half &= SWITCH_GENERATION;

	refusal = read_link(ctx, &facts, packet_len, &ipv4);
	if (refusal != REDIRECTED)
		return refusal;
	generation = bpf_map_lookup_elem(&generations, &half);
	if (!generation)
		return PASS_NO_SELECTOR;
	mask = candidates(generation, &facts);
	if (!mask)
		return PASS_NO_SELECTOR;
	read_upper(ctx, &facts, packet_len, ipv4);
	place = lowest(mask) & (SELECTORS - 1);
	if (!matches(&generation->selectors[place], &facts))
		place = find(&facts, mask & (mask - 1), half);
	if (place >= SELECTORS)
		return facts.otherwise;
	*matched = place;
	selector = &generation->selectors[place];
	if (selector->flags & SELECTOR_PROTECTS) {
		outcome = protect_quickly(ctx, &facts, selector, place, half, told, counts, packet_len);
		if (outcome < OUTCOMES)
			return outcome;
		outcome = protect(ctx, &facts, place, half, packet_len);
		peace = &counts->peaces[place];
		count(is_drop(outcome) ? &peace->dropped : &peace->others, packet_len);
		return outcome;
	}
	return redirect(ctx, &facts, place);
}

SEC("xdp.frags")
int tidegate_steer(struct xdp_md *ctx)
{
	__u32 packet_len = length(ctx);
	__u32 zero = 0, matched = 0, outcome, ordered;
	struct counters *counts = bpf_map_lookup_elem(&counters, &zero);
	const struct board *told = bpf_map_lookup_elem(&board, &zero);

	if (!counts || !told)
		return XDP_PASS;
	outcome = steer(ctx, packet_len, told, counts, &matched);
	ordered = outcome & ORDERED;
	outcome &= ORDERED - 1;
	count(&counts->in, packet_len);
	if (outcome < OUTCOMES)
		count(&counts->outcomes[outcome], packet_len);
	if (is_drop(outcome))
		return XDP_DROP;
	if (outcome != REDIRECTED)
		return XDP_PASS;
	HIDE(matched);
	if (matched < SELECTORS)
		count(&counts->selectors[matched], packet_len);
	if (ordered)
		count(&counts->ordered, packet_len);
	return XDP_REDIRECT;
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
