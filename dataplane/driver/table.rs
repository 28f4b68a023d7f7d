//! The table of drivers. Functions named in it are of the kernel's `drivers/net`, Linux 6.18 to 7.3.

use super::{Driver, Fact, Seen};

const fn tested<T>(is: T, why: &'static str, test: &'static str) -> Fact<T> {
    Fact { is, why, seen: Seen::Test(test) }
}

const fn read<T>(is: T, why: &'static str) -> Fact<T> {
    Fact { is, why, seen: Seen::Read }
}

const fn assumed<T>(is: T, why: &'static str) -> Fact<T> {
    Fact { is, why, seen: Seen::Assumed }
}

/// `xdp_features` without `NETDEV_XDP_ACT_XSK_ZEROCOPY`: the bind copies, or is refused.
const NO_ZERO_COPY: &str = "it does not announce NETDEV_XDP_ACT_XSK_ZEROCOPY";
const ZERO_COPY: &str = "it announces NETDEV_XDP_ACT_XSK_ZEROCOPY";

/// In copy mode the kernel sends and receives by itself, and the driver is not asked.
const NOT_ASKED: &str = "without zero-copy the stack sends, which asks for no program";
const NOT_ROUNDED: &str = "without zero-copy the kernel copies into the chunk, octet by octet";

/// The skb is `CHECKSUM_PARTIAL`, as the kernel's own are.
const FINISHES: &str = "xsk_build_skb() of net/xdp/xsk.c asks as the stack does: the card sums, or \
                        skb_checksum_help() before it is asked";

/// What shows the facts of the drivers that an emulator has.
const VIRTIO: &str = "vm::virtio_net::does_what_is_said_of_it";
const IGB: &str = "vm::igb::does_what_is_said_of_it";

/// `xp_assign_dev()` and `xsk_pool_get_rx_frame_size()` of newer kernels round so for all drivers.
const STEP_OF_ALL: u32 = 128;

impl Driver {
    /// The drivers that are known, those of the tests first.
    pub const KNOWN: &'static [Self] = &[
        Self {
            name: "veth",
            zero_copy: tested(false, NO_ZERO_COPY, "sockets::zero_copy_is_demanded_or_not_had"),
            sends_without_program: tested(
                true,
                NOT_ASKED,
                "sockets::what_is_sent_arrives_and_every_chunk_comes_home",
            ),
            buffer_step_octets: tested(
                1,
                NOT_ROUNDED,
                "driver::a_veth_brings_the_longest_packet_that_its_chunk_is_said_to_hold",
            ),
            resets_link: tested(
                false,
                "veth_xdp_set() of veth.c leaves the carrier alone",
                "driver::a_veth_keeps_its_carrier_through_attach_bind_and_close",
            ),
            finishes_checksums: tested(
                false,
                "veth_setup() of veth.c offers NETIF_F_HW_CSUM, and the other end gets the sum undone",
                "offloads::on_a_veth_that_offers_to_sum_the_octets_are_right_only_where_it_is_not_asked",
            ),
        },
        Self {
            name: "virtio_net",
            zero_copy: tested(true, ZERO_COPY, VIRTIO),
            sends_without_program: tested(
                true,
                "virtnet_xsk_wakeup() of virtio_net.c asks for no program",
                VIRTIO,
            ),
            buffer_step_octets: read(
                STEP_OF_ALL,
                "virtnet_add_recvbuf_xsk() of virtio_net.c gives the whole frame to the device",
            ),
            resets_link: tested(
                false,
                "virtnet_xdp_set() and virtnet_xsk_pool_enable() of virtio_net.c leave the carrier \
                 alone",
                VIRTIO,
            ),
            finishes_checksums: read(
                false,
                "virtnet_probe() of virtio_net.c sets IFF_TX_SKB_NO_LINEAR, and for such \
                 xsk_build_skb_zerocopy() of net/xdp/xsk.c does not read what is asked, up to 6.18",
            ),
        },
        Self {
            name: "igb",
            zero_copy: tested(true, ZERO_COPY, IGB),
            sends_without_program: tested(
                false,
                "igb_xsk_wakeup() of igb_xsk.c answers EINVAL unless igb_xdp_is_enabled()",
                IGB,
            ),
            buffer_step_octets: tested(
                1024,
                "igb_setup_srrctl() of igb_main.c writes the size in KiB, rounded down; a longer \
                 packet fills several buffers, and igb_clean_rx_irq_zc() of igb_xsk.c takes each \
                 for a packet",
                IGB,
            ),
            resets_link: tested(
                true,
                "igb_xdp_setup() of igb_main.c closes and opens the interface where a program \
                 comes or goes, and the link is negotiated anew; a bind restarts its queue only",
                IGB,
            ),
            finishes_checksums: tested(true, FINISHES, "vm::igb::does_what_is_said_of_it"),
        },
        Self {
            name: "igc",
            zero_copy: read(true, ZERO_COPY),
            sends_without_program: read(
                false,
                "igc_xsk_wakeup() of igc_main.c answers ENXIO unless igc_xdp_is_enabled()",
            ),
            buffer_step_octets: read(
                1024,
                "IGC_SRRCTL_BSIZEPKT of igc_base.h has the size in KiB, rounded down",
            ),
            resets_link: read(
                true,
                "igc_xdp_set_prog() of igc_xdp.c closes and opens the interface in many kernels; \
                 the newest restart its rings only",
            ),
            finishes_checksums: read(true, FINISHES),
        },
        Self {
            name: "ixgbe",
            zero_copy: read(true, ZERO_COPY),
            sends_without_program: read(
                false,
                "ixgbe_xsk_wakeup() of ixgbe_xsk.c answers EINVAL without a program",
            ),
            buffer_step_octets: read(
                1024,
                "ixgbe_configure_srrctl() of ixgbe_main.c: an 82599 has the size in KiB, rounded \
                 down, and drops what is longer; later ones take the octets",
            ),
            resets_link: read(
                true,
                "ixgbe_xdp_setup() calls ixgbe_setup_tc() of ixgbe_main.c, which closes and opens \
                 the interface",
            ),
            finishes_checksums: read(true, FINISHES),
        },
        Self {
            name: "i40e",
            zero_copy: read(true, ZERO_COPY),
            sends_without_program: read(
                false,
                "i40e_xsk_wakeup() of i40e_xsk.c answers EINVAL unless i40e_enabled_xdp_vsi()",
            ),
            buffer_step_octets: read(
                STEP_OF_ALL,
                "I40E_RXQ_CTX_DBUFF_SHIFT of i40e_lan_hmc.h: the size is in units of 128",
            ),
            resets_link: read(
                true,
                "i40e_xdp_setup() of i40e_main.c resets and rebuilds the function; i40e_down() \
                 takes the carrier off",
            ),
            finishes_checksums: read(true, FINISHES),
        },
        Self {
            name: "ice",
            zero_copy: read(true, ZERO_COPY),
            sends_without_program: read(
                false,
                "ice_xsk_wakeup() of ice_xsk.c answers EINVAL unless ice_is_xdp_ena_vsi()",
            ),
            buffer_step_octets: read(
                STEP_OF_ALL,
                "ICE_RLAN_CTX_DBUF_S of ice_lan_tx_rx.h: the size is in units of 128",
            ),
            resets_link: read(
                true,
                "ice_xdp_setup_prog() calls ice_down() of ice_main.c, which takes the carrier off",
            ),
            finishes_checksums: read(true, FINISHES),
        },
        Self {
            name: "mlx5_core",
            zero_copy: read(true, ZERO_COPY),
            sends_without_program: read(
                false,
                "mlx5e_xsk_enable_locked() of en/xsk/pool.c makes the queues of a socket when a \
                 program is attached",
            ),
            buffer_step_octets: read(
                STEP_OF_ALL,
                "mlx5e_validate_xsk_param() of en/xsk/setup.c takes the chunk as it is",
            ),
            resets_link: read(
                true,
                "mlx5e_switch_priv_channels() of en_main.c takes the carrier off for a moment",
            ),
            finishes_checksums: read(true, FINISHES),
        },
        Self {
            // The name that stmmac_ethtool_getdrvinfo() gives to its Ethernet MACs.
            name: "st_gmac",
            zero_copy: read(true, ZERO_COPY),
            sends_without_program: read(
                false,
                "stmmac_xsk_wakeup() of stmmac_main.c answers EINVAL unless stmmac_xdp_is_enabled()",
            ),
            buffer_step_octets: read(
                STEP_OF_ALL,
                "stmmac_xdp_enable_pool() of stmmac_xdp.c checks the frame's size as it is",
            ),
            resets_link: read(
                true,
                "stmmac_xdp_set_prog() calls stmmac_xdp_release() of stmmac_main.c, which takes \
                 the carrier off",
            ),
            finishes_checksums: read(true, FINISHES),
        },
        Self {
            name: "ena",
            zero_copy: read(false, NO_ZERO_COPY),
            sends_without_program: read(true, NOT_ASKED),
            buffer_step_octets: read(1, NOT_ROUNDED),
            resets_link: read(
                true,
                "ena_xdp_set() of ena_xdp.c takes the interface down and up where a program comes \
                 or goes",
            ),
            finishes_checksums: read(true, FINISHES),
        },
    ];

    /// What is taken to be so of all the others.
    pub const UNKNOWN: Self = Self {
        name: "",
        zero_copy: assumed(true, "then chunks are large enough in either case"),
        sends_without_program: assumed(false, "then a program is attached in any case"),
        buffer_step_octets: assumed(STEP_OF_ALL, "what the kernel rounds to for all drivers"),
        resets_link: assumed(false, "a link that had its carrier is waited for in any case"),
        finishes_checksums: assumed(false, "then we sum, which is right in any case"),
    };
}
