/* What ethtool asks a driver. The shim asks for the link's speed and for fresh counters. */
#ifndef NOOK_LINUX_ETHTOOL_H
#define NOOK_LINUX_ETHTOOL_H

#include <linux/bitops.h>
#include <linux/types.h>

#define ETH_GSTRING_LEN 32
enum { ETH_SS_TEST, ETH_SS_STATS };
enum { ETH_TEST_FL_OFFLINE = 1, ETH_TEST_FL_FAILED = 2 };
enum { ETH_TP_MDI_INVALID, ETH_TP_MDI, ETH_TP_MDI_X, ETH_TP_MDI_AUTO };
enum { DUPLEX_HALF, DUPLEX_FULL, DUPLEX_UNKNOWN = 0xff };
enum { AUTONEG_DISABLE, AUTONEG_ENABLE };
enum { PORT_TP = 0, PORT_FIBRE = 3 };
enum { SPEED_10 = 10, SPEED_100 = 100, SPEED_1000 = 1000, SPEED_UNKNOWN = -1 };
enum {
    WAKE_PHY = 1,
    WAKE_UCAST = 2,
    WAKE_MCAST = 4,
    WAKE_BCAST = 8,
    WAKE_ARP = 16,
    WAKE_MAGIC = 32,
    WAKE_MAGICSECURE = 64,
};
#define ETHTOOL_COALESCE_RX_USECS 1

/* Link modes by their bits; the first ones are the first word. */
#define SUPPORTED_10baseT_Half (1u << 0)
#define SUPPORTED_10baseT_Full (1u << 1)
#define SUPPORTED_100baseT_Half (1u << 2)
#define SUPPORTED_100baseT_Full (1u << 3)
#define SUPPORTED_1000baseT_Full (1u << 5)
#define SUPPORTED_Autoneg (1u << 6)
#define SUPPORTED_TP (1u << 7)
#define SUPPORTED_FIBRE (1u << 10)
#define ADVERTISED_1000baseT_Full SUPPORTED_1000baseT_Full
#define ADVERTISED_Autoneg SUPPORTED_Autoneg
#define ADVERTISED_TP SUPPORTED_TP
#define ADVERTISED_FIBRE SUPPORTED_FIBRE

struct ethtool_link_ksettings {
    struct {
        u32 speed;
        u8 duplex, port, phy_address, autoneg, eth_tp_mdix, eth_tp_mdix_ctrl;
    } base;
    struct {
        unsigned long supported[1], advertising[1];
    } link_modes;
};
#define ethtool_convert_legacy_u32_to_link_mode(modes, word) ((modes)[0] = (word))
#define ethtool_convert_link_mode_to_legacy_u32(word, modes) (*(word) = (modes)[0])

struct ethtool_drvinfo {
    char driver[32], bus_info[32];
};
struct ethtool_regs {
    u32 version;
};
struct ethtool_wolinfo {
    u32 supported, wolopts;
};
struct ethtool_eeprom {
    u32 magic, offset, len;
};
struct ethtool_ringparam {
    u32 rx_max_pending, rx_mini_pending, rx_jumbo_pending, tx_max_pending, rx_pending, tx_pending;
};
struct ethtool_pauseparam {
    u32 autoneg, rx_pause, tx_pause;
};
struct ethtool_test {
    u32 flags;
};
struct ethtool_coalesce {
    u32 rx_coalesce_usecs;
};
struct ethtool_stats {
    u32 n_stats;
};
enum ethtool_phys_id_state { ETHTOOL_ID_INACTIVE, ETHTOOL_ID_ACTIVE, ETHTOOL_ID_ON, ETHTOOL_ID_OFF };
struct kernel_ethtool_coalesce;
struct kernel_ethtool_ringparam;
struct netlink_ext_ack;
struct ethtool_ts_info;
struct net_device;

struct ethtool_ops {
    u32 supported_coalesce_params;
    void (*get_drvinfo)(struct net_device *, struct ethtool_drvinfo *);
    int (*get_regs_len)(struct net_device *);
    void (*get_regs)(struct net_device *, struct ethtool_regs *, void *);
    void (*get_wol)(struct net_device *, struct ethtool_wolinfo *);
    int (*set_wol)(struct net_device *, struct ethtool_wolinfo *);
    u32 (*get_msglevel)(struct net_device *);
    void (*set_msglevel)(struct net_device *, u32);
    int (*nway_reset)(struct net_device *);
    u32 (*get_link)(struct net_device *);
    int (*get_eeprom_len)(struct net_device *);
    int (*get_eeprom)(struct net_device *, struct ethtool_eeprom *, u8 *);
    int (*set_eeprom)(struct net_device *, struct ethtool_eeprom *, u8 *);
    void (*get_ringparam)(struct net_device *, struct ethtool_ringparam *, struct kernel_ethtool_ringparam *,
                          struct netlink_ext_ack *);
    int (*set_ringparam)(struct net_device *, struct ethtool_ringparam *, struct kernel_ethtool_ringparam *,
                         struct netlink_ext_ack *);
    void (*get_pauseparam)(struct net_device *, struct ethtool_pauseparam *);
    int (*set_pauseparam)(struct net_device *, struct ethtool_pauseparam *);
    void (*self_test)(struct net_device *, struct ethtool_test *, u64 *);
    void (*get_strings)(struct net_device *, u32, u8 *);
    int (*set_phys_id)(struct net_device *, enum ethtool_phys_id_state);
    void (*get_ethtool_stats)(struct net_device *, struct ethtool_stats *, u64 *);
    int (*get_sset_count)(struct net_device *, int);
    int (*get_coalesce)(struct net_device *, struct ethtool_coalesce *, struct kernel_ethtool_coalesce *,
                        struct netlink_ext_ack *);
    int (*set_coalesce)(struct net_device *, struct ethtool_coalesce *, struct kernel_ethtool_coalesce *,
                        struct netlink_ext_ack *);
    int (*get_ts_info)(struct net_device *, struct ethtool_ts_info *);
    int (*get_link_ksettings)(struct net_device *, struct ethtool_link_ksettings *);
    int (*set_link_ksettings)(struct net_device *, const struct ethtool_link_ksettings *);
};
int ethtool_op_get_ts_info(struct net_device *device, struct ethtool_ts_info *about);

#endif
