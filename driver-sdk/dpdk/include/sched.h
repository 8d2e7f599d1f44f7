/* See pthread.h. */
#include <pthread.h>
