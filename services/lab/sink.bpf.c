// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The end of the line: counts packets and octets by queue and then drops or passes them.

#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) val *name

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*const bpf_xdp_get_buff_len)(struct xdp_md *ctx) = (void *)BPF_FUNC_xdp_get_buff_len;

// What the loader sets, in sink.rs: XDP_DROP or XDP_PASS.
const volatile __u32 action = XDP_DROP;

// As in sink.rs. What comes on later queues is counted with the last.
#define QUEUES 64

struct count {
	__u64 packets;
	__u64 octets;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

SEC("xdp")
int tidegate_sink(struct xdp_md *ctx)
{
	__u32 queue = ctx->rx_queue_index < QUEUES ? ctx->rx_queue_index : QUEUES - 1;
	struct count *count = bpf_map_lookup_elem(&counts, &queue);

	if (count) {
		count->packets += 1;
		count->octets += bpf_xdp_get_buff_len(ctx);
	}
	return action;
}
