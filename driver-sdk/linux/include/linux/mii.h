#ifndef NOOK_LINUX_MII_H
#define NOOK_LINUX_MII_H

#include <linux/types.h>

#define SIOCGMIIPHY 0x8947
#define SIOCGMIIREG 0x8948
#define SIOCSMIIREG 0x8949
struct mii_ioctl_data {
    u16 phy_id, reg_num, val_in, val_out;
};
struct ifreq {
    struct mii_ioctl_data mii;
};
#define if_mii(request) (&(request)->mii)

#endif
