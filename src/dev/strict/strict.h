/* Access to the strict backend for tests. */
#ifndef SAEDIFF_DEV_STRICT_H
#define SAEDIFF_DEV_STRICT_H

#include "../backend.h"

/* Local. Queues run(cpu device, args) as if it were an operation; `args` (size bytes) is copied. */
SD_MUST_CHECK sd_status sd_strict_queue(sd_dev *dev, const char *name,
                                        sd_status (*run)(sd_dev *cpu, const void *args), const void *args,
                                        size_t size);

#endif
