/* A doubly linked ring: one link stands for the list, the others are parts of what is in it. */
#ifndef NOOK_LIST_H
#define NOOK_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct nook_list {
    struct nook_list *next, *previous;
};

/* An empty list, or a link that is in none. */
#define NOOK_LIST_INIT(name) { &(name), &(name) }

/* What holds `link` as its member. */
#define NOOK_HOLDER(link, type, member) ((type *)((char *)(link) - offsetof(type, member)))

static inline void nook_list_init(struct nook_list *list) { list->next = list->previous = list; }

static inline bool nook_list_is_empty(const struct nook_list *list) { return list->next == list; }

static inline void nook_list_insert_before(struct nook_list *place, struct nook_list *link) {
    link->next = place;
    link->previous = place->previous;
    place->previous->next = link;
    place->previous = link;
}

static inline void nook_list_remove(struct nook_list *link) {
    link->previous->next = link->next;
    link->next->previous = link->previous;
    nook_list_init(link);
}

#endif
