/* VLAN tags stay in frames: drivers' offloads for them are not taken up. */
#ifndef NOOK_LINUX_IF_VLAN_H
#define NOOK_LINUX_IF_VLAN_H

#include <linux/etherdevice.h>

#define VLAN_N_VID 4096
#define vlan_get_protocol(skb) ((skb)->protocol)
#define skb_vlan_tag_present(skb) ((void)(skb), false)
#define skb_vlan_tag_get(skb) ((void)(skb), 0)
#define __vlan_hwaccel_put_tag(skb, protocol, vid) ((void)(skb), (void)(vid), nook_absent("__vlan_hwaccel_put_tag"))

#endif
