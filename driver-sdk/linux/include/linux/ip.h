/* What drivers look at for their offloads, which are not taken up. */
#ifndef NOOK_LINUX_IP_H
#define NOOK_LINUX_IP_H

#include <linux/skbuff.h>

#define IPPROTO_TCP 6
struct iphdr {
    u8 protocol;
    __be16 tot_len;
    __sum16 check;
    __be32 saddr, daddr;
};
struct ipv6hdr {
    u8 nexthdr;
};
struct tcphdr {
    __sum16 check;
};
NOOK_NO_OFFLOAD(struct iphdr *, ip_hdr)
NOOK_NO_OFFLOAD(struct ipv6hdr *, ipv6_hdr)
NOOK_NO_OFFLOAD(struct tcphdr *, tcp_hdr)
#define tcp_v6_gso_csum_prep(skb) ((void)(skb))
#define csum_tcpudp_magic(from, to, len, protocol, sum) ((void)(from), (void)(to), (__sum16)0)

#endif
