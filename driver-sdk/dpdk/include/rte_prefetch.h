/* WebAssembly has no prefetch. */
#ifndef NOOK_RTE_PREFETCH_H
#define NOOK_RTE_PREFETCH_H

#define rte_prefetch0(place) ((void)(place))
#define rte_prefetch1(place) ((void)(place))
#define rte_prefetch2(place) ((void)(place))
#define rte_prefetch_non_temporal(place) ((void)(place))
#define rte_prefetch0_write(place) ((void)(place))

#endif
