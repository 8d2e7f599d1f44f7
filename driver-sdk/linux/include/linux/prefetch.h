#ifndef NOOK_LINUX_PREFETCH_H
#define NOOK_LINUX_PREFETCH_H

#define prefetch(place) ((void)(place))

#endif
