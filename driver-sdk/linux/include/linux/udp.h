#include <linux/ip.h>
