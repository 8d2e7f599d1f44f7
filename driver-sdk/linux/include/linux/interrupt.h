#ifndef NOOK_LINUX_INTERRUPT_H
#define NOOK_LINUX_INTERRUPT_H

#include <linux/types.h>

typedef enum { IRQ_NONE, IRQ_HANDLED } irqreturn_t;
typedef irqreturn_t (*irq_handler_t)(int irq, void *argument);
#define IRQF_SHARED 0x80ul
#define IRQF_PROBE_SHARED 0x100ul

int request_irq(unsigned irq, irq_handler_t handler, unsigned long flags, const char *name, void *argument);
const void *free_irq(unsigned irq, void *argument);
/* Entries of a nook do not overlap. */
static inline void synchronize_irq(unsigned irq) { (void)irq; }

#endif
