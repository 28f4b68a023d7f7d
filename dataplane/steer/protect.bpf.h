// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What becomes of a packet of a protected destination. Part of steer.bpf.c.
//
//     peace      count ── PASS
//     engaged    count ── verdict cache ──drop── DROP
//                           │ pass   └─none── socket of the kernel's? ──no── heartbeat fresh? ── redirect
//                           │                   │ yes                              └─no── PASS or DROP
//                           └────────┬──────────┘
//                     flow's last packet settled? ──yes── PASS
//                                    └─no── redirect, marked ORDERED
//     draining   count ── flow's last packet settled? ──yes── PASS
//                                    └─no── redirect, marked ORDERED
//
// Order. What is redirected gets a number, one row for each queue, which travels with it and is
// written into the stamp of its flow. A shard says which number everything is settled up to, and a
// later packet of the flow goes to the stack by itself only when the stamp is not above that.
// Stamps are shared by flows whose hashes meet, never by queues: a meeting makes a flow wait for
// longer than it must, never for less.
//
// Counts of flows and of requests without an answer are estimates. A flow is new when none of the
// four last marks of its bucket is its own: with F flows at work and B buckets the share of packets
// counted once too often is that of buckets with over four flows, P(Poisson(F/B) >= 4) (10,000
// flows: 2e-5; 100,000: 0.07), and one flow in 8,192 is missed, by a mark that is another's.
// Processors write buckets without a lock: one that loses its write counts that flow again.
// A packet that a verdict drops is counted as a new flow and a SYN as one without an answer, without
// a look at the bucket: a flood that is dropped early is still there to be seen.
// A request counts as answered when an ACK of its flow finds its mark; a flood pushes marks out
// within four new flows of the bucket, and what is pushed out stays unanswered.

#define STATE_PEACE 0
#define STATE_ENGAGED 1
#define STATE_DRAINING 2

#define TCP_SYN 2
#define TCP_ACK 16
// Octets up to the flags, included.
#define TCP_FLAGS_LEN 14


// What user space tells beside the selectors; mapped by it.
struct board {
	__u32 switches;            // SWITCH_*.
	__u32 kinds;               // Which kinds of verdicts there may be: KIND_*.
	__u32 floor;               // Verdicts of an epoch below it are void.
	__u32 stamps_shift;        // Each queue has 1 << it stamps.
	__u32 changes;             // Counts what made cached verdicts other than they were; and FINE.
	__u8 states[SELECTORS][2]; // Of both generations.
};

// Beside the count of changes: a verdict may be about less than 256 IPv4 sources that have all but
// their last octet in common. Where none is, they share what is found of one of them.
#define FINE 0x80000000u

#define KIND_FLOW 1
#define KIND_SOURCE 2
#define KIND_PREFIX 4

// Sets of words in front of sources and prefixes, of eight each, a cache line: 1 MiB.
#define QUICK_SETS_SHIFT 14
#define QUICK_SETS (1 << QUICK_SETS_SHIFT)
#define QUICK_WAYS 8
// No word holds for longer.
#define QUICK_NS 2600000000ull

// What a shard tells of its queue, and what is told to it. A cache line each.
struct shard {
	__u64 beat_ns; // CLOCK_MONOTONIC, when its last turn began.
	__u64 settled; // All up to this number is.
	__u64 reserved[6];
};

struct queue {
	__u64 numbered; // The last number given.
	__u64 reserved[7];
};

struct flow_key {
	__u32 source[4];
	__u32 destination[4];
	__u32 ports; // 0 for fragments.
	__u8 family;
	__u8 protocol;
	__u8 scope;
	__u8 reserved;
};

struct source_key {
	__u32 source[4];
	__u8 family;
	__u8 scope;
	__u16 reserved;
};

// Scope and family are the first bits of the prefix.
struct prefix_key {
	__u32 bits;
	__u8 family;
	__u8 scope;
	__u16 reserved;
	__u32 source[4];
};

struct verdict {
	__u64 expires_ns; // CLOCK_MONOTONIC.
	__u32 epoch;
	__u16 rule;
	__u8 drop;
	__u8 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct board);
} board SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, struct shard);
} shards SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, struct queue);
} queues SEC(".maps");

// What nobody but this program reads is ordinary memory, and needs no look-up.
static __u64 stamps[STAMPS];

// Four marks of 16 bits, the last one lowest: 15 of the flow's hash, and whether it waits for an answer.
static __u64 flows[BUCKETS];

// The sizes of these are the loader's.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct verdict);
} by_flow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct source_key);
	__type(value, struct verdict);
} by_source SEC(".maps");

// In front of sources and prefixes, a cache line for what was found there and drops: they cost
// calls, and a source three cache misses. Words of four fields, see `quick_place`.
static __u64 quick_drops[QUICK_SETS][QUICK_WAYS];

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct prefix_key);
	__type(value, struct verdict);
} by_prefix SEC(".maps");

// Verdicts of a rule are void below this epoch.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RULES);
	__type(key, __u32);
	__type(value, __u32);
} floors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RULES);
	__type(key, __u32);
	__type(value, struct tally);
} hits SEC(".maps");

// Random, set by the loader: whoever does not know them cannot make flows meet.
const volatile __u64 hash_keys[12] = { 0 };
// A word holds for this many jiffies at the most, by two's logarithm. Set by the loader, which knows
// their length: at least half of QUICK_NS.
const volatile __u32 quick_shift = 0;

// Strongly universal on 32-bit words (Lemire and Kaser 2014, multilinear): the upper half of a sum
// of products with random keys.
INLINE __u32 flow_hash(const struct facts *facts)
{
	__u32 ports = facts->known & FACT_FRAGMENT ? 0 : facts->ports;
	__u64 sum = hash_keys[0] + hash_keys[1] * facts->source[0] + hash_keys[2] * facts->destination[0] +
		    hash_keys[3] * ports + hash_keys[4] * (facts->family << 8 | facts->protocol);

	if (facts->family == 6)
		sum += hash_keys[5] * facts->source[1] + hash_keys[6] * facts->source[2] +
		       hash_keys[7] * facts->source[3] + hash_keys[8] * facts->destination[1] +
		       hash_keys[9] * facts->destination[2] + hash_keys[10] * facts->destination[3];
	return sum >> 32;
}

// A place among the words: which set, and what a word of the source looks like.
//
//     14 bits rule | a bit that is 0 | 23 bits when it was written | 8 bits scope | 18 bits tag
//
// Set and tag are the source address, times an odd number, which can be undone: no other address
// has the same two, and a word is never taken for another's. Only IPv4 addresses are that short. Who
// does not know the number cannot choose sources that meet (Dietzfelbinger and others 1997).
//
// A word that the set has not ready costs as much as all else here: a network's word is one for each
// 256 of its sources, while that is known to be right.
//
// When it was written is jiffies, coarse, and changes by user space, added: neither goes back, so a
// word that is of now was written since the last change. User space counts a change behind making
// it, and changes are read here before the verdict is looked for: what was found of the state before
// is written as of before. The sum returns after half a year, for two seconds.
struct place {
	__u32 set;
	__u64 word; // Of rule 0.
};

#define QUICK_RULE_BITS 14
#define QUICK_RULE_SHIFT (64 - QUICK_RULE_BITS)
#define QUICK_TAG_BITS (32 - QUICK_SETS_SHIFT)
#define QUICK_WHEN_SHIFT (QUICK_TAG_BITS + 8)
#define QUICK_WHEN ((1ull << (QUICK_RULE_SHIFT - 1)) - (1ull << QUICK_WHEN_SHIFT))

INLINE struct place quick_place(const struct facts *facts, __u8 scope, const struct board *told)
{
	__u64 when = *(volatile __u32 *)&told->changes;
	__u32 mixed = facts->source[0];

	if (!(when & FINE))
		mixed &= swap32(0xffffff00);
	mixed *= (__u32)hash_keys[11] | 1;
	when += (bpf_jiffies64() >> (quick_shift & 63)) + 1;
	return (struct place){
		.set = mixed >> (32 - QUICK_SETS_SHIFT),
		.word = (when << QUICK_WHEN_SHIFT & QUICK_WHEN) | (__u64)scope << QUICK_TAG_BITS |
			(mixed & ((1 << QUICK_TAG_BITS) - 1)),
	};
}

// The rule by which all of this source is dropped; RULES where that is not known here.
//
// Which way it is in cannot be foretold, so none of them is branched for: every other guess would be
// wrong, for the price of forty instructions.
INLINE __u32 quick_rule(const struct place *place)
{
	const volatile __u64 *ways = quick_drops[place->set & (QUICK_SETS - 1)];
	__u64 word, differs, found = 0;
	int way;

	for (way = 0; way < QUICK_WAYS; way++) {
		word = ways[way];
		// Its highest bit is 0: one below it is negative only where nothing differs.
		differs = ((word ^ place->word) << QUICK_RULE_BITS) - 1;
		HIDE(differs);
		found |= word & (__u64)((__s64)differs >> 63);
	}
	// A word is found as it was written, and 0 never was.
	return found ? found >> QUICK_RULE_SHIFT : RULES;
}

// Over a word that is not of now, or else over one that the tag says.
INLINE void quick_write(const struct place *place, const struct verdict *verdict, __u64 now_ns)
{
	volatile __u64 *ways = quick_drops[place->set & (QUICK_SETS - 1)];
	__u64 word = place->word | (__u64)verdict->rule << QUICK_RULE_SHIFT;
	int way;

	// What would outlive its verdict is not written.
	if (verdict->expires_ns - now_ns < QUICK_NS || verdict->rule >= RULES)
		return;
	for (way = 0; way < QUICK_WAYS; way++) {
		if (!((ways[way] ^ word) & QUICK_WHEN))
			continue;
		ways[way] = word;
		return;
	}
	ways[word & (QUICK_WAYS - 1)] = word;
}

// Notes the flow and what its TCP flags say, see above.
INLINE void note_flow(const struct facts *facts, struct peace *peace, __u32 hash)
{
	__u8 flags = facts->tcp_flags;
	volatile __u64 *marks = &flows[hash >> 16];
	// A mark of 0 is an empty place.
	__u64 mark = hash & 0x7fff ? hash & 0x7fff : 1;
	__u64 waits = 0x8000, word;
	int place;

	// A datagram is one flow's in the fragment that shows it.
	if (!(facts->known & FACT_PROTOCOL) || facts->known & FACT_LATER_FRAGMENT)
		return;
	word = *marks;
	for (place = 0; place < 4; place++) {
		if ((word >> 16 * place & 0x7fff) != mark)
			continue;
		waits <<= 16 * place;
		if (flags == TCP_SYN && !(word & waits)) {
			peace->asked += 1;
			*marks = word | waits;
		} else if (flags == TCP_ACK && word & waits) {
			peace->answered += 1;
			*marks = word & ~waits;
		}
		return;
	}
	peace->new_flows += 1;
	if (flags == TCP_SYN) {
		peace->asked += 1;
		mark |= waits;
	}
	*marks = word << 16 | mark;
}

INLINE void read_flags(struct xdp_md *ctx, struct facts *facts)
{
	__u8 *header;

	if (facts->protocol == PROTOCOL_TCP && facts->l4 && facts->l4 + TCP_FLAGS_LEN <= facts->end &&
	    at(ctx, facts->l4, TCP_FLAGS_LEN, (void **)&header))
		facts->tcp_flags = header[TCP_FLAGS_LEN - 1] & (TCP_SYN | TCP_ACK);
}

// The verdict, if it still holds.
INLINE const struct verdict *holding(const struct verdict *verdict, const struct board *told, __u64 now_ns)
{
	__u32 rule, *floor;

	if (!verdict || now_ns >= verdict->expires_ns || verdict->epoch < told->floor)
		return 0;
	rule = verdict->rule;
	floor = bpf_map_lookup_elem(&floors, &rule);
	return floor && verdict->epoch >= *floor ? verdict : 0;
}

// The most special one that holds.
//
// One that drops all of the source is written to `place` for the next time.
INLINE const struct verdict *cached(const struct facts *facts, __u8 scope, const struct board *told, __u64 now_ns,
				    const struct place *place)
{
	const struct verdict *verdict;

	if (told->kinds & KIND_FLOW) {
		struct flow_key key = {
			.ports = facts->known & FACT_FRAGMENT ? 0 : facts->ports,
			.family = facts->family,
			.protocol = facts->protocol,
			.scope = scope,
		};

		__builtin_memcpy(key.source, facts->source, 16);
		__builtin_memcpy(key.destination, facts->destination, 16);
		verdict = holding(bpf_map_lookup_elem(&by_flow, &key), told, now_ns);
		if (verdict)
			return verdict;
	}
	if (told->kinds & KIND_SOURCE) {
		struct source_key key = { .family = facts->family, .scope = scope };

		__builtin_memcpy(key.source, facts->source, 16);
		verdict = holding(bpf_map_lookup_elem(&by_source, &key), told, now_ns);
		if (verdict) {
			if (verdict->drop && facts->family == 4)
				quick_write(place, verdict, now_ns);
			return verdict;
		}
	}
	if (told->kinds & KIND_PREFIX) {
		struct prefix_key key = { .bits = 160, .family = facts->family, .scope = scope };

		__builtin_memcpy(key.source, facts->source, 16);
		verdict = holding(bpf_map_lookup_elem(&by_prefix, &key), told, now_ns);
		if (verdict && verdict->drop && facts->family == 4)
			quick_write(place, verdict, now_ns);
		return verdict;
	}
	return 0;
}

INLINE void count_hit(__u32 rule, __u32 packet_len)
{
	struct tally *tally = bpf_map_lookup_elem(&hits, &rule);

	if (tally)
		count(tally, packet_len);
}

// Whether the kernel has a connection that the packet belongs to: a TCP socket, or a UDP socket that
// was connected. A request that the kernel has answered counts for what follows it, so that the
// handshakes in flight when a destination is engaged come to their end; but not for SYN, which a
// flood can repeat for nothing. A fragment is not asked about: those behind it
// do not show their ports, and a datagram has one fate.
INLINE int has_socket(struct xdp_md *ctx, const struct facts *facts)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sock;
	__u32 len;
	int known;

	if (!(facts->known & FACT_PORTS) || facts->known & FACT_FRAGMENT)
		return 0;
	if (facts->family == 4) {
		tuple.ipv4.saddr = facts->source[0];
		tuple.ipv4.daddr = facts->destination[0];
		__builtin_memcpy(&tuple.ipv4.sport, &facts->ports, 4);
		len = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, facts->source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, facts->destination, 16);
		__builtin_memcpy(&tuple.ipv6.sport, &facts->ports, 4);
		len = sizeof(tuple.ipv6);
	}
	if (facts->protocol == PROTOCOL_TCP) {
		sock = bpf_skc_lookup_tcp(ctx, &tuple, len, BPF_F_CURRENT_NETNS, 0);
		if (!sock)
			return 0;
		known = sock->state == BPF_TCP_NEW_SYN_RECV ? !(facts->tcp_flags & TCP_SYN) :
							      sock->state != BPF_TCP_LISTEN;
	} else if (facts->protocol == PROTOCOL_UDP) {
		sock = bpf_sk_lookup_udp(ctx, &tuple, len, BPF_F_CURRENT_NETNS, 0);
		if (!sock)
			return 0;
		known = sock->dst_port != 0;
	} else {
		return 0;
	}
	bpf_sk_release(sock);
	return known;
}

// The stamp of the flow among those of its queue.
INLINE __u64 *stamp_of(__u32 queue, __u32 hash, const struct board *told)
{
	__u32 shift = told->stamps_shift & 31;
	__u32 place = (queue << shift | hash >> (32 - shift & 31)) & (STAMPS - 1);

	return &stamps[place];
}
