// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Turns copies of one dummy packet into the packets of a batch.
//
// BPF_PROG_RUN with live frames runs a program on `repeat` copies of the same octets, and
// what passes enters the stack as received on the interface named by the caller. Here each
// run takes the next slot of the batch, cuts the copy to its length and writes its octets:
// one system call carries a batch of different packets. `next` and `passed` are set by the
// caller before each call; nothing else runs this program (see live.rs on the keeper).

#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) val *name

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const bpf_xdp_adjust_tail)(struct xdp_md *ctx, int delta) = (void *)BPF_FUNC_xdp_adjust_tail;
static __u64 (*const bpf_xdp_get_buff_len)(struct xdp_md *ctx) = (void *)BPF_FUNC_xdp_get_buff_len;
static long (*const bpf_xdp_store_bytes)(struct xdp_md *ctx, __u32 offset, void *buf, __u32 len) =
	(void *)BPF_FUNC_xdp_store_bytes;

// What live.rs knows too.
#define SLOTS 256
#define PACKET_OCTETS 2040
#define PACKET_OCTETS_MIN 14 // An Ethernet header; the kernel cuts no shorter.

struct slot {
	__u32 len;
	__u32 reserved;
	__u8 octets[PACKET_OCTETS];
};

struct state {
	__u32 next;   // Slot of the next packet.
	__u32 passed; // Packets handed to the stack.
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} state SEC(".maps");

SEC("xdp.frags")
int tidegate_inject(struct xdp_md *ctx)
{
	__u32 zero = 0, index, len;
	struct state *now = bpf_map_lookup_elem(&state, &zero);
	struct slot *slot;

	if (!now)
		return XDP_DROP;
	index = now->next;
	now->next = index + 1;
	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return XDP_DROP;
	len = *(volatile __u32 *)&slot->len;
	if (len < PACKET_OCTETS_MIN || len > PACKET_OCTETS)
		return XDP_DROP;
	if (bpf_xdp_adjust_tail(ctx, (int)(len - (__u32)bpf_xdp_get_buff_len(ctx))))
		return XDP_DROP;
	if (bpf_xdp_store_bytes(ctx, 0, slot->octets, len))
		return XDP_DROP;
	now->passed += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
